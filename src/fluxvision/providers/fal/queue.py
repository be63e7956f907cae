"""The way of a job through fal.ai's queue: taken, looked at until it is completed, and cancelled where it is given up.

A job that was taken is never handed over again, whatever becomes of the connection: the same one is asked for.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from fluxvision.errors import Error
from fluxvision.providers import common
from fluxvision.providers.fal.answer import GONE, OK, Answer
from fluxvision.providers.fal.handover import SHORTEST, Ticket, handed_over
from fluxvision.providers.fal.refusal import broken, failure, lost
from fluxvision.providers.fal.wire import ANSWER, LOST, Wire
from fluxvision.types import Call

PICTURE_INSIDE = 64_000_000
"""Bytes of an answer that may hold a picture."""
CANCEL_PATIENCE = 5.0
ODD = 5
"""Senseless answers in a row after which a job is given up."""
LONGEST = 5.0
"""Seconds of the longest pause."""
SHARE = 0.1
"""A pause between two looks, as a share of the time waited so far."""


class Queue:
    """Jobs at fal.ai. A task that is cancelled while a job is not done cancels it there."""

    def __init__(self, wire: Wire, url: str) -> None:
        """Ask the queue at `url`."""
        self.url = url.rstrip("/")
        self._wire = wire
        self._farewells: set[asyncio.Task[None]] = set()

    async def submit(self, call: Call, content: bytes) -> Ticket:
        """Hand a job over once; a cancelled task takes it back as soon as fal.ai has named it."""
        url = f"{self.url}/{call.upstream}"
        submitting = asyncio.ensure_future(handed_over(self._wire, url, call, content))
        try:
            return await asyncio.shield(submitting)
        except asyncio.CancelledError:
            await self._part(self._withdraw(submitting))
            raise

    async def finished(
        self, call: Call, ticket: Ticket, paid: Callable[[], None]
    ) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        """Wait for the job and return its last status and its result; a job that is given up is cancelled.

        `paid` is called as soon as the job was done.
        """
        secrets = self._wire.secrets(call)
        try:
            status = await self._completed(ticket, secrets)
        except BaseException:
            await self._part(self._cancel(ticket))
            raise
        failed = broken(status)
        if not failed:
            paid()
        answer = await self._persist(ticket.response_url, PICTURE_INSIDE, most=0 if failed else ODD)
        if failed and (answer.fine or answer.said is None):
            raise failure(failed, secrets)
        if not answer.fine:
            error = lost(answer, secrets)
            error.billed = not failed and answer.status in {OK, GONE}
            raise error
        return status, answer.said or {}

    async def aclose(self) -> None:
        """Wait for cancellations under way."""
        await asyncio.gather(*self._farewells, return_exceptions=True)

    async def _completed(self, ticket: Ticket, secrets: tuple[str, ...]) -> Mapping[str, Any]:
        """Ask how the job stands, less and less often, until it is completed; return what is said of it then."""
        started = time.monotonic()
        while True:
            waited = time.monotonic() - started
            await self._wire.pause(min(LONGEST, max(SHORTEST, SHARE * waited)))
            answer = await self._persist(ticket.status_url, ANSWER)
            if not answer.fine:
                raise lost(answer, secrets)
            if answer.said and answer.said.get("status") == "COMPLETED":
                return answer.said

    async def _persist(self, url: str, limit: int, most: int | None = None) -> Answer:
        """Ask until there is an answer: lost connections and failing servers are waited for.

        A few answers that make no sense are waited out. Where `most` is given, a failure of the job's own is an answer.
        """
        unheard = failed = odd = 0
        while True:
            wait = 0.0
            try:
                answer = await self._wire.ask("GET", url, limit=limit)
            except LOST:
                unheard += 1
            else:
                if answer.failed:
                    failed += 1
                    wait = common.retry_after(answer.headers, time.time()) or 0.0
                    if most is not None and answer.final(often=failed > most):
                        return answer
                elif answer.odd and odd < ODD:
                    odd += 1
                else:
                    return answer
            backoff = min(LONGEST, SHORTEST * 2 ** min(unheard + failed + odd, 10))
            await self._wire.pause(max(backoff, min(wait, 4 * LONGEST)))

    async def _cancel(self, ticket: Ticket) -> None:
        """Ask fal.ai to stop; it may have no time for that."""
        with contextlib.suppress(*LOST, Error):
            await self._wire.ask("PUT", ticket.cancel_url, CANCEL_PATIENCE)

    async def _withdraw(self, submitting: asyncio.Future[Ticket]) -> None:
        """Cancel a job that is just being handed over."""
        try:
            with contextlib.suppress(Error):
                async with asyncio.timeout(CANCEL_PATIENCE * self._wire.pace):
                    await self._cancel(await submitting)
        except TimeoutError:
            submitting.cancel()

    async def _part(self, farewell: Coroutine[Any, Any, None]) -> None:
        """Let a last request end, even where the task that waits for it is cancelled again."""
        task = asyncio.ensure_future(farewell)
        self._farewells.add(task)
        task.add_done_callback(self._farewells.discard)
        await asyncio.shield(task)
