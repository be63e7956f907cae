"""What this process may use of the machine, and the error where something of it has run out."""

from __future__ import annotations

import ctypes
import errno
import os
import resource
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol
from weakref import WeakSet

from fluxvision.core.errors import Error, Unavailable

NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})
"""What a full disk raises."""
SHORTAGES = (
    (NO_SPACE, "There is no room on this server's disk at the moment.", 60.0),
    ({errno.EROFS, errno.EACCES}, "This server's disk cannot be written at the moment.", 60.0),
    ({errno.ENOMEM}, "This server has no memory left at the moment.", 10.0),
    ({errno.EMFILE, errno.ENFILE}, "This server has too many files and connections open.", 5.0),
    ({errno.EAGAIN}, "This server can start no further thread or process.", 5.0),
)
"""Numbers of system errors, what the caller is told, and the seconds after which a retry makes sense."""
TEXTS = (
    *((os.strerror(number), number) for number in (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE)),
    ("out of memory", errno.ENOMEM),
    ("can't start new thread", errno.EAGAIN),
)
"""How errors without a number, those of libvips and of Python's threads, say the same."""
QUOTA = Path("/sys/fs/cgroup/cpu.max")
MEMORY_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
"""Where a container's limit stands, in the second and in the first version of control groups."""

_MALLOC = (
    (-1, 32 * 1024 * 1024),  # M_TRIM_THRESHOLD: bytes that stay with the process though nothing uses them
    (-3, 5 * 1024 * 1024),  # M_MMAP_THRESHOLD: larger blocks come from the system, and go back to it at once
    (-8, 1),  # M_ARENA_MAX: the heap of another thread could not be given back
)
"""Options of mallopt(3). Pictures that are held in memory are smaller than a block from the system."""


class Cache(Protocol):
    """Memory that is kept for the next work."""

    def clear(self) -> None:
        """Free what no work is using; called from any thread."""
        ...


CACHES: WeakSet[Cache] = WeakSet()
"""Emptied by `release_memory`; each adds itself."""


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
    """Give all memory that is not used back to the system, that of `CACHES` too, where the allocator can."""
    for cache in tuple(CACHES):
        cache.clear()
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)


def raise_file_limit(wanted: int) -> int:
    """Raise this process's limit of open files and sockets to `wanted`, or to its hard limit; return the limit.

    The limit is never lowered.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return wanted if soft == resource.RLIM_INFINITY else soft
    target = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (target, hard))
    except (OSError, ValueError):  # macOS has a further limit for all processes
        return soft
    return target


def count_cores(quota: Path = QUOTA) -> int:
    """Return the processor cores that this process may use: by affinity and by the container's quota, at least 1."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        share, period = quota.read_text(encoding="ascii").split()
        return max(1, min(allowed, -(-int(share) // int(period))))
    except (OSError, ValueError):  # no container, or no limit ("max")
        return allowed


def total_memory(limits: Iterable[Path] = MEMORY_LIMITS) -> int:
    """Return the bytes of memory that this process may use: those of the machine, or of its container if fewer."""
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for path in limits:
        with suppress(OSError, ValueError):  # no container, or no limit ("max")
            found.append(int(path.read_text(encoding="ascii")))
    return min(found)


def resource_error(error: BaseException, besides: Collection[int] = ()) -> Unavailable | None:
    """Return the error that tells the caller what this machine has run out of; None where it is something else.

    `besides` are numbers of system errors that count as something else.
    """
    if isinstance(error, MemoryError):
        found: int | None = errno.ENOMEM
    elif isinstance(error, OSError):
        found = error.errno
    else:
        found = next((number for text, number in TEXTS if text in str(error)), None)
    rows = ((message, wait) for numbers, message, wait in SHORTAGES if found in numbers and found not in besides)
    return next((Unavailable(message, retry_after=wait) for message, wait in rows), None)


@contextmanager
def translate_resource_errors() -> Iterator[None]:
    """Raise `Unavailable` in place of an error that says that this machine has run out of something."""
    try:
        yield
    except Error:
        raise
    except Exception as error:
        found = resource_error(error)
        if found is None:
            raise
        try:
            raise found from error
        finally:
            del found  # it holds this frame by its traceback


def delete_file(*paths: Path) -> None:
    """Delete files that are not needed any more. One that cannot be deleted never hides how the work ended."""
    for path in paths:
        with suppress(OSError):
            path.unlink()


def allocate(file: int, size: int) -> bool:
    """Have the file system set `size` bytes aside for an open file; False where the file system, or system, cannot.

    fallocate(2) itself: posix_fallocate(3) writes to every block where the file system cannot. Raises OSError.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "fallocate"):
        return False
    kinds = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    while libc.fallocate(*(kind(value) for kind, value in zip(kinds, (file, 0, 0, size), strict=True))):
        number = ctypes.get_errno()
        if number in {errno.EOPNOTSUPP, errno.ENOSYS}:
            return False
        if number != errno.EINTR:
            raise OSError(number, os.strerror(number))
    return True
