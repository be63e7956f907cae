"""Which pictures are meant: files, folders and patterns become a list, each picture once and in a stable order."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from fluxvision.cli.names import is_result
from fluxvision.cli.order import STREAM
from fluxvision.imaging import FORMATS

EXTENSIONS = frozenset(
    {f".{word}" for row in FORMATS for word in (row.name, row.extension)}
    | {".jpe", ".jfif", ".tif", ".dib", ".apng"}
    # Not read, but a picture all the same: one that is left out is to be told.
    | {".heic", ".heif", ".jxl", ".jp2"}
)


@dataclass(frozen=True, slots=True)
class Input:
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
class Problem:
    """Something named on the command line that gives no picture."""

    name: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Found:
    """What the arguments stand for. `results` counts files left alone because an earlier run made them."""

    pictures: Sequence[Input]
    problems: Sequence[Problem]
    results: int


def find(arguments: Sequence[str]) -> Found:
    """Return every picture that the arguments mean. Folders are searched to the bottom, hidden files left out."""
    pictures: dict[str, Input] = {}
    problems: list[Problem] = []
    results = 0
    folders = [Path(argument) for argument in arguments if os.path.isdir(argument)]  # noqa: PTH112, keeps "a/" as typed
    for argument in arguments:
        candidates, problem = _meant(argument, several=len(folders) > 1)
        if problem:
            problems.append(Problem(argument, problem))
        for picture, chosen in candidates:
            if not chosen and is_result(picture.path.name):
                results += 1
                continue
            pictures.setdefault(os.path.realpath(picture.path), picture)
    return Found(tuple(pictures.values()), tuple(problems), results)


def _meant(argument: str, *, several: bool) -> tuple[list[tuple[Input, bool]], str]:
    """Return the pictures of one argument, each with whether it was named itself; and what is wrong with it."""
    path = Path(argument)
    if argument == STREAM:
        return [(Input(Path("stdin"), title="standard input"), True)], ""
    if path.is_dir():
        found = [(picture, False) for picture in _scan(path, several=several)]
        return found, "" if found else "there are no pictures in this folder."
    if os.path.lexists(argument) or not glob.has_magic(argument):
        missing = "" if path.exists() else "there is no such file."
        return ([] if missing else [(Input(path), True)]), missing
    matches = map(Path, sorted(glob.glob(argument, recursive=True)))  # noqa: PTH207, takes absolute patterns too
    files = [match for match in matches if match.is_file() and match.suffix.lower() in EXTENSIONS]
    return [(Input(match), False) for match in files], "" if files else "no picture matches this pattern."


def _scan(folder: Path, *, several: bool) -> Iterator[Input]:
    """Yield the pictures below a folder; with several folders each keeps its own name in front."""
    top = Path(folder.resolve().name) if several else Path()
    for current, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        inside = top / Path(current).relative_to(folder)
        for name in sorted(files):
            if not name.startswith(".") and Path(name).suffix.lower() in EXTENSIONS:
                yield Input(Path(current, name), inside)
