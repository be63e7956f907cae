"""Limits uploads: pictures that arrive at once for each key, and the memory of request bodies.

A picture arrives in the request's body, or is fetched from the address that the body gives.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from fluxvision.core.errors import Busy

MOST = 64
"""Uploads of those with a key. They bound the disk that is used before a provider's queue says no."""
EACH_KEY = 48
"""Uploads of one key of these, so that others find a place, too."""
VISITORS = 8
"""Uploads of the page without a key. They take no place of the others."""
EACH_ADDRESS = 2
"""Uploads of one address of these."""
VISITORS_PER_SECOND = 32 * 1024
"""Bytes of the slowest upload without a key."""


class UploadLimits:
    """Counts uploads by key, and those of the page by address."""

    def __init__(self) -> None:
        """Begin with none."""
        self._keys: Counter[str] = Counter()
        self._addresses: Counter[str] = Counter()

    @contextmanager
    def place(self, key: str, visitor: str | None) -> Iterator[Callable[[], None]]:
        """Hold a place until the pictures are here; `visitor` is the address of a request of the page without a key.

        Yields what gives the place back before the end. Raises `Busy` where there is none.
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
"""Bytes of one request's pictures. Most pictures are smaller; written and read again, 2 MB cost as much as their way
through the network."""
ALL = 24_000_000

Take = Callable[[int], bool]
"""Reserves so many bytes; False, and nothing reserved, where there is no room for them."""


def release_nothing(_size: int) -> bool:
    """Reserve nothing."""
    return False


class BodyMemory:
    """The room that all requests share."""

    def __init__(self, each: int = EACH, most: int = ALL) -> None:
        """Give each request at most `each` bytes, and all at one time `most`."""
        self._each = each
        self._left = most

    @contextmanager
    def share(self) -> Iterator[Take]:
        """Yield what one request reserves its room with; the room is given back when it ends."""
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
