"""A store of submissions in memory, of which single operations fail as those of a database that does not answer."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from fluxvision.core.callbacks import SubmissionStore
from fluxvision.core.errors import Unavailable, UpstreamUnreachable


class MemorySubmissions(SubmissionStore):
    """What was announced, and what was answered."""

    def __init__(self, *failing: str) -> None:
        """Raise `Unavailable` in the operations named."""
        self.kept: dict[str, Mapping[str, Any] | None] = {}
        self.failing = set(failing)
        self.announced, self.saved = asyncio.Event(), asyncio.Event()

    async def find(self, key: str) -> Mapping[str, Any] | None:
        """Return what was answered."""
        self._check("find")
        found = self.kept.get(key)
        if found is None and key in self.kept:
            message = "It is unknown whether the job was accepted."
            raise UpstreamUnreachable(message, billed=None)
        return found

    async def announce(self, key: str, provider: str) -> None:
        """Keep that the provider is asked."""
        del provider
        self._check("announce")
        self.kept[key] = None
        self.announced.set()

    async def save(self, key: str, answer: Mapping[str, Any]) -> None:
        """Keep the answer."""
        self._check("save")
        self.kept[key] = answer
        self.saved.set()

    async def forget(self, key: str) -> None:
        """Keep nothing."""
        self._check("forget")
        self.kept.pop(key, None)

    def _check(self, operation: str) -> None:
        if operation in self.failing:
            raise Unavailable("The server's database does not answer.", retry_after=5.0)
