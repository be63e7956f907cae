"""MediaFolder: result files on this machine, each with its expiry and its Deep Zoom tiles.

The modification time of a file is the time at which it expires, so several servers with different `media_ttl` can
share a folder.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from fluxvision.core.errors import NotFound
from fluxvision.core.formats import FORMATS
from fluxvision.storage.data_dir import folder_unusable, make_private

_ROWS = [row for row in FORMATS if row.writable]
EXTENSIONS: Mapping[str, str] = {row.mime: row.extension for row in _ROWS}
MIMES: Mapping[str, str] = {extension: row.mime for row in _ROWS for extension in (row.extension, *row.aliases)}
"""Types of the stored files by extension; older releases stored results under an alias, such as "tif"."""
JSONL = "application/jsonl"
"""The type of the input files of batches, to which no links are signed."""
OCTETS = "application/octet-stream"
"""The type of uploaded pictures, whatever their format, to which no links are signed either."""
STORED: Mapping[str, str] = {**EXTENSIONS, JSONL: "jsonl", OCTETS: "upload"}
"""Extensions of all files that are stored."""
NAME = re.compile(r"(?:[0-9]{10}-)?[A-Za-z0-9_-]{32}\.(?:" + "|".join([*MIMES, STORED[JSONL], STORED[OCTETS]]) + ")")
"""Names of results; those in an object store begin with the hour at which they are deleted."""
TILES = ".tiles"
SKEW = 300.0
"""Seconds by which the clocks of this machine and of a shared disk may differ."""
GONE = "There is no such file, or its link has expired."


class MediaFolder:
    """Files by name, with their expiry and tiles."""

    def __init__(self, folder: Path, ttl: float) -> None:
        """Use `folder`, which is created if missing and must hold nothing else; files stay for about `ttl` seconds."""
        make_private(folder)
        self.folder = folder
        self._ttl = ttl

    def add(self, path: Path, name: str, expires: float) -> None:
        """Move a finished file atomically into the folder; raises `Unavailable`."""
        try:
            os.utime(path, (expires, expires))
            make_private(self.folder)  # it may have been deleted since
            path.replace(self.folder / name)
        except OSError as error:
            raise folder_unusable(error) from error

    def path(self, name: str) -> Path:
        """Return the path of a file."""
        return self.folder / name

    def expiry(self, name: str) -> float:
        """Return the time at which a file expires; raises `NotFound` when it is gone."""
        try:
            return self.path(name).stat().st_mtime
        except (FileNotFoundError, NotADirectoryError):
            raise NotFound(GONE) from None

    def renew(self, name: str, expires: float) -> bool:
        """Change the time at which a file expires; return whether there is such a file."""
        try:
            os.utime(self.path(name), (expires, expires))
        except OSError:
            return False
        return True

    def delete(self, name: str) -> None:
        """Delete a file and its tiles; nothing happens where it is gone."""
        self.path(name).unlink(missing_ok=True)
        shutil.rmtree(self.tiles(name), ignore_errors=True)

    def tiles(self, name: str) -> Path:
        """Return the folder of a file's Deep Zoom tiles, which exists once they are made."""
        return self.folder / f"{name}{TILES}"

    def add_tiles(self, name: str, make: Callable[[Path, Path], None]) -> None:
        """Call `make(file, folder)` to make a file's tiles, then move them atomically into the folder.

        The tiles are deleted with their file. Raises `NotFound` when the file is gone.
        """
        draft = self.folder / f"{name}{TILES}-{secrets.token_hex(8)}"
        try:
            make_private(draft)
            make(self.folder / name, draft)
            with suppress(OSError):  # another process was faster
                draft.rename(self.tiles(name))
        except Exception:
            if not (self.folder / name).is_file():
                raise NotFound(GONE) from None
            raise
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def sweep(self, now: float) -> int:
        """Delete expired files, and tiles whose file is gone; return the number of deleted files.

        Only names of results are deleted. An error on one file is raised after all others are deleted.
        """
        count = 0
        failure: OSError | None = None
        found = sorted(self.folder.iterdir()) if self.folder.is_dir() else []  # a file comes before its tiles
        for path in found:
            name, tiled, _ = path.name.partition(TILES)
            if not NAME.fullmatch(name):
                continue
            try:
                if not tiled:
                    count += self._expire(path, now)
                elif not (self.folder / name).is_file():
                    shutil.rmtree(path, ignore_errors=True)
            except FileNotFoundError:  # another process swept it
                continue
            except OSError as error:
                failure = error
        if failure is not None:
            raise failure
        return count

    def _expire(self, path: Path, now: float) -> bool:
        """Delete a file if it has expired; return whether it was deleted.

        A file that expires too far in the future was stored while the clock was wrong: it gets `ttl` seconds from now.
        """
        facts = path.stat()
        if facts.st_mtime <= now:
            path.unlink()
            return True
        if facts.st_ctime > now + SKEW and facts.st_mtime > now + self._ttl:
            os.utime(path, (now + self._ttl,) * 2)
        return False
