"""Where each result goes: beside its picture, into a folder, into one file, or to standard output."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import click

from fluxvision.catalog.coerce import coerce
from fluxvision.catalog.params import BY_NAME
from fluxvision.cli.inputs import Input
from fluxvision.cli.names import label, numbered
from fluxvision.cli.order import Order
from fluxvision.cli.text import shown
from fluxvision.imaging import FORMATS, find

_EXTENSIONS = {f".{word}": row for row in FORMATS for word in (row.extension, row.name)}
_EXTENSIONS[".tif"] = find("tiff")


@dataclass(frozen=True, slots=True)
class Target:
    """One picture and the files that it will become; none for standard output. `problem` says why it cannot.

    `short` and `long` are its results' names without and with the picture's extension, in a folder; `outputs` is one of
    them.
    """

    picture: Input
    outputs: tuple[Path, ...]
    problem: str = ""
    short: tuple[Path, ...] = ()
    long: tuple[Path, ...] = ()

    @property
    def names(self) -> tuple[tuple[Path, ...], ...]:
        """The names under which its results may lie, those that they get first."""
        return tuple(dict.fromkeys(names for names in (self.outputs, self.long, self.short) if names))


def plan(pictures: Sequence[Input], order: Order) -> tuple[Order, list[Target]]:
    """Return the order with its file format settled, and a target for every picture.

    Raises `UsageError` where --out cannot be meant.
    """
    if order.to_stream:
        return order, [Target(picture, ()) for picture in pictures]
    if order.out is not None and _is_file(order.out, len(pictures)):
        path = Path(order.out)
        order = _with_format(order, path)
        targets = [_file(picture, path, order) for picture in pictures]
    else:
        targets = _folder(pictures, order)
    return order, [_usable(target) for target in targets]


def _is_file(out: str, pictures: int) -> bool:
    """Tell whether --out names a file rather than a folder."""
    path = Path(out)
    if path.is_dir() or out.endswith(("/", os.sep)) or not path.suffix:
        return False
    row = _EXTENSIONS.get(path.suffix.lower())
    if row is None or not row.writable:
        if pictures > 1 and row is None:
            return False
        formats = ", ".join(row.extension for row in FORMATS if row.writable)
        message = f"--out: {path.suffix} is not a format that is written; use {formats}, or end a folder's name with /."
        raise click.UsageError(message)
    if pictures > 1:
        message = f"--out: {shown(out)} is one file and there are {pictures} pictures; name a folder."
        raise click.UsageError(message)
    return True


def _with_format(order: Order, path: Path) -> Order:
    """Let the extension of --out say the format; raises `UsageError` where --format says another."""
    row = _EXTENSIONS[path.suffix.lower()]
    if order.values.get("output_format", row.name) != row.name:
        message = f"--format {order.fields['output_format']} and --out {shown(path.name)} disagree; give one of them."
        raise click.UsageError(message)
    return replace(order, fields={**order.fields, "output_format": row.name})


def _file(picture: Input, path: Path, order: Order) -> Target:
    names = numbered(path.stem, path.suffix.removeprefix("."), order.pictures)
    return Target(picture, tuple(path.with_name(name) for name in names))


def _folder(pictures: Sequence[Input], order: Order) -> list[Target]:
    """Name results after their pictures; where two would meet, the names keep the pictures' extensions."""
    size = label(order.values)
    form = coerce(BY_NAME["output_format"], order.fields.get("output_format")) or "png"
    extension = find(str(form)).extension

    def outputs(picture: Input, stem: str) -> tuple[Path, ...]:
        beside = picture.path.parent if order.out is None else Path(order.out) / picture.inside
        return tuple(beside / name for name in numbered(f"{stem}@{size}", extension, order.pictures))

    short = [outputs(picture, picture.path.stem) for picture in pictures]
    long = [outputs(picture, picture.path.name) for picture in pictures]
    met = Counter(short)
    chosen = [full if met[brief] > 1 else brief for brief, full in zip(short, long, strict=True)]
    first = dict(zip(reversed(chosen), reversed(pictures), strict=True))
    return [
        Target(picture, names, "" if first[names] is picture else _taken(names[0], first[names]), *both)
        for picture, names, *both in zip(pictures, chosen, short, long, strict=True)
    ]


def _taken(path: Path, other: Input) -> str:
    return f"its result would be {shown(path)}, as that of {shown(other.name)} is; enlarge them into different folders."


def _readable(path: Path) -> bool:
    return str(path).encode("utf-8", "replace") == os.fsencode(path)


def _usable(target: Target) -> Target:
    """Refuse names that libvips cannot open, and to write a result over the picture that it is made of."""
    own = os.path.realpath(target.picture.path)
    if any(not _readable(path) for path in (target.picture.path, *target.outputs)):
        return replace(target, problem="its name is not valid UTF-8; rename the file or its folder.")
    if any(os.path.realpath(path) == own for path in target.outputs):
        return replace(target, problem="the result would replace the picture itself; choose another --out.")
    return target
