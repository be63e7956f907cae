"""Guards the writing of a file: a cancelled one is not kept, a full disk is told as such, and no half stays behind."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from traceback import clear_frames

import pyvips

from fluxvision.core.errors import Cancelled, Unavailable
from fluxvision.core.system import discard, shortage
from fluxvision.core.types import Watch
from fluxvision.imaging.vips import forget

_LITTLE = 4_000_000
"""Free bytes below which a write that failed is taken to have failed for want of room."""


@contextmanager
def writing(target: Path, watch: Watch | None = None) -> Iterator[None]:
    """Remove `target` when the block fails.

    Raises Cancelled where the watch says so, and Unavailable in place of a libvips or system error on a full disk.
    """
    try:
        _go_on(watch)
        forget()  # whether the disk is full is read from the error text
        yield
        _go_on(watch)
    except BaseException as error:
        clear_frames(error.__traceback__)  # an image in them would keep the half file open, and its room on the disk
        missing = _missing(target, error) if isinstance(error, (pyvips.Error, OSError)) else None
        discard(target)
        if watch is not None and watch.cancel.is_set() and isinstance(error, Exception):
            raise _cancelled() from error
        if missing is None:
            raise
        try:
            raise missing from error
        finally:
            del missing  # it holds this frame by its traceback


def _go_on(watch: Watch | None) -> None:
    if watch is not None and watch.cancel.is_set():
        raise _cancelled()


def _cancelled() -> Cancelled:
    return Cancelled("The work was cancelled.")


def _missing(target: Path, error: pyvips.Error | OSError) -> Unavailable | None:
    """Return what the machine has run out of, where the error says so, or the file system shows it.

    All threads share one error text of libvips, so another one may have cleared it.
    """
    found = shortage(error)
    with suppress(OSError):
        if found is None and shutil.disk_usage(target.parent).free < _LITTLE:
            return shortage(OSError(errno.ENOSPC, ""))
    return found or _refused(target.with_name(f"{target.name}.room"))


def _refused(path: Path) -> Unavailable | None:
    """Return what the machine has run out of, where a small file cannot be written."""
    try:
        path.write_bytes(bytes(_LITTLE))
    except OSError as error:
        return shortage(error)
    finally:
        discard(path)
    return None
