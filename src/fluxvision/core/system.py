"""Cores, memory, disk and open files of this process: their limits, and the error when one of them runs out."""

from __future__ import annotations

import ctypes
import errno
import gc
import os
import platform
import resource
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import _lru_cache_wrapper, lru_cache
from pathlib import Path
from typing import Any, ParamSpec, Protocol, TypeVar, cast
from weakref import WeakSet

from fluxvision.core.errors import Error, Unavailable

P = ParamSpec("P")
T = TypeVar("T")

NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})
"""The `errno` values of a full disk."""
SHORTAGES = (
    (NO_SPACE, "There is no room on this server's disk at the moment.", 60.0),
    ({errno.EROFS, errno.EACCES}, "This server's disk cannot be written at the moment.", 60.0),
    ({errno.ENOMEM}, "This server has no memory left at the moment.", 10.0),
    ({errno.EMFILE, errno.ENFILE}, "This server has too many files and connections open.", 5.0),
    ({errno.EAGAIN}, "This server can start no further thread or process.", 5.0),
)
"""Values of `errno`, the message for the caller, and the seconds after which a retry makes sense."""
TEXTS = (
    *((os.strerror(number), number) for number in (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE)),
    ("out of memory", errno.ENOMEM),
    ("can't start new thread", errno.EAGAIN),
)
"""The same conditions in the text of errors without an `errno`: those of libvips and Python's threads."""
QUOTA = Path("/sys/fs/cgroup/cpu.max")
MEMORY_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
"""Files with a container's memory limit, of control groups version 2 and version 1."""

_MALLOC = (
    (-1, 32 * 1024 * 1024),  # M_TRIM_THRESHOLD: free bytes that the process keeps
    (-3, 5 * 1024 * 1024),  # M_MMAP_THRESHOLD: larger blocks are mapped, and unmapped when freed
    (-8, 1),  # M_ARENA_MAX: the heaps of other threads could not be trimmed
)
"""Options of mallopt(3). Pictures kept in memory are smaller than M_MMAP_THRESHOLD."""


class Cache(Protocol):
    """A cache whose memory can be freed."""

    def clear(self) -> None:
        """Free all entries that are not in use; called from any thread."""
        ...


CACHES: WeakSet[Cache] = WeakSet()
"""All caches that `release_memory` clears; each cache adds itself."""
_FUNCTIONS: list[_lru_cache_wrapper[Any]] = []
"""The functions whose results `release_memory` forgets."""


def cached_until_rest(maxsize: int) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Cache a function's results like `functools.lru_cache`, until `release_memory` is called.

    An entry of a few bytes that was made beside large pictures keeps a whole page of memory from being returned.
    """

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        cached = lru_cache(maxsize)(function)
        _FUNCTIONS.append(cached)
        return cast("Callable[P, T]", cached)

    return decorate


def keep_memory() -> bool:
    """Let the process keep freed memory; returns whether the allocator (glibc's) supports it.

    By default glibc returns free memory at the end of its heap at once. Every picture of some megabytes is then written
    to fresh pages that the kernel must clear, which takes up to a third of the time of forwarding it.
    `release_memory` returns the free memory after the work, and `trim_memory` during it.
    """
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallopt"):
        return False
    return all(libc.mallopt(option, value) for option, value in _MALLOC)


def release_memory() -> None:
    """Clear all caches, collect garbage, and return unused memory to the system, if the allocator supports it."""
    for cache in tuple(CACHES):
        cache.clear()
    for function in _FUNCTIONS:
        function.cache_clear()
    gc.collect()
    trim_memory()


def trim_memory() -> None:
    """Return unused memory to the system, if the allocator supports it; other threads wait for memory some 50 ms."""
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
    except (OSError, ValueError):  # macOS has an additional limit for all processes
        return soft
    return target


def count_cores(quota: Path = QUOTA) -> int:
    """Return the number of cores that this process may use, by affinity and the container's quota; at least 1."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        share, period = quota.read_text(encoding="ascii").split()
        return max(1, min(allowed, -(-int(share) // int(period))))
    except (OSError, ValueError):  # no container, or no limit ("max")
        return allowed


VECTOR_EXTENSIONS = (
    *("sse4_2", "avx", "f16c", "fma", "avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16"),
    *("amx_tile", "amx_int8", "amx_bf16", "asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve", "sve2", "sme"),
)
"""Those that networks are faster with, as Linux names them."""


def describe_processor(info: Path = Path("/proc/cpuinfo")) -> tuple[str, tuple[str, ...]]:
    """Return the processor's name and its vector extensions; these are empty where the system does not list them."""
    facts: dict[str, str] = {}
    with suppress(OSError):
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            facts.setdefault(name.strip().lower(), value.strip())
    flags = set((facts.get("flags") or facts.get("features") or "").split())
    name = facts.get("model name") or platform.processor() or platform.machine()
    return name, tuple(one for one in VECTOR_EXTENSIONS if one in flags)


def total_memory(limits: Iterable[Path] = MEMORY_LIMITS) -> int:
    """Return the bytes of memory that this process may use: the machine's, or the container's limit if smaller."""
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for path in limits:
        with suppress(OSError, ValueError):  # no container, or no limit ("max")
            found.append(int(path.read_text(encoding="ascii")))
    return min(found)


def resource_error(error: BaseException, besides: Collection[int] = ()) -> Unavailable | None:
    """Return the error for the caller when `error` means that a resource has run out, otherwise None.

    `besides` are `errno` values to ignore.
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
    """Replace an error inside the block that means that a resource has run out by `Unavailable`."""
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
            del found  # its traceback refers to this frame


def delete_file(*paths: Path) -> None:
    """Delete files that are no longer needed; errors are ignored, so that they hide no result or other error."""
    for path in paths:
        with suppress(OSError):
            path.unlink()


def allocate(file: int, size: int) -> bool:
    """Allocate `size` bytes of disk space for an open file; returns False when the (file) system does not support it.

    Calls fallocate(2), because posix_fallocate(3) falls back to writing every block. Raises OSError.
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
