"""How much of what is uploaded stays in memory: a little of each request, and of all together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

EACH = 4_000_000
"""Bytes of one request's pictures. Most pictures are smaller; written and read again, 2 MB cost as much as their way
through the network."""
ALL = 24_000_000

Take = Callable[[int], bool]
"""Reserves so many bytes; False, and nothing reserved, where there is no room for them."""


def nothing(_size: int) -> bool:
    """Reserve nothing."""
    return False


class Memory:
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
