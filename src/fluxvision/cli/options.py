"""Flags made from the rows of PARAMS and SETTINGS, and help that shows flags in sections."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click
from click.shell_completion import CompletionItem

from fluxvision.catalog.params import PARAMS
from fluxvision.catalog.row import Param, describe
from fluxvision.core.settings import SETTINGS, Setting

METAVARS = {"picture": "FILE", "string": "TEXT", "integer": "NUMBER", "number": "NUMBER", "choice": "WORD"}
SETTING = {"integer": "NUMBER", "number": "NUMBER", "path": "FOLDER", "secrets": "KEYS", "secret": "KEY"}
SHAPES = {"size": "WxH", "aspect_ratio": "W:H"}
VISIBLE = " Other users of this machine can see it in the process list; the environment is a better place."


class Flag(click.Option):
    """An option that knows under which heading of the help it stands."""

    def __init__(self, *names: str, section: str, **facts: Any) -> None:
        """Make a click option."""
        super().__init__(list(names), **facts)
        self.section = section


class Sectioned(click.Command):
    """A command whose help shows its flags under their headings, in the order in which they were given."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write one list of definitions per section."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None and isinstance(parameter, click.Option):
                sections.setdefault(getattr(parameter, "section", "Other"), []).append(record)
        sections["Other"] = sections.pop("Other", [])
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records)


def parameters() -> list[click.Parameter]:
    """Return a flag for every public parameter that has one; their values stay as they were typed."""
    return [_parameter(row, row.flag) for row in PARAMS if row.flag is not None]


def settings() -> list[click.Parameter]:
    """Return a flag for every setting that is one word or number."""
    return [_setting(row) for row in SETTINGS if row.kind != "upstreams"]


def _parameter(row: Param, flag: str) -> click.Option:
    if row.kind == "boolean":
        return Flag(flag, row.name, section=row.group, is_flag=True, default=None, help=row.help)
    limits = "" if row.kind == "picture" else describe(row)
    default = "" if row.default is None else "default " + str(row.default).removesuffix(".0")
    facts = "; ".join(fact for fact in (limits, default) if fact)
    return Flag(
        flag,
        row.name,
        section=row.group,
        type=click.Path() if row.kind == "picture" else str,
        metavar=SHAPES.get(row.name, METAVARS[row.kind]),
        help=f"{row.help} [{facts}]" if facts else row.help,
        shell_complete=_words(row) if row.choices else None,
    )


def _words(row: Param) -> Callable[[click.Context, click.Parameter, str], list[CompletionItem]]:
    def complete(_context: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem]:
        return [CompletionItem(word) for word in row.choices if word.lower().startswith(begun.lower())]

    return complete


def _setting(row: Setting) -> click.Option:
    name = "--" + row.name.replace("_", "-")
    hint = VISIBLE if row.kind in {"secret", "secrets"} else ""
    default = f"default {row.default}; " if row.default not in ("", ()) and row.kind != "switch" else ""
    words = f"{row.help}{hint} [{default}{row.variable}]"
    if row.kind == "switch":
        return Flag(f"{name}/--no-{name[2:]}", row.name, section="Settings", default=None, help=words)
    return Flag(name, row.name, section="Settings", type=str, metavar=SETTING.get(row.kind, "TEXT"), help=words)
