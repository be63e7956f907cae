"""What this process may use of the machine."""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path

NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})
"""What a full disk raises: never the caller's fault."""
QUOTA = Path("/sys/fs/cgroup/cpu.max")

_MALLOC = (
    (-1, 32 * 1024 * 1024),  # M_TRIM_THRESHOLD: bytes that stay with the process though nothing uses them
    (-3, 5 * 1024 * 1024),  # M_MMAP_THRESHOLD: larger blocks come from the system, and go back to it at once
    (-8, 1),  # M_ARENA_MAX: the heap of another thread could not be given back
)
"""Options of mallopt(3). Pictures that are held in memory are smaller than a block from the system."""


def keep_memory() -> bool:
    """Let freed memory stay with the process; True where its allocator, that of glibc, can be told to.

    By default glibc gives the end of its heap back as soon as a little is free there, so that every picture of some
    megabytes is written to pages that the system first has to find and clear: up to a third of the time that passing
    one on takes. `release_memory` gives back what is left when the work is done.
    """
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallopt"):
        return False
    return all(libc.mallopt(option, value) for option, value in _MALLOC)


def release_memory() -> None:
    """Give all memory that is not used back to the system, where the allocator can."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)


def cores(quota: Path = QUOTA) -> int:
    """Return the processor cores that this process may use: by affinity and by the container's quota, at least 1."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        share, period = quota.read_text(encoding="ascii").split()
        return max(1, min(allowed, -(-int(share) // int(period))))
    except (OSError, ValueError):  # no container, or no limit ("max")
        return allowed
