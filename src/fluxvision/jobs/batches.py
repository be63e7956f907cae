"""BatchFeeder: makes stored background jobs of the lines of batches, a few at a time, and ends batches.

A line becomes a request in one transaction with the note that it has: neither a crash nor a second gateway enters it
twice. One gateway feeds a batch; when it dies another one goes on. The requests themselves run on any gateway.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Protocol

from sqlalchemy import Connection, select

from fluxvision.core.concurrency import run_in_thread, run_to_the_end
from fluxvision.core.errors import (
    AuthenticationFailed,
    Busy,
    DeadlineExceeded,
    Error,
    InsufficientBalance,
    InternalError,
    NotFound,
    Unavailable,
)
from fluxvision.core.job_status import ACTIVE, CANCELLED, CANCELLING, COMPLETED, FAILED
from fluxvision.core.system import translate_resource_errors
from fluxvision.core.types import Attempt, Caller
from fluxvision.gateway.execution import PreparedJob
from fluxvision.jobs import batch_records
from fluxvision.jobs.batch_input import read_line
from fluxvision.jobs.batch_lines import LineSource, PreparedLine
from fluxvision.jobs.batch_records import BatchMoved, BatchRow
from fluxvision.jobs.batch_types import EXPIRED, FINALIZING, IN_PROGRESS, BatchCounts, BatchLine
from fluxvision.jobs.request_types import Entry, RequestIdentity, Webhook
from fluxvision.storage.database import Database
from fluxvision.storage.tables import BATCHES, REQUESTS

LOOK_SECONDS = 1.0
"""Between two looks at the batches."""
AHEAD = 8
"""Lines whose pictures are fetched at the same time; they are entered in their order."""
AHEAD_BYTES = 64_000_000
"""Bytes of those lines from which on no further one is read."""
MOST_FED = 4
"""Batches whose lines are read at the same time."""
LONGEST_PAUSE = 15.0
"""Most seconds until a line that a limit of its key refused is tried again."""
MISSING_SECONDS = 600.0
"""How long a batch waits for a gateway that has its input file, such as one that is just restarting."""
BUDGET_PAUSE = 5.0
"""Seconds until a line over its key's budget is tried again while others have reserved some of it."""

_EXPIRED = DeadlineExceeded("The batch's completion window ended before this line was begun. Nothing was charged.")
_NO_KEY = AuthenticationFailed("The API key of this batch was revoked or has expired.")


class Enter(Protocol):
    """Enters a job as the request of a line; see `JobService.enter`."""

    async def __call__(
        self,
        prepared: PreparedJob,
        identity: RequestIdentity,
        *,
        background: bool,
        webhook: Webhook | None,
        line: BatchLine,
    ) -> Entry:
        """Enter it, or raise `BatchMoved`."""


