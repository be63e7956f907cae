"""`fluxvision config`: shows and checks the settings and their origin, and hashes API keys."""

from __future__ import annotations

import json
import secrets
import sys
from collections import Counter
from typing import Any

import click
import msgspec

from fluxvision.accounts.keys import hash_entry
from fluxvision.cli.dependencies import Dependencies
from fluxvision.cli.text import format_columns, pluralize
from fluxvision.core.load_settings import load_settings
from fluxvision.core.settings import SETTINGS, Setting, Settings

KEY_BYTES = 32
READ = 4096


def show_settings(as_json: bool) -> int:
    """Show every setting, with masked secrets."""
    settings = load_settings()
    if as_json:
        facts = {
            row.name: {
                "value": _mask_value(row, settings),
                "origin": settings.origin[row.name],
                "variable": row.variable,
            }
            for row in SETTINGS
        }
        click.echo(json.dumps(facts))
        return 0
    rows = [("SETTING", "VALUE", "ORIGIN", "VARIABLE")]
    rows += [(row.name, _format_value(row, settings), settings.origin[row.name], row.variable) for row in SETTINGS]
    click.echo(format_columns(rows))
    return 0


@click.pass_obj
def check_settings(dependencies: Dependencies) -> int:
    """Check the settings: raises `ConfigError`, or prints that they are valid."""
    settings = load_settings()
    dependencies.check(settings)
    origins = Counter(settings.origin.values())
    found = ", ".join(f"{count} from {name}" for name, count in sorted(origins.items()) if name != "default")
    click.echo(f"The configuration is fine: {pluralize(len(SETTINGS), 'setting')}, {found or 'all at their defaults'}.")
    return 0


def hash_key(new: bool) -> int:
    """Print the hash of a key for the configuration; with `new`, generate the key too."""
    key = secrets.token_urlsafe(KEY_BYTES) if new else _ask_key()
    try:
        line = hash_entry(key)
    except ValueError:
        raise click.UsageError("A key is one word of printable characters, at most 512 bytes long.") from None
    click.echo(format_columns([("key", key), ("entry", line)]) if new else line)
    return 0


def _ask_key() -> str:
    if sys.stdin.isatty():
        return str(click.prompt("Key", hide_input=True, err=True))
    return sys.stdin.read(READ).rstrip("\r\n")


def _mask_value(row: Setting, settings: Settings) -> Any:
    value = msgspec.to_builtins(getattr(settings.mask_secrets(), row.name))
    if row.kind == "openai_servers":  # as in the file
        return [{name: fact for name, fact in one.items() if fact} for one in value]
    return value


def _format_value(row: Setting, settings: Settings) -> str:
    value = _mask_value(row, settings)
    if isinstance(value, bool):
        return str(value).lower()
    if row.kind == "openai_servers":
        return ", ".join(one["name"] for one in value)
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


COMMAND = click.Group(
    "config",
    help="Show and check the settings: defaults, then fluxvision.toml, then the environment.",
    short_help="Show and check the settings.",
    commands=[
        click.Command(
            "show",
            callback=show_settings,
            params=[click.Option(["--json", "as_json"], is_flag=True, help="As JSON.")],
            help="Show every setting with its value, where it comes from, and its environment variable.",
        ),
        click.Command("check", callback=check_settings, help="Say whether `fluxvision serve` can use the settings."),
        click.Command(
            "hash",
            callback=hash_key,
            params=[click.Option(["--new"], is_flag=True, help="Make a new key and print it too.")],
            help="Read a key from standard input, or ask for it, and print the entry for FLUXVISION_API_KEYS.",
        ),
    ],
)
