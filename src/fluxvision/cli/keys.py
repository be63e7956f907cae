"""`fluxvision keys`: creates, lists, changes, revokes and rotates the stored API keys."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

import click
import msgspec

from fluxvision.accounts.schemas import KeyLimits, KeyList, created_key, key_entry, to_columns, to_limits
from fluxvision.cli.database import open_database
from fluxvision.cli.dependencies import Dependencies
from fluxvision.cli.text import format_columns
from fluxvision.core.money import format_amount

if TYPE_CHECKING:  # not imported at run time, so that --help is fast
    from sqlalchemy import Connection

    from fluxvision.accounts.key_types import StoredKey

T = TypeVar("T")

SHOWN_ONCE = "The key is shown this one time; the database has its SHA-256 only."
MOST_DOLLARS, MOST_COUNT = 1_000_000_000, 1_000_000
NOTHING = "none"
"""What takes a limit away."""


class Removable(click.ParamType[Any]):
    """A value of another type, or `NOTHING`, which becomes an empty tuple: None is what was not given."""

    def __init__(self, kind: click.ParamType[Any]) -> None:
        """Take values of `kind`."""
        self.kind, self.name = kind, kind.name

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the value."""
        return () if value == NOTHING else self.kind.convert(value, param, ctx)


@click.pass_obj
def create(
    dependencies: Dependencies,
    /,
    name: str,
    model: tuple[str, ...],
    expires: datetime | None,
    as_json: bool,
    **limits: Any,
) -> int:
    """Create a key and print it with its secret."""
    # Imported here so that --help need not import the catalogue.
    from fluxvision.accounts import key_store  # noqa: PLC0415

    models, ends, given = _find_models(model), _timestamp(expires), to_limits(KeyLimits(**limits))
    key, secret = _run(
        dependencies,
        lambda connection: key_store.create_key(
            connection, name=name, now=time.time(), expires_at=ends, models=models, limits=given
        ),
    )
    return _print_secret(key, secret, as_json=as_json)


@click.pass_obj
def change(
    dependencies: Dependencies, /, key_id: str, model: tuple[str, ...], expires: Any, as_json: bool, **given: Any
) -> int:
    """Change what is given of a key."""
    from fluxvision.accounts import key_store  # noqa: PLC0415, see above

    facts = {name: None if value == () else value for name, value in given.items() if value is not None}
    if expires is not None:
        facts["expires_at"] = _timestamp(expires or None)
    if model:
        facts["models"] = [] if NOTHING in model else _find_models(model)
    if not facts:
        raise click.UsageError("Say what to change: see fluxvision keys update --help.")
    now = time.time()
    key = _run(dependencies, lambda connection: key_store.change_key(connection, key_id, now, to_columns(facts)))
    if as_json:
        _print_json(key_entry(key, now))
    else:
        rows = [("id", key.id), ("name", key.name), ("expires", _date(key.expires_at)), ("limits", _limits(key))]
        click.echo(format_columns(rows))
    return 0


@click.pass_obj
def list_all(dependencies: Dependencies, as_json: bool) -> int:
    """Print all keys, without their secrets."""
    from fluxvision.accounts import key_store  # noqa: PLC0415, see above

    keys, now = _run(dependencies, key_store.list_keys), time.time()
    if as_json:
        _print_json(KeyList(object="list", data=[key_entry(key, now) for key in keys]))
        return 0
    rows = [("ID", "NAME", "KEY", "STATUS", "EXPIRES", "LIMITS")]
    rows += [(key.id, key.name, key.hint, key.status(now), _date(key.expires_at), _limits(key)) for key in keys]
    click.echo(format_columns(rows))
    return 0


@click.pass_obj
def revoke(dependencies: Dependencies, key_id: str, as_json: bool) -> int:
    """Revoke a key."""
    from fluxvision.accounts import key_store  # noqa: PLC0415, see above

    now = time.time()
    key = _run(dependencies, lambda connection: key_store.revoke_key(connection, key_id, now))
    if as_json:
        _print_json(key_entry(key, now))
    else:
        click.echo(f"{key.id} is revoked; running servers refuse it within two seconds.")
    return 0


@click.pass_obj
def rotate(dependencies: Dependencies, key_id: str, as_json: bool) -> int:
    """Give a key a new secret and print it."""
    from fluxvision.accounts import key_store  # noqa: PLC0415, see above

    key, secret = _run(dependencies, lambda connection: key_store.rotate_key(connection, key_id))
    return _print_secret(key, secret, as_json=as_json)


