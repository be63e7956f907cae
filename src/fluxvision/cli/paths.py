"""Where each result goes: beside its picture, into a folder, into one file, or to standard output."""

from __future__ import annotations

import glob
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import click

from fluxvision.catalog.coerce import coerce
from fluxvision.catalog.params import BY_NAME
from fluxvision.cli.options import STREAM, UpscaleRequest
from fluxvision.cli.text import safe_path
from fluxvision.core.types import Scalar
from fluxvision.imaging import FORMATS, find_format

COMPARED = "-compare"
_RESULT = re.compile(r"@(?:\d+(?:\.\d+)?x|\d+x\d+|\d+[Kp])(?:-\d+x\d+)?(?:-\d+)?(?:-compare)?\.\w+$")


def version_label(values: Mapping[str, Scalar]) -> str:
    """Return the part of a name that says how large: 2x, 1.5x, 1024x1024, 4K, or 2x-16x9 for a shape."""
    size = str(values.get("size", "auto"))
    if "x" in size:
        return size
    shape = size if ":" in size else str(values.get("aspect_ratio", ""))
    factor = float(values.get("scale_factor", BY_NAME["scale_factor"].default or 1))
    times = str(values["resolution"]) if "resolution" in values else f"{factor:g}x"
    return f"{times}-{shape.replace(':', 'x')}" if shape else times


def numbered_path(stem: str, extension: str, count: int) -> list[str]:
    """Return the names of `count` versions; a single one has no number."""
    numbers = [""] if count == 1 else [f"-{number}" for number in range(1, count + 1)]
    return [f"{stem}{number}.{extension}" for number in numbers]


def original_stem(name: str) -> str | None:
    """Return what stands before the size in a result's name (a stem, or a whole file name); None for other names."""
    found = _RESULT.search(name)
    return name[: found.start()] if found else None


EXTENSIONS = frozenset(
    {f".{word}" for row in FORMATS for word in (row.name, row.extension)}
    | {".jpe", ".jfif", ".tif", ".dib", ".apng"}
    # Not read, but a picture all the same: one that is left out is to be told.
    | {".heic", ".heif", ".jxl", ".jp2"}
)


NO_FILE = "there is no such file."


@dataclass(frozen=True, slots=True)
class InputFile:
    """One picture to be enlarged.

    `inside` is its folder below the scanned one, empty for a file named directly; `title` is what a person knows it by
    where that is not its path.
    """

    path: Path
    inside: Path = Path()
    title: str = ""

    @property
    def name(self) -> str:
        """What a person knows it by."""
        return self.title or str(self.path)


@dataclass(frozen=True, slots=True)
class InputProblem:
    """Something named on the command line that gives no picture."""

    name: str
    sentence: str


@dataclass(frozen=True, slots=True)
class FoundInputs:
    """What the arguments stand for.

    `results` counts files left alone because an earlier run made them: their names say so, and their originals are
    among the pictures too.
    """

    pictures: Sequence[InputFile]
    problems: Sequence[InputProblem]
    results: int


def find_inputs(arguments: Sequence[str]) -> FoundInputs:
    """Return every picture that the arguments mean. Folders are searched to the bottom, hidden files left out."""
    pictures: dict[str, InputFile] = {}
    problems: list[InputProblem] = []
    results = 0
    folders = [Path(argument) for argument in arguments if os.path.isdir(argument)]  # noqa: PTH112, keeps "a/" as typed
    candidates: list[tuple[InputFile, bool]] = []
    for argument in arguments:
        meant, wrong = _is_meant(argument, several=len(folders) > 1)
        candidates += meant
        problems += [InputProblem(where, what) for where, what in wrong]
    originals = {name for picture, _ in candidates for name in (picture.path.name, picture.path.stem)}
    for picture, chosen in candidates:
        if not chosen and original_stem(picture.path.name) in originals:
            results += 1
            continue
        pictures.setdefault(os.path.realpath(picture.path), picture)
    return FoundInputs(tuple(pictures.values()), tuple(problems), results)


def _is_meant(argument: str, *, several: bool) -> tuple[list[tuple[InputFile, bool]], list[tuple[str, str]]]:
    """Return the pictures of one argument, each with whether it was named itself; and what is wrong, and where."""
    path = Path(argument)
    if argument == STREAM:
        return [(InputFile(Path("stdin"), title="standard input"), True)], []
    if path.is_dir():
        locked: list[tuple[str, str]] = []
        found = [(picture, False) for picture in _scan_folder(path, locked, several=several)]
        return found, locked or ([] if found else [(argument, "there are no pictures in this folder.")])
    if os.path.lexists(argument) or not glob.has_magic(argument):
        if not path.exists():
            web = argument.lower().startswith(("http://", "https://"))
            return [], [(argument, "addresses are not read here; save the picture first." if web else NO_FILE)]
        if not path.is_file():
            return [], [(argument, "this is not a regular file; use - and standard input.")]
        return [(InputFile(path), True)], []
    matches = map(Path, sorted(glob.glob(argument, recursive=True)))  # noqa: PTH207, takes absolute patterns too
    files = [match for match in matches if match.is_file() and match.suffix.lower() in EXTENSIONS]
    return [(InputFile(match), False) for match in files], [] if files else [
        (argument, "no picture matches this pattern.")
    ]


