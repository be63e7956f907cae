"""How much memory the pictures of all jobs may take together: work begins when what it was planned to take is free."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

LITTLE = 1 / 32
"""Share of the budget up to which a job does not wait behind larger ones that wait for room."""


class MemoryBudget:
    """Bytes that are lent in the order in which they were asked for. Belongs to one event loop."""

    def __init__(self, most: int) -> None:
        """Lend `most` bytes in all."""
        self.most = most
        self.free = most
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def hold(self, size: int, *, first: bool = False) -> AsyncIterator[None]:
        """Wait until `size` bytes are free and hold them; more than there are in all counts as all of them.

        What is to go `first`, since it is paid for already, waits behind nobody else.
        """
        size = min(size, self.most)
        if size <= self.free and (first or not self._waiting or size <= self.most * LITTLE):
            self.free -= size
        else:
            await self._turn(size, first=first)
        try:
            yield
        finally:
            self._give_back(size)

    async def _turn(self, size: int, *, first: bool) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        (self._waiting.appendleft if first else self._waiting.append)((size, turn))
        try:
            await turn
        except asyncio.CancelledError:
            self._give_back(0 if turn.cancelled() else size)
            raise

    def _give_back(self, size: int) -> None:
        self.free += size
        while self._waiting and (self._waiting[0][1].cancelled() or self._waiting[0][0] <= self.free):
            size, turn = self._waiting.popleft()
            if not turn.cancelled():
                self.free -= size
                turn.set_result(None)
