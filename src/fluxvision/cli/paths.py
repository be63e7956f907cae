"""Finds the input pictures of a run and names their results: beside the picture, in a folder, or as given by --out."""

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
    """Return the part of a result's name for its size: 2x, 1.5x, 1024x1024, 4K, or 2x-16x9 for an aspect ratio."""
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
    """Return the part before the size in a result's name (a stem or a file name), None for other names."""
    found = _RESULT.search(name)
    return name[: found.start()] if found else None


_EXTENSIONS = {f".{word}": row for row in FORMATS for word in (row.extension, row.name, *row.aliases)}
EXTENSIONS = frozenset(_EXTENSIONS)


NO_FILE = "there is no such file."


@dataclass(frozen=True, slots=True)
class InputFile:
    """One picture to enlarge."""

    path: Path
    inside: Path = Path()
    """Its folder relative to the scanned one, empty for a file named directly."""
    title: str = ""
    """Its name for people, if that is not its path."""

    @property
    def name(self) -> str:
        """Its name for people."""
        return self.title or str(self.path)


@dataclass(frozen=True, slots=True)
class InputProblem:
    """An argument that gives no picture, with the reason."""

    name: str
    sentence: str


@dataclass(frozen=True, slots=True)
class FoundInputs:
    """The pictures that the arguments name."""

    pictures: Sequence[InputFile]
    problems: Sequence[InputProblem]
    results: int
    """Number of files skipped because they are named like results of the other pictures."""


def find_inputs(arguments: Sequence[str]) -> FoundInputs:
    """Return all pictures of the arguments. Folders are searched recursively, without hidden files."""
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
    """Return the pictures of one argument, each with whether it was named directly; and problems with their paths."""
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
    """Yield the pictures below a folder; with `several`, `inside` starts with the folder's own name.

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


@dataclass(frozen=True, slots=True)
class OutputTarget:
    """One picture and the paths of its results, none for standard output."""

    picture: InputFile
    outputs: tuple[Path, ...]
    """One of `short` and `long`, or the file of --out."""
    problem: str = ""
    """Why the picture cannot be processed."""
    short: tuple[Path, ...] = ()
    """Paths in a folder, without the picture's extension in the name."""
    long: tuple[Path, ...] = ()
    """The same with the picture's extension, for names that would collide."""

    @property
    def names(self) -> tuple[tuple[Path, ...], ...]:
        """The paths that its results may have, the preferred ones first."""
        return tuple(dict.fromkeys(names for names in (self.outputs, self.long, self.short) if names))


def plan_targets(pictures: Sequence[InputFile], request: UpscaleRequest) -> tuple[UpscaleRequest, list[OutputTarget]]:
    """Return the request with its output format set, and a target for every picture.

    Raises `UsageError` when --out does not fit the pictures or formats.
    """
    if request.to_stream:
        return request, [OutputTarget(picture, ()) for picture in pictures]
    if request.out is not None and _is_file(request.out, len(pictures)):
        path = Path(request.out)
        request = _replace_suffix(request, path)
        targets = [_target_file(picture, path, request) for picture in pictures]
    else:
        targets = _target_folder(pictures, request)
    return request, [_check_usable(target) for target in targets]


def _is_file(out: str, pictures: int) -> bool:
    """Return whether --out names a file rather than a folder."""
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


def _replace_suffix(request: UpscaleRequest, path: Path) -> UpscaleRequest:
    """Set the format by the extension of --out; raises `UsageError` when --format is another."""
    row = _EXTENSIONS[path.suffix.lower()]
    if request.values.get("output_format", row.name) != row.name:
        message = (
            f"--format {request.fields['output_format']} and --out {safe_path(path.name)} disagree; give one of them."
        )
        raise click.UsageError(message)
    return replace(request, fields={**request.fields, "output_format": row.name})


def _target_file(picture: InputFile, path: Path, request: UpscaleRequest) -> OutputTarget:
    names = numbered_path(path.stem, path.suffix.removeprefix("."), request.pictures)
    return OutputTarget(picture, tuple(path.with_name(name) for name in names))


def _target_folder(pictures: Sequence[InputFile], request: UpscaleRequest) -> list[OutputTarget]:
    """Name results after their pictures; names that would collide keep the pictures' extensions."""
    size = version_label(request.values)
    form = coerce(BY_NAME["output_format"], request.fields.get("output_format")) or "png"
    extension = find_format(str(form)).extension

    def outputs(picture: InputFile, stem: str) -> tuple[Path, ...]:
        beside = picture.path.parent if request.out is None else Path(request.out) / picture.inside
        return tuple(beside / name for name in numbered_path(f"{stem}@{size}", extension, request.pictures))

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
    """Return the target with a problem if libvips cannot open a name, or a result would overwrite its source."""
    own = os.path.realpath(target.picture.path)
    if any(not _is_readable(path) for path in (target.picture.path, *target.outputs)):
        return replace(target, problem="its name is not valid UTF-8; rename the file or its folder.")
    if any(os.path.realpath(path) == own for path in target.outputs):
        return replace(target, problem="the result would replace the picture itself; choose another --out.")
    return target