class BatchFeeder:
    """The batches that this gateway feeds."""

    def __init__(
        self,
        database: Database,
        executor_id: str,
        source: LineSource,
        *,
        enter: Enter,
        cancel: Callable[[str], Awaitable[None]],
        describe_error: Callable[[Error, Sequence[Attempt]], Mapping[str, Any]],
        on_unexpected_error: Callable[[str, BaseException], None],
        most: int,
        shares_files: bool,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Keep at most `most` requests of each batch queued or running.

        `shares_files`: whether all gateways have the same files, so that one that is not here is nowhere.
        """
        self.executor_id = executor_id
        self._database = database
        self._source = source
        self._enter = enter
        self._cancel = cancel
        self._describe_error = describe_error
        self._on_unexpected_error = on_unexpected_error
        self._most = most
        self._shares_files = shares_files
        self._now = now
        self._feeding = asyncio.Semaphore(MOST_FED)
        self._wake = asyncio.Event()
        self._running: dict[str, asyncio.Task[None]] = {}
        self._paused: dict[str, float] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look for batches."""
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Stop; another gateway, or the next process, goes on."""
        tasks = [*self._running.values(), *([] if self._task is None else [self._task])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def wake(self, batch_id: str) -> None:
        """Look at a batch at once."""
        self._paused.pop(batch_id, None)
        self._wake.set()

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            try:
                await self._look()
            except Exception as error:  # noqa: BLE001 - one bad moment of the database must not end it
                self._on_unexpected_error("", error)
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._wake.wait()

    async def _look(self) -> None:
        self._paused = {name: until for name, until in self._paused.items() if until > self._now()}
        claim = partial(batch_records.claim, executor_id=self.executor_id, paused=frozenset(self._paused))
        own = await self._database.run(claim)
        for batch_id in own:
            if batch_id not in self._running and batch_id not in self._paused:
                self._running[batch_id] = asyncio.create_task(self._move_on(batch_id))

    async def _move_on(self, batch_id: str) -> None:
        """Do what is to be done for a batch now; an error is tried again later."""
        try:
            await self._move(batch_id)
        except BatchMoved:
            pass
        except (Busy, Unavailable) as error:
            self._paused[batch_id] = self._now() + min(error.retry_after or LONGEST_PAUSE, LONGEST_PAUSE)
        except Exception as error:  # noqa: BLE001 - the task has nobody else to tell
            self._on_unexpected_error("", error)
            self._paused[batch_id] = self._now() + LONGEST_PAUSE
        finally:
            del self._running[batch_id]

    async def _move(self, batch_id: str) -> None:
        def read(connection: Connection) -> tuple[BatchRow, BatchCounts]:
            row = connection.execute(select(BATCHES).where(BATCHES.c.id == batch_id)).one()
            return row, batch_records.count(connection, batch_id)

        batch, counts = await self._database.run(read)
        is_read = batch.lines == batch.total
        if batch.status == CANCELLING and counts.active:
            await self._cancel_lines(batch_id)
        elif batch.status == CANCELLING or (is_read and not counts.active):
            end = {CANCELLING: CANCELLED, FINALIZING: EXPIRED, IN_PROGRESS: COMPLETED}[batch.status]
            await self._set_status(batch, end, ended_at=self._now())
        elif batch.status == IN_PROGRESS and not is_read and self._now() >= batch.expires_at:
            await self._set_status(batch, FINALIZING)
            self.wake(batch_id)
        elif not is_read:
            try:
                async with self._feeding:
                    await self._feed(batch, counts.active)
            except NotFound:
                await self._give_up(batch)

    async def _give_up(self, batch: BatchRow) -> None:
        """Leave a batch whose input file is not here to a gateway that has it; it fails where there can be none."""
        waited = 0.0 if batch.missing_since is None else self._now() - batch.missing_since
        if self._shares_files or waited >= MISSING_SECONDS or batch.status == FINALIZING:
            await self._set_status(batch, FAILED, ended_at=self._now())
            return
        release = partial(batch_records.release, batch_id=batch.id, executor_id=self.executor_id, now=self._now())
        await self._database.run(release)
        raise Unavailable("The input file is not on this gateway.")

    async def _cancel_lines(self, batch_id: str) -> None:
        active = select(REQUESTS.c.id).where(REQUESTS.c.batch_id == batch_id, REQUESTS.c.status.in_(ACTIVE))
        for request_id in await self._database.run(lambda connection: connection.execute(active).scalars().all()):
            await self._cancel(request_id)

    async def _feed(self, batch: BatchRow, active: int) -> None:
        """Enter lines, in their order, as long as there is room; their pictures are fetched ahead."""
        path = await self._source.fetch(batch.name)
        caller = await self._source.caller(batch.key_id)
        ends = batch.status == FINALIZING or caller is None
        last = batch.total if ends else min(batch.total, batch.lines + self._room(caller) - active)
        number, offset = batch.lines, batch.offset
        waiting: deque[tuple[BatchLine, asyncio.Task[PreparedLine]]] = deque()
        try:
            while number < last or waiting:
                ahead = sum(len(line.body) for line, _ in waiting)
                if number < last and len(waiting) < AHEAD and ahead < AHEAD_BYTES:
                    number += 1
                    line = await run_in_thread(read_line, path, batch.id, number, offset)
                    offset = line.end
                    waiting.append((line, asyncio.create_task(self._prepare(batch, caller, line))))
                else:
                    active += await self._enter_line(batch, *waiting.popleft(), reserved=active > 0)
        finally:
            for _, task in waiting:
                task.cancel()
            for left in await asyncio.gather(*(task for _, task in waiting), return_exceptions=True):
                if isinstance(left, PreparedLine):
                    left.release()

    def _room(self, caller: Caller | None) -> int:
        """Return how many requests of a batch may be active; one place of its key is left to others."""
        places = None if caller is None else caller.limits.parallel
        return self._most if places is None else min(self._most, max(1, places - 1))

    async def _prepare(self, batch: BatchRow, caller: Caller | None, line: BatchLine) -> PreparedLine:
        if batch.status == FINALIZING:
            raise _EXPIRED
        if caller is None:
            raise _NO_KEY
        return await self._source.prepare(batch.base_url, caller, line)

    async def _enter_line(
        self, batch: BatchRow, line: BatchLine, task: asyncio.Task[PreparedLine], *, reserved: bool
    ) -> bool:
        """Enter the request of a line, or its error; return which. Raises `Busy` or `Unavailable` where it has to wait.

        Running lines may have `reserved` more than they will cost.
        """
        identity = RequestIdentity(f"{batch.id}-{line.number}")  # of no other request, whatever it asks for
        try:
            with translate_resource_errors():
                found = await task
                try:  # a request that is stored must also be started, whether or not this process ends
                    await run_to_the_end(
                        self._enter(found.prepared, identity, background=True, webhook=found.webhook, line=line)
                    )
                finally:
                    found.release()
        except (Busy, Unavailable, BatchMoved):
            raise
        except Exception as error:  # noqa: BLE001 - the line has it
            if isinstance(error, InsufficientBalance) and reserved:
                raise Busy("What running lines have reserved may become free.", retry_after=BUDGET_PAUSE) from None
            await self._fail(batch, line, error)
            return False
        return True

    async def _fail(self, batch: BatchRow, line: BatchLine, error: Exception) -> None:
        request_id = self._source.new_id()
        if not isinstance(error, Error):
            self._on_unexpected_error(request_id, error)
            error = InternalError("Something went wrong on this server.")
        columns = {"id": request_id, "key_id": batch.key_id, "error": self._describe_error(error, ())}

        def insert(connection: Connection) -> None:
            batch_records.advance(connection, line, self.executor_id)
            batch_records.insert_failed(connection, line, self._now(), **columns)

        await self._database.run(insert)

    async def _set_status(self, batch: BatchRow, status: str, **columns: Any) -> None:
        await self._database.run(
            lambda connection: batch_records.set_status(connection, batch.id, status, batch.status, **columns)
        )
