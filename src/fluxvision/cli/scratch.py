"""Hidden working folders, removed at the end of a run; those of killed runs are removed by a later run."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fluxvision.storage.data_dir import LOCK, is_locked, lock_folder, remove_if_abandoned

HIDDEN = ".fluxvision-run-"
NAME = re.compile(re.escape(HIDDEN) + "[a-z0-9_]{8}")
DAY = 24 * 3600.0
"""Seconds after which a folder without a lock counts as abandoned; some network file systems have no locks."""


class ScratchFolders:
    """The hidden folders of one run."""

    def __init__(self) -> None:
        """Start without folders."""
        self._locks: dict[Path, int | None] = {}

    @contextmanager
    def make(self, where: Path, result: str = "") -> Iterator[Path]:
        """Yield a new hidden folder in `where`, and remove it with its files.

        `result` is the name of the file that will be made in it, so that other runs can detect it.
        """
        folder = Path(tempfile.mkdtemp(prefix=HIDDEN, dir=where))
        try:
            self._locks[folder] = None
            with suppress(OSError):  # the file system has no locks
                lock = self._locks[folder] = lock_folder(folder)
                os.write(lock, os.fsencode(result))
            yield folder
        finally:
            self._remove(folder)

    def remove_all(self) -> None:
        """Remove all remaining folders."""
        for folder in tuple(self._locks):
            self._remove(folder)

    def _remove(self, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        lock = self._locks.pop(folder, None)
        if lock is not None:
            os.close(lock)


def is_being_made(result: Path) -> bool:
    """Return whether a run in progress is making a file of this name."""
    name = os.fsencode(result.name)
    with suppress(OSError):
        return any(
            is_locked(folder) and (folder / LOCK).read_bytes() == name for folder in _find_folders(result.parent)
        )
    return False


def _find_folders(where: Path) -> Iterator[Path]:
    return (folder for folder in where.glob(f"{HIDDEN}*") if NAME.fullmatch(folder.name))


def remove_abandoned(where: Path) -> None:
    """Remove hidden folders in `where` that their runs did not remove, as after `kill -9`."""
    with suppress(OSError):  # `where` does not exist yet or is not readable
        for folder in _find_folders(where):
            if remove_if_abandoned(folder) is None:
                with suppress(OSError):
                    if folder.lstat().st_mtime < time.time() - DAY:
                        shutil.rmtree(folder, ignore_errors=True)
