"""Room on the disk, reserved before a provider is asked, so that what it is paid for can be stored.

Each reservation counts until its work ends, less what the work has already written. A large one, and any where little
is left, lies on the disk, too: as a file with blocks that no other program can take while the provider works.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Self
from uuid import uuid4

from fluxvision.core.system import allocate, delete_file, translate_resource_errors

FILES = 8
"""Files that one job has at once, at most, beside those that it came with."""
LARGE, LITTLE = 8_000_000, 1_000_000_000
"""Bytes from which blocks are set aside, and bytes left free below which they are for any size.

That takes 0.2 ms on ext4, and 0.7 ms per MB on tmpfs.
"""
BLOCK = 512
"""Bytes of the blocks that stat(2) counts."""


@dataclass(slots=True)
class DiskBudget:
    """The reservations of this process."""

    held: set[Reservation] = field(default_factory=set)
    lock: Lock = field(default_factory=Lock)


@dataclass(slots=True, eq=False)
class Reservation:
    """Room for `size` bytes in the folder of one job, from `take` until the end of a `with` block.

    `solid`, where it is large or little is left, it has blocks of its own until `give_blocks`.
    """

    budget: DiskBudget
    folder: Path
    size: int
    solid: bool = False
    device: int = 0
    before: int = 0
    blocks: Path | None = None

    def __enter__(self) -> Self:
        """Begin without any room."""
        return self

    def __exit__(self, *_error: object) -> None:
        """Give back what is left."""
        self.give_blocks()
        with self.budget.lock:
            self.budget.held.discard(self)

    @property
    def large(self) -> bool:
        """Whether taking it is worth a thread."""
        return self.solid and self.size >= LARGE

    def take(self) -> None:
        """Reserve the room; raises `Unavailable` where it cannot be had."""
        with translate_resource_errors():
            self.device = self.folder.stat().st_dev
            with self.budget.lock:
                left = self._check()
                self.before = _used_blocks(self.folder) if self.size >= LARGE else 0
                self.budget.held.add(self)
            if self.solid and (self.size >= LARGE or left < LITTLE):
                self._take_blocks()

    def give_blocks(self) -> None:
        """Give the blocks to what the job writes now."""
        if self.blocks is not None:
            delete_file(self.blocks)
            self.blocks = None

    @property
    def left(self) -> int:
        """Bytes that the job has not written yet; all of a small one, which is not worth a look into its folder."""
        if self.size < LARGE:
            return self.size
        return min(self.size, max(0, self.size - (_used_blocks(self.folder) - self.before)))

    def _check(self) -> int:
        """Return the bytes that stay free; raises OSError where the others leave no room.

        Some file systems count neither blocks nor files.
        """
        facts = os.statvfs(self.folder)
        others = [other for other in self.budget.held if other.device == self.device]
        free = facts.f_bavail * facts.f_frsize - self.size
        if facts.f_flag & os.ST_RDONLY:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        full = free < sum(other.size for other in others) and free < sum(other.left for other in others)
        if (facts.f_blocks and full) or (facts.f_files and facts.f_favail < FILES * (len(others) + 1)):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return free

    def _take_blocks(self) -> None:
        self.blocks = self.folder / f"{uuid4().hex}.room"
        file = os.open(self.blocks, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            allocate(file, self.size)
        finally:
            os.close(file)


def _used_blocks(folder: Path) -> int:
    """Return the bytes that the files of a folder take on the disk."""
    used = 0
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):  # moved or deleted meanwhile
                used += entry.stat(follow_symlinks=False).st_blocks * BLOCK
    return used
