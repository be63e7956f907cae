"""Which pictures are meant: files, folders and patterns become a list, each picture once and in a stable order."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from fluxvision.cli.names import original
from fluxvision.cli.order import STREAM
from fluxvision.imaging import FORMATS

EXTENSIONS = frozenset(
    {f".{word}" for row in FORMATS for word in (row.name, row.extension)}
    | {".jpe", ".jfif", ".tif", ".dib", ".apng"}
    # Not read, but a picture all the same: one that is left out is to be told.
    | {".heic", ".heif", ".jxl", ".jp2"}
)


NO_FILE = "there is no such file."


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
    """What the arguments stand for.

    `results` counts files left alone because an earlier run made them: their names say so, and their originals are
    among the pictures too.
    """

    pictures: Sequence[Input]
    problems: Sequence[Problem]
    results: int


def find(arguments: Sequence[str]) -> Found:
    """Return every picture that the arguments mean. Folders are searched to the bottom, hidden files left out."""
    pictures: dict[str, Input] = {}
    problems: list[Problem] = []
    results = 0
    folders = [Path(argument) for argument in arguments if os.path.isdir(argument)]  # noqa: PTH112, keeps "a/" as typed
    candidates: list[tuple[Input, bool]] = []
    for argument in arguments:
        meant, wrong = _meant(argument, several=len(folders) > 1)
        candidates += meant
        problems += [Problem(where, what) for where, what in wrong]
    originals = {name for picture, _ in candidates for name in (picture.path.name, picture.path.stem)}
    for picture, chosen in candidates:
        if not chosen and original(picture.path.name) in originals:
            results += 1
            continue
        pictures.setdefault(os.path.realpath(picture.path), picture)
    return Found(tuple(pictures.values()), tuple(problems), results)


def _meant(argument: str, *, several: bool) -> tuple[list[tuple[Input, bool]], list[tuple[str, str]]]:
    """Return the pictures of one argument, each with whether it was named itself; and what is wrong, and where."""
    path = Path(argument)
    if argument == STREAM:
        return [(Input(Path("stdin"), title="standard input"), True)], []
    if path.is_dir():
        locked: list[tuple[str, str]] = []
        found = [(picture, False) for picture in _scan(path, locked, several=several)]
        return found, locked or ([] if found else [(argument, "there are no pictures in this folder.")])
    if os.path.lexists(argument) or not glob.has_magic(argument):
        if not path.exists():
            web = argument.lower().startswith(("http://", "https://"))
            return [], [(argument, "addresses are not read here; save the picture first." if web else NO_FILE)]
        if not path.is_file():
            return [], [(argument, "this is not a regular file; use - and standard input.")]
        return [(Input(path), True)], []
    matches = map(Path, sorted(glob.glob(argument, recursive=True)))  # noqa: PTH207, takes absolute patterns too
    files = [match for match in matches if match.is_file() and match.suffix.lower() in EXTENSIONS]
    return [(Input(match), False) for match in files], [] if files else [(argument, "no picture matches this pattern.")]


def _scan(folder: Path, locked: list[tuple[str, str]], *, several: bool) -> Iterator[Input]:
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
                yield Input(Path(current, name), inside)
