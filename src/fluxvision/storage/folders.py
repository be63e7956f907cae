"""Folders that nobody else may look into, and folders that end with their process."""

from __future__ import annotations

import fcntl
import os
import shutil
from contextlib import suppress
from pathlib import Path

from fluxvision.core.errors import Unavailable
from fluxvision.core.system import shortage

LOCK = "lock"
UNUSABLE = "The server's data folder was removed or cannot be written to; try again in a moment."


def folder_unusable(error: Exception | None) -> Unavailable:
    """Return what the caller is told where the data folder cannot be used."""
    found = shortage(error) if error is not None else None
    return found or Unavailable(UNUSABLE, retry_after=5.0)


def make_private(folder: Path) -> None:
    """Make a folder and those above it where they do not exist, each for this user alone."""
    try:
        folder.mkdir(mode=0o700)
    except FileNotFoundError:
        make_private(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)
    except FileExistsError:
        if not folder.is_dir():
            raise


def emptied(folder: Path) -> bool:
    """Remove the files of a folder; False where something is left, as a folder or what nobody may remove."""
    try:
        for name in os.listdir(folder):  # noqa: PTH208, for every request: half the time of paths
            os.unlink(f"{folder}/{name}")  # noqa: PTH108
    except OSError:
        return False
    return True


def lock_folder(folder: Path) -> int:
    """Mark a folder as that of this process for as long as the returned handle is open.

    The lock appears in one step, held: no other process ever finds one that is not. Raises `OSError` where the disk
    has no locks.
    """
    draft = folder / f"{LOCK}.new"
    handle = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        draft.replace(folder / LOCK)
    except OSError:
        os.close(handle)
        with suppress(OSError):
            draft.unlink()
        raise
    return handle


def is_locked(folder: Path) -> bool:
    """Return whether a folder belongs to a process that has not ended."""
    try:
        handle = os.open(folder / LOCK, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # the disk has no locks
        return False
    else:
        return False
    finally:
        os.close(handle)


def remove_if_abandoned(folder: Path) -> bool | None:
    """Remove a folder whose process has ended; return whether it was removed, None where it has no lock."""
    try:
        handle = os.open(folder / LOCK, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError:  # it belongs to somebody else
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # its process lives
        return False
    else:
        shutil.rmtree(folder, ignore_errors=True)
        return True
    finally:
        os.close(handle)
