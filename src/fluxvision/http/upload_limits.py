"""Limits uploads: concurrent uploads for each key, and the memory of request bodies.

A picture arrives in the request's body, or is downloaded from a URL in it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from fluxvision.core.errors import Busy

MOST = 64
"""Concurrent uploads with a key, with those whose job is being stored. They limit the disk space and memory that are
used before a provider's queue refuses."""
EACH_KEY = 48
"""Those of one key, so that others find a place."""
VISITORS = 8
"""Concurrent uploads of the page without a key, counted separately."""
EACH_ADDRESS = 2
"""Those of one address."""
VISITORS_PER_SECOND = 32 * 1024
"""Bytes per second of the slowest accepted upload without a key."""


class UploadLimits:
    """Counts uploads by key, and those of the page by address."""

    def __init__(self) -> None:
        """Start with no uploads."""
        self._keys: Counter[str] = Counter()
        self._addresses: Counter[str] = Counter()

    @contextmanager
    def place(self, key: str, visitor: str | None) -> Iterator[Callable[[], None]]:
        """Hold a place until the pictures are received; `visitor` is the address of a page request without a key.

        Yields a function that frees the place earlier. Raises `Busy` when there is none.
        """
        counts, name = (self._keys, key) if visitor is None else (self._addresses, visitor)
        most, each = (MOST, EACH_KEY) if visitor is None else (VISITORS, EACH_ADDRESS)
        if counts.total() >= most or counts[name] >= each:
            raise Busy("Too many pictures are on their way at the moment; try again.", retry_after=1.0)
        counts[name] += 1
        held = True

        def arrived() -> None:
            nonlocal held
            if held:
                counts[name] -= 1
                if not counts[name]:
                    del counts[name]
            held = False

        try:
            yield arrived
        finally:
            arrived()


EACH = 4_000_000
"""Bytes of one request's pictures. Most pictures are smaller; writing and reading 2 MB costs as much as receiving them.
"""
ALL = 24_000_000

Take = Callable[[int], bool]
"""Reserves bytes of memory; returns False, without a reservation, when there is too little."""


def release_nothing(_size: int) -> bool:
    """Reserve nothing."""
    return False


class BodyMemory:
    """The memory that all requests share."""

    def __init__(self, each: int = EACH, most: int = ALL) -> None:
        """Give each request at most `each` bytes, and all together `most`."""
        self._each = each
        self._left = most

    @contextmanager
    def share(self) -> Iterator[Take]:
        """Yield the function with which one request reserves memory; it is released when the request ends."""
        taken = 0

        def take(size: int) -> bool:
            nonlocal taken
            if taken + size > self._each or size > self._left:
                return False
            taken += size
            self._left -= size
            return True

        try:
            yield take
        finally:
            self._left += taken
