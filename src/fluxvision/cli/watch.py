"""`fluxvision upscale --watch`: finds the pictures of a folder that have stopped growing."""

from __future__ import annotations

from pathlib import Path

from fluxvision.cli import paths
from fluxvision.cli.paths import InputFile

INTERVAL = 1.0
"""Seconds between two looks at the folder; a file is complete when nothing of it changed between them."""

State = tuple[int, int]
"""Size and time of the last change of a file."""


class FolderWatch:
    """Remembers which files of a folder were seen, and with what size and time."""

    def __init__(self, folder: str, out: str) -> None:
        """Watch a folder with all folders in it, except those that are hidden and the one for the results."""
        self._folder = folder
        self._out = Path(out).resolve()
        self._seen: dict[Path, State] = {}
        self._found: dict[Path, State] = {}

    def scan(self) -> list[InputFile]:
        """Return the pictures that did not change since the last scan and were not returned as they are now."""
        complete, seen = [], {}
        for picture in paths.find_inputs((self._folder,)).pictures:
            state = _state(picture.path)
            if state is None or self._out in picture.path.resolve().parents:
                continue
            seen[picture.path] = state
            if self._seen.get(picture.path) == state != self._found.get(picture.path):
                self._found[picture.path] = state
                complete.append(picture)
        self._seen = seen
        return complete


def _state(path: Path) -> State | None:
    """Return the state of a file, None where it is empty or gone."""
    try:
        facts = path.stat()
    except OSError:
        return None
    return (facts.st_size, facts.st_mtime_ns) if facts.st_size else None
