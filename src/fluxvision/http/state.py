"""AppState, what all handlers share, and JobTracker, the requests that run now."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from starlette.types import Receive, Scope, Send

from fluxvision.accounts.keys import Keys
from fluxvision.core.errors import Unavailable
from fluxvision.core.settings import Settings
from fluxvision.core.types import ANYBODY, Caller, InputImage
from fluxvision.gateway.gateway import Gateway
from fluxvision.http.observability import Metrics, RequestRecord
from fluxvision.http.playground import Playground
from fluxvision.http.readiness import Readiness
from fluxvision.http.upload_limits import BodyMemory, UploadLimits
from fluxvision.imaging.deep_zoom import write_pyramid
from fluxvision.jobs.lazy_service import LazyJobService
from fluxvision.net.ssrf_guard import Guard
from fluxvision.storage.media import MediaStore
from fluxvision.storage.workspace import Workspace

if TYPE_CHECKING:  # not imported at run time, because the database takes a second
    from fluxvision.accounts.service import AccountService


class DeepZoomCache:
    """The Deep Zoom tiles of results, each made once, one result at a time."""

    def __init__(self, media: MediaStore) -> None:
        """Store tiles beside the files that `media` has on this machine."""
        self._media = media
        self._turn = asyncio.Semaphore(1)
        self._making: dict[str, asyncio.Task[None]] = {}

    async def of(self, name: str, now: float) -> Path:
        """Return the folder with a file's tiles; concurrent callers wait for the same work."""
        folder = self._media.files.tiles(name)
        if not folder.is_dir():
            task = self._making.get(name)
            if task is None:
                task = self._making[name] = asyncio.ensure_future(self._make(name, now))
                task.add_done_callback(lambda _task: self._making.pop(name, None))
            await asyncio.shield(task)
        return folder

    async def _make(self, name: str, now: float) -> None:
        async with self._turn:
            await self._media.fetch(name, now)
            await asyncio.to_thread(self._media.files.add_tiles, name, write_pyramid)


RECORD = "fluxvision.record"
CALLER = "fluxvision.caller"


@dataclass(slots=True)
class JobTracker:
    """The running jobs, those that only send their response, and whether new ones are accepted.

    `begun` is the number of jobs so far.
    """

    draining: bool = False
    begun: int = 0
    jobs: set[asyncio.Task[Any]] = field(default_factory=set)
    answering: set[asyncio.Task[Any]] = field(default_factory=set)

    @contextmanager
    def job(self) -> Iterator[Callable[[], None]]:
        """Count the current task as a job that a drain waits for; raises `Unavailable` while draining.

        Yields a function to call when only the response remains to be sent, which frees the job's place.
        """
        if self.draining:
            raise draining_error()
        task = cast("asyncio.Task[Any]", asyncio.current_task())
        self.jobs.add(task)
        self.begun += 1

        def leave() -> None:
            if task in self.jobs:
                self.jobs.discard(task)
                self.answering.add(task)

        try:
            yield leave
        finally:
            self.jobs.discard(task)
            self.answering.discard(task)

    async def drain(self, patience: float) -> int:
        """Refuse new jobs, wait `patience` seconds for the others, then cancel them; return how many."""
        self.draining = True
        jobs = self.jobs | self.answering
        if not jobs:
            return 0
        _, late = await asyncio.wait(jobs, timeout=patience)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late, timeout=1.0)
        return len(late)


def draining_error() -> Unavailable:
    """Return the error of a server that is shutting down."""
    return Unavailable("The server is shutting down; try again in a moment.", retry_after=5.0)


Probe = Callable[[Path, str, bytes | None], InputImage]
"""Read a picture file's header; raises `InvalidRequest` or `PayloadTooLarge` naming the parameter.

Takes the file's path, the parameter, and the file itself where it is in memory.
"""


@dataclass(frozen=True, slots=True)
class AppState:
    """The state that all handlers share.

    `now` returns the Unix time, `media_clock` the steady time by which results expire; `openapi` is the encoded OpenAPI
    document.
    """

    gateway: Gateway
    settings: Settings
    probe: Probe
    keys: Keys
    accounts: AccountService | None
    """None where no database is configured."""
    media: MediaStore
    workspace: Workspace
    guard: Guard
    metrics: Metrics
    log: Any
    running: JobTracker
    playground: Playground
    pyramids: DeepZoomCache
    memory: BodyMemory
    readiness: Readiness
    uploads: UploadLimits
    now: Callable[[], float]
    media_clock: Callable[[], float]
    openapi: bytes
    jobs: LazyJobService
    batch_checks: asyncio.Semaphore = field(default_factory=partial(asyncio.Semaphore, 2))
    """Taken while the input of a batch is checked: that reads up to a gigabyte in a thread."""
    keeps_history: bool = False
    """Whether every request is noted in the database."""


Handler = Callable[[AppState, Scope, Receive, Send], Awaitable[None]]


def caller_of(scope: Mapping[str, Any]) -> Caller:
    """Return the caller of a request."""
    found: Caller = scope.get(CALLER, ANYBODY)
    return found


def record_of(scope: Mapping[str, Any]) -> RequestRecord:
    """Return the request's log record."""
    found: RequestRecord = scope[RECORD]
    return found
