"""What the rows say of settings, formats, engines, errors and the command line, and what was measured, as Markdown."""

from __future__ import annotations

import ast
from itertools import takewhile
from pathlib import Path

import click
from cells import table
from rooms import ROOMS, room

from fluxvision.catalog.geometry import Geometry
from fluxvision.cli import upscale
from fluxvision.cli.main import GROUP
from fluxvision.core.errors import Error
from fluxvision.core.images import InputImage
from fluxvision.core.settings import SETTINGS, Setting
from fluxvision.core.types import Job, PostprocessPlan
from fluxvision.engine import BACKENDS
from fluxvision.gateway.resource_estimate import job_memory
from fluxvision.http.openapi_errors import error_kinds
from fluxvision.imaging import FORMATS

ROOT = Path(__file__).parents[1]
STAND_IN = "mock"
WIDTH = 100
MEMORY_FORMATS = tuple(row for row in FORMATS if row.writable)
SEPARATED = 100_000
"""Whole numbers from here on are shown with separators, as TOML and the environment take them."""


def settings() -> str:
    """Return the settings with their variables and defaults."""
    rows = ((f"`{row.name}`", f"`{row.variable}`", _setting(row), row.help) for row in SETTINGS)
    return table(("Setting", "Variable", "Default", "Meaning"), rows)


def formats() -> str:
    """Return the picture formats and what each can hold."""
    return table(
        ("Format", "Read", "Written", "Bits", "Alpha", "Profile", "Longest side", "Most pixels", "Default quality"),
        (
            (
                row.label,
                f"with `{row.package}`" if row.package.startswith("fluxvision") else "yes",
                _yes(row.writable),
                str(row.bits) if row.writable else "",
                _yes(row.alpha) if row.writable else "",
                _yes(row.profile) if row.writable else "",
                f"{row.max_side:,}" if row.writable else "",
                f"{row.max_pixels:,}" if row.writable else "",
                ("lossless" if row.lossless else str(row.quality or "")) if row.writable else "",
            )
            for row in FORMATS
        ),
    )


def memory() -> str:
    """Return what jobs of a few usual sizes are planned to take, by the code that plans them."""
    rows = []
    for megapixels in (1, 12, 50, 100):
        width, height = round((megapixels * 1.5e6) ** 0.5), round((megapixels * 1e6 / 1.5) ** 0.5)
        image = InputImage(ROOT, "jpeg", width, height, 3, alpha=False, bits=8, size=1)
        size = 2 * width, 2 * height
        job, geometry = Job("", "", image, {}), Geometry(*size, *size, *size, 2.0, "contain")
        plans = (
            job_memory(job, geometry, PostprocessPlan(output_format=row.name), BACKENDS[0])
            if 4 * width * height <= row.max_pixels
            else None
            for row in MEMORY_FORMATS
        )
        rows.append((f"{megapixels} MP", *("" if plan is None else f"{plan / 1e9:.1f} GB" for plan in plans)))
    return table(("JPEG, enlarged to twice its size as", *(row.label for row in MEMORY_FORMATS)), rows)


def engines() -> str:
    """Return the engines, what they need, and the licences of their weights."""
    return table(
        ("Engine", "Networks", "Install", "Tile", "Memory of a tile", "Licence of the weights"),
        (
            (
                f"`{row.name}`",
                row.title,
                f"`pip install -c constraints.txt '.[{row.extra}]'`" if row.extra else "included",
                f"{row.tile}\u00d7{row.tile}",
                f"about {row.memory:,} MB",
                row.licence,
            )
            for row in BACKENDS
            if row.name != STAND_IN
        ),
    )


def measured(results: str) -> str:
    """Return the first table of a file of results."""
    lines = (ROOT / "bench" / "results" / results).read_text(encoding="utf-8").splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("|"))
    return "\n".join(takewhile(lambda line: line.startswith("|"), lines[first:]))


def codes() -> str:
    """Return the error codes."""
    found: dict[str, type[Error]] = {}
    for kind in error_kinds():
        found.setdefault(f"{kind.status}{kind.code}", kind)
    rows = sorted(found.values(), key=lambda kind: kind.status)
    return table(
        ("Code", "Status", "Type", "Retry", "When"),
        (
            (f"`{row.code}`", str(row.status), f"`{row.type}`", "yes" if row.retryable else "no", _sentence(row))
            for row in rows
        ),
    )


def help_of_upscale() -> str:
    """Return what `fluxvision upscale --help` prints."""
    names = GROUP.context_settings["help_option_names"]
    context = click.Context(
        upscale.COMMAND, info_name="fluxvision upscale", terminal_width=WIDTH, help_option_names=names
    )
    return f"```text\n{upscale.COMMAND.get_help(context)}\n```"


def _setting(row: Setting) -> str:
    if isinstance(row.default, bool):
        return "on" if row.default else "off"
    if row.default in {"", ()}:
        return ""
    return f"`{row.default:_}`" if row.kind == "integer" and row.default >= SEPARATED else f"`{row.default}`"


def _yes(fact: bool) -> str:
    return "yes" if fact else "no"


def _sentence(kind: type[Error]) -> str:
    return (kind.__doc__ or "").strip().splitlines()[0]


def house() -> str:
    """Return the rooms, the lowest last."""
    lines = ["| Room | What it does |", "| --- | --- |"]
    for names, sentence in reversed(ROOMS):
        shown = "composition root" if names == ("root",) else " ".join(f"`{name}/`" for name in names)
        lines.append(f"| {shown} | {sentence} |")
    return "\n".join(lines)


def modules() -> str:
    """Return every module with the first line of its docstring, by room."""
    source = ROOT / "src" / "fluxvision"
    paths = sorted(path.relative_to(source) for path in source.rglob("*.py"))
    blocks = []
    for names, _ in ROOMS:
        for name in names:
            lines = [f"**{'composition root' if name == 'root' else name + '/'}**\n"]
            for path in paths:
                if path.name != "__init__.py" and room(path.with_suffix("").parts) == name:
                    said = ast.get_docstring(ast.parse((source / path).read_text(encoding="utf-8"))) or ""
                    lines.append(f"- `{path}`: {said.splitlines()[0]}")
            blocks.append("\n".join(lines))
    return "\n\n".join(blocks)
