"""Checks whether this server can still make a picture, for /readyz, at most every few seconds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from fluxvision.gateway.gateway import Gateway
from fluxvision.http.error_response import error_for_client
from fluxvision.http.observability import format_trace
from fluxvision.storage.data_dir import DataDir

FRESH = 5.0
"""Seconds for which the result of a check is reused."""


class Readiness:
    """Whether a small picture can be made, tested on demand: one test at a time, at most one every few seconds."""

    def __init__(
        self, gateway: Gateway, data_dir: DataDir, log: Any, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Start without a result; `clock` returns seconds."""
        self._gateway, self._data_dir, self._log, self._clock = gateway, data_dir, log, clock
        self._task: asyncio.Task[str | None] | None = None
        self._until = -FRESH

    async def failure(self) -> str | None:
        """Return a short reason why pictures cannot be made, None when they can; a test outlives its caller."""
        if self._task is None or (self._task.done() and self._clock() >= self._until):
            self._task = asyncio.create_task(self._check())
        return await asyncio.shield(self._task)

    async def _check(self) -> str | None:
        try:
            folder = self._data_dir.folder()
            try:
                await self._gateway.check(folder)
            finally:
                self._data_dir.release(folder, whole=False)
        except Exception as error:  # noqa: BLE001 - whatever it is, no picture can be made
            self._log.error("not ready", trace=format_trace(error))
            return error_for_client(error).message
        finally:
            self._until = self._clock() + FRESH
        return None
