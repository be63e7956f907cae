"""Determines which picture an existing result was made of, for --resume and against overwriting.

A result has the SHA-256 of its source as an extended attribute, which is set before the result gets its name and is
kept when it is moved. Without it (other file systems, plain copies), a result belongs to a picture if its name fits no
other picture and it is not older.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from contextlib import suppress
from pathlib import Path

from fluxvision.cli.paths import EXTENSIONS

ATTRIBUTE = "user.fluxvision.source"
TOLERANCE = 2.0
"""Seconds to which some file systems round modification times."""


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a picture file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_source(result: Path, source: str) -> None:
    """Store the SHA-256 of the source in a result, if the file system supports extended attributes."""
    with suppress(OSError, AttributeError):  # macOS has no such function
        os.setxattr(result, ATTRIBUTE, source.encode())


def read_source(result: Path) -> str | None:
    """Return the SHA-256 of a result's source, None when it is not stored."""
    try:
        return os.getxattr(result, ATTRIBUTE).decode("ascii", "replace")
    except (OSError, AttributeError):
        return None


class Provenance:
    """Checks for one run which results were made of which pictures; caches folder listings."""

    def __init__(self) -> None:
        """Start with an empty cache."""
        self._stems: dict[Path, Counter[str]] = {}

    def is_made_of(self, result: Path, picture: Path, source: str) -> bool:
        """Return whether a result was made of the picture in its current state, with SHA-256 `source`."""
        if not result.is_file():
            return False
        noted = read_source(result)
        if noted is not None:
            return noted == source
        facts = result.stat()
        ambiguous = not result.name.startswith(f"{picture.name}@") and self._shares_stem(picture)
        return not ambiguous and facts.st_size > 0 and facts.st_mtime >= picture.stat().st_mtime - TOLERANCE

    def _shares_stem(self, picture: Path) -> bool:
        """Return whether another picture in the folder differs from this one only by the extension."""
        folder = picture.parent
        if folder not in self._stems:
            names = (Path(name) for name in os.listdir(folder))  # noqa: PTH208, only their names are wanted
            self._stems[folder] = Counter(name.stem for name in names if name.suffix.lower() in EXTENSIONS)
        return self._stems[folder][picture.stem] > 1
