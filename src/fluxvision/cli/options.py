"""Command-line flags made from PARAMS and SETTINGS, help in sections, and the checked request of `upscale`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from fluxvision.catalog.coerce import coerce
from fluxvision.catalog.params import BY_NAME, PARAMS, Param, describe_param
from fluxvision.cli.text import replace_with_flags
from fluxvision.core.errors import InvalidRequest
from fluxvision.core.settings import SETTINGS, Setting
from fluxvision.core.types import Scalar

METAVARS = {"picture": "FILE", "string": "TEXT", "integer": "NUMBER", "number": "NUMBER", "choice": "WORD"}
SETTING = {
    "integer": "NUMBER",
    "number": "NUMBER",
    "path": "FOLDER",
    "secrets": "KEYS",
    "secret": "KEY",
    "list": "WORDS",
}
SHAPES = {"size": "WxH", "aspect_ratio": "W:H"}
VISIBLE = " Other users of this machine can see it in the process list; the environment is a better place."


class Flag(click.Option):
    """An option with the heading under which the help lists it."""

    def __init__(self, *names: str, section: str, **facts: Any) -> None:
        """Create the option; `facts` are those of `click.Option`."""
        super().__init__(list(names), **facts)
        self.section = section


class Sectioned(click.Command):
    """A command whose help lists its flags under headings, in the order of their definition."""

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


def parameter_flags() -> list[click.Parameter]:
    """Return the flags of the public parameters; their values are not converted."""
    return [_parameter_flag(row, row.flag) for row in PARAMS if row.flag is not None]


def setting_flags() -> list[click.Parameter]:
    """Return the flags of the settings whose value is one word or number."""
    return [_setting_flag(row) for row in SETTINGS if row.kind != "openai_servers"]


def _parameter_flag(row: Param, flag: str) -> click.Option:
    if row.kind == "boolean":
        return Flag(flag, row.name, section=row.group, is_flag=True, default=None, help=row.help)
    limits = "" if row.kind == "picture" else describe_param(row)
    default = "" if row.default is None else "default " + str(row.default).removesuffix(".0")
    facts = "; ".join(fact for fact in (limits, default) if fact)
    return Flag(
        flag,
        row.name,
        section=row.group,
        type=click.Path() if row.kind == "picture" else str,
        metavar=SHAPES.get(row.name, METAVARS[row.kind]),
        help=f"{row.help} [{facts}]" if facts else row.help,
        shell_complete=_help_text(row) if row.choices else None,
    )


def _help_text(row: Param) -> Callable[[click.Context, click.Parameter, str], list[CompletionItem]]:
    def complete(_context: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem]:
        return [CompletionItem(word) for word in row.choices if word.lower().startswith(begun.lower())]

    return complete


def _setting_flag(row: Setting) -> click.Option:
    name = "--" + row.name.replace("_", "-")
    hint = VISIBLE if row.kind in {"secret", "secrets"} else ""
    default = f"default {row.default}; " if row.default not in ("", ()) and row.kind != "switch" else ""
    words = f"{row.help}{hint} [{default}{row.variable}]"
    if row.kind == "switch":
        return Flag(f"{name}/--no-{name[2:]}", row.name, section="Settings", default=None, help=words)
    return Flag(name, row.name, section="Settings", type=str, metavar=SETTING.get(row.kind, "TEXT"), help=words)


def override_models_dir(network: Path | None) -> dict[str, str]:
    """Return the setting `models_dir` for a network in a file of one's own, none where there is no such file."""
    return {} if network is None else {"models_dir": str(network.absolute())}


STREAM = "-"
"""The name of standard input and standard output."""


@dataclass(frozen=True, slots=True)
class UpscaleRequest:
    """One call of `upscale`: its arguments and flags."""

    inputs: tuple[str, ...]
    """Files, folders and patterns, or "-" for standard input."""
    fields: Mapping[str, Any]
    """The public parameters that were given, as typed."""
    mask: str | None = None
    out: str | None = None
    """A file, a folder, or "-" for standard output; None: beside each picture."""
    model: str = "flux-vision-upscaler"
    provider: str | None = None
    model_path: str | None = None
    device: str | None = None
    network: Path | None = None
    """The file of a network of one's own, if --engine is one."""
    watch: bool = False
    overwrite: bool = False
    resume: bool = False
    compare: bool = False
    dry_run: bool = False
    jobs: int = 1
    json: bool = False
    quiet: bool = False
    debug: bool = False
    rows: Mapping[str, Param] = field(default_factory=lambda: BY_NAME)
    """The model's parameters by name."""

    @property
    def values(self) -> dict[str, Scalar]:
        """The public parameters converted to their types; raises `InvalidRequest`."""
        try:
            pairs = {name: coerce(self.rows[name], value) for name, value in self.fields.items()}
        except InvalidRequest as error:
            raise InvalidRequest(replace_with_flags(error.message), param=error.param) from None
        return {name: value for name, value in pairs.items() if value is not None}

    @property
    def pictures(self) -> int:
        """Number of pictures made of each input."""
        return int(self.values.get("n", 1))

    @property
    def to_stream(self) -> bool:
        """Whether the result is written to standard output."""
        return self.out == STREAM or (self.out is None and self.inputs == (STREAM,))

    @property
    def name(self) -> str:
        """The model's name, with the provider of --provider if given."""
        return f"{self.provider}/{self.model}" if self.provider else self.model


def check_request(request: UpscaleRequest) -> None:
    """Raise `UsageError` when two flags contradict each other, `InvalidRequest` for an invalid value."""
    pictures = request.pictures  # converts, and so checks, every value
    watched = len(request.inputs) == 1 and Path(request.inputs[0]).is_dir()
    contradictions = (
        (request.watch and not watched, "--watch takes one folder."),
        (request.watch and request.out is None, "--watch needs a folder for the results; name one with --out."),
        (request.watch and request.dry_run, "--watch and --dry-run contradict each other; give one of them."),
        (request.jobs < 1, f"--jobs: {request.jobs} is not a whole number from 1."),
        (request.overwrite and request.resume, "--overwrite and --resume contradict each other; give one of them."),
        (
            STREAM in request.inputs and len(request.inputs) > 1,
            "Standard input (-) is read alone, without other pictures.",
        ),
        (
            request.to_stream and len(request.inputs) > 1,
            "Standard output (-) takes one picture; name a folder with --out.",
        ),
        (request.to_stream and request.json, "--json writes to standard output too; name a file with --out."),
        (request.to_stream and request.compare, "--compare needs a file beside which it can lie; name one with --out."),
        (request.to_stream and pictures > 1, "Standard output (-) takes one picture; leave --n out or name --out."),
    )
    for wrong, message in contradictions:
        if wrong:
            raise click.UsageError(message)