def _find_models(names: Sequence[str]) -> list[str]:
    # Imported here so that --help need not import the catalogue.
    from fluxvision.catalog.catalog import find_model  # noqa: PLC0415

    return [find_model(name)[0].id for name in names]


def _timestamp(moment: datetime | None) -> float | None:
    return None if moment is None else moment.replace(tzinfo=UTC).timestamp()


def _run(dependencies: Dependencies, work: Callable[[Connection], T]) -> T:
    with open_database(dependencies) as database:
        return database.run_blocking(work)


def _print_secret(key: StoredKey, secret: str, *, as_json: bool) -> int:
    if as_json:
        _print_json(created_key(key, secret, time.time()))
        return 0
    click.echo(format_columns([("id", key.id), ("name", key.name), ("limits", _limits(key)), ("key", secret)]))
    click.echo(SHOWN_ONCE, err=True)
    return 0


def _print_json(content: msgspec.Struct) -> None:
    click.echo(msgspec.json.encode(content).decode())


def _date(moment: float | None) -> str:
    return "never" if moment is None else datetime.fromtimestamp(moment, UTC).isoformat(" ", "minutes")[:16]


def _limits(key: StoredKey) -> str:
    """Return the limits and models of a key as text."""
    limits = key.limits
    budgets = {"a day": limits.budget_day, "a month": limits.budget_month, "in all": limits.budget_total}
    parts = [f"{format_amount(amount)} {period}" for period, amount in budgets.items() if amount is not None]
    parts += [] if limits.per_minute is None else [f"{limits.per_minute} a minute"]
    parts += [] if limits.parallel is None else [f"{limits.parallel} at a time"]
    return ", ".join([*parts, *key.models]) or "none"


JSON = click.Option(["--json", "as_json"], is_flag=True, help="As JSON.")
KEY_ID = click.Argument(["key_id"], metavar="ID")


def _options(wrap: Callable[[click.ParamType[Any]], click.ParamType[Any]]) -> list[click.Parameter]:
    """Return the options that say what a key may do."""
    dollars, count = wrap(click.FloatRange(0, MOST_DOLLARS)), wrap(click.IntRange(0, MOST_COUNT))
    date = wrap(click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]))
    return [
        click.Option(["--budget-day"], type=dollars, metavar="USD", help="Dollars that it may spend in a day."),
        click.Option(["--budget-month"], type=dollars, metavar="USD", help="The same in a calendar month."),
        click.Option(["--budget-total"], type=dollars, metavar="USD", help="The same in all."),
        click.Option(["--per-minute"], type=count, metavar="N", help="Requests in 60 seconds."),
        click.Option(["--parallel"], type=count, metavar="N", help="Jobs at the same time."),
        click.Option(["--model"], multiple=True, metavar="ID", help="A model that it may use; repeatable."),
        click.Option(["--expires"], type=date, metavar="DATE", help="The day or time (UTC) from which it is refused."),
    ]


COMMAND = click.Group(
    "keys",
    help="Manage the API keys in the server's database (data_dir or database_url). Running servers see a change within "
    "two seconds.",
    short_help="Create, list, change, revoke and rotate API keys.",
    commands=[
        click.Command(
            "create",
            callback=create,
            params=[click.Argument(["name"]), *_options(lambda kind: kind), JSON],
            help="Create an API key and print it; NAME tells it from other keys. Days and months are those of UTC.",
            short_help="Create a key and print it.",
        ),
        click.Command("list", callback=list_all, params=[JSON], help="List all keys, without their secrets."),
        click.Command(
            "update",
            callback=change,
            params=[
                KEY_ID,
                click.Option(["--name"], metavar="NAME", help="What tells it from other keys."),
                *_options(Removable),
                JSON,
            ],
            help=f"Change a key. What is not given stays, and {NOTHING} takes a limit, the models or the expiry away.",
            short_help="Change a key's name, limits, models or expiry.",
        ),
        click.Command("revoke", callback=revoke, params=[KEY_ID, JSON], help="Stop a key for good."),
        click.Command(
            "rotate",
            callback=rotate,
            params=[KEY_ID, JSON],
            help="Give a key a new secret and print it; its id, limits and usage stay, and the old secret stops.",
            short_help="Give a key a new secret.",
        ),
    ],
)
