"""How many requests may be sending their bodies at once: with a key, and as the page without one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
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
    def place(self, visitor: str | None) -> Iterator[None]:
        """Hold a place while a body arrives; `visitor` is the address of one without a key. Raises `Busy`."""
        if visitor is None:
            if self._keyed >= MOST:
                raise _full()
            self._keyed += 1
        else:
            if self._visitors.total() >= VISITORS or self._visitors[visitor] >= EACH:
                raise _full()
            self._visitors[visitor] += 1
        try:
            yield
        finally:
            if visitor is None:
                self._keyed -= 1
            else:
                self._visitors[visitor] -= 1
                self._visitors += Counter()  # forgets who has none


def _full() -> Busy:
    return Busy("Too many pictures are being sent at the moment; try again.", retry_after=1.0)