def _scan_folder(folder: Path, locked: list[tuple[str, str]], *, several: bool) -> Iterator[InputFile]:
    """Yield the pictures below a folder; with several folders each keeps its own name in front.

    Folders that cannot be read are added to `locked`.
    """
    top = Path(folder.resolve().name) if several else Path()
    for current, folders, files in os.walk(
        folder, onerror=lambda error: locked.append((str(error.filename), "this folder cannot be read."))
    ):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        inside = top / Path(current).relative_to(folder)
        for name in sorted(files):
            if not name.startswith(".") and Path(name).suffix.lower() in EXTENSIONS:
                yield InputFile(Path(current, name), inside)


_EXTENSIONS = {f".{word}": row for row in FORMATS for word in (row.extension, row.name)}
_EXTENSIONS[".tif"] = find_format("tiff")


@dataclass(frozen=True, slots=True)
class OutputTarget:
    """One picture and the files that it will become; none for standard output. `problem` says why it cannot.

    `short` and `long` are its results' names without and with the picture's extension, in a folder; `outputs` is one of
    them.
    """

    picture: InputFile
    outputs: tuple[Path, ...]
    problem: str = ""
    short: tuple[Path, ...] = ()
    long: tuple[Path, ...] = ()

    @property
    def names(self) -> tuple[tuple[Path, ...], ...]:
        """The names under which its results may lie, those that they get first."""
        return tuple(dict.fromkeys(names for names in (self.outputs, self.long, self.short) if names))


def plan_targets(pictures: Sequence[InputFile], order: UpscaleRequest) -> tuple[UpscaleRequest, list[OutputTarget]]:
    """Return the order with its file format settled, and a target for every picture.

    Raises `UsageError` where --out cannot be meant.
    """
    if order.to_stream:
        return order, [OutputTarget(picture, ()) for picture in pictures]
    if order.out is not None and _is_file(order.out, len(pictures)):
        path = Path(order.out)
        order = _replace_suffix(order, path)
        targets = [_target_file(picture, path, order) for picture in pictures]
    else:
        targets = _target_folder(pictures, order)
    return order, [_check_usable(target) for target in targets]


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
        message = f"--out: {safe_path(out)} is one file and there are {pictures} pictures; name a folder."
        raise click.UsageError(message)
    return True


def _replace_suffix(order: UpscaleRequest, path: Path) -> UpscaleRequest:
    """Let the extension of --out say the format; raises `UsageError` where --format says another."""
    row = _EXTENSIONS[path.suffix.lower()]
    if order.values.get("output_format", row.name) != row.name:
        message = (
            f"--format {order.fields['output_format']} and --out {safe_path(path.name)} disagree; give one of them."
        )
        raise click.UsageError(message)
    return replace(order, fields={**order.fields, "output_format": row.name})


def _target_file(picture: InputFile, path: Path, order: UpscaleRequest) -> OutputTarget:
    names = numbered_path(path.stem, path.suffix.removeprefix("."), order.pictures)
    return OutputTarget(picture, tuple(path.with_name(name) for name in names))


def _target_folder(pictures: Sequence[InputFile], order: UpscaleRequest) -> list[OutputTarget]:
    """Name results after their pictures; where two would meet, the names keep the pictures' extensions."""
    size = version_label(order.values)
    form = coerce(BY_NAME["output_format"], order.fields.get("output_format")) or "png"
    extension = find_format(str(form)).extension

    def outputs(picture: InputFile, stem: str) -> tuple[Path, ...]:
        beside = picture.path.parent if order.out is None else Path(order.out) / picture.inside
        return tuple(beside / name for name in numbered_path(f"{stem}@{size}", extension, order.pictures))

    short = [outputs(picture, picture.path.stem) for picture in pictures]
    long = [outputs(picture, picture.path.name) for picture in pictures]
    met = Counter(short)
    chosen = [full if met[brief] > 1 else brief for brief, full in zip(short, long, strict=True)]
    first = dict(zip(reversed(chosen), reversed(pictures), strict=True))
    return [
        OutputTarget(picture, names, "" if first[names] is picture else _clash_message(names[0], first[names]), *both)
        for picture, names, *both in zip(pictures, chosen, short, long, strict=True)
    ]


def _clash_message(path: Path, other: InputFile) -> str:
    mine, theirs = safe_path(path), safe_path(other.name)
    return f"its result would be {mine}, as that of {theirs} is; enlarge them into different folders."


def _is_readable(path: Path) -> bool:
    return str(path).encode("utf-8", "replace") == os.fsencode(path)


def _check_usable(target: OutputTarget) -> OutputTarget:
    """Refuse names that libvips cannot open, and to write a result over the picture that it is made of."""
    own = os.path.realpath(target.picture.path)
    if any(not _is_readable(path) for path in (target.picture.path, *target.outputs)):
        return replace(target, problem="its name is not valid UTF-8; rename the file or its folder.")
    if any(os.path.realpath(path) == own for path in target.outputs):
        return replace(target, problem="the result would replace the picture itself; choose another --out.")
    return target
