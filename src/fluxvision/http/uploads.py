"""How many requests may be on the way to their pictures at once: with a key, and as the page without one.

A picture arrives in the request's body, or is fetched from the address that the body gives.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from fluxvision.errors import Busy

MOST = 64
"""Uploads of those with a key. They bound the disk that is used before a provider's queue says no."""
VISITORS = 8
"""Uploads of the page without a key. They take no place of the others."""
EACH = 2
"""Uploads of one address of these."""
VISITORS_PER_SECOND = 32 * 1024
"""Bytes of the slowest upload without a key."""


class Uploads:
    """Counts them."""

    def __init__(self) -> None:
        """Begin with none."""
        self._keyed = 0
        self._visitors: Counter[str] = Counter()

    @contextmanager
    def place(self, visitor: str | None) -> Iterator[Callable[[], None]]:
        """Hold a place until the pictures are here; `visitor` is the address of one without a key. Raises `Busy`.

        Yields what gives the place back before the end.
        """
        if visitor is None:
            if self._keyed >= MOST:
                raise _full()
            self._keyed += 1
        else:
            if self._visitors.total() >= VISITORS or self._visitors[visitor] >= EACH:
                raise _full()
            self._visitors[visitor] += 1
        held = True

        def arrived() -> None:
            nonlocal held
            if held and visitor is None:
                self._keyed -= 1
            elif held and visitor is not None:
                self._visitors[visitor] -= 1
                self._visitors += Counter()  # forgets who has none
            held = False

        try:
            yield arrived
        finally:
            arrived()


def _full() -> Busy:
    return Busy("Too many pictures are on their way at the moment; try again.", retry_after=1.0)
