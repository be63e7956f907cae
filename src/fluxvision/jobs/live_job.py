"""LiveJob, a job that this process runs, and the two ports of whoever keeps its result and counts it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from fluxvision.core.callbacks import JobCallbacks
from fluxvision.core.errors import Error
from fluxvision.core.types import Attempt, JobResult
from fluxvision.gateway.execution import ExecutionReport
from fluxvision.jobs.provider_submissions import StoredSubmissions


class ResultStore(Protocol):
    """Turns the end of a job into what is stored of it."""

    async def response(self, result: JobResult, seconds: float, patience: float) -> Mapping[str, Any]:
        """Keep the pictures of a result for at least `seconds`, and return its response as JSON.

        An object store that does not answer is asked again for `patience` seconds.
        """

    def error(self, error: Error, attempts: Sequence[Attempt]) -> Mapping[str, Any]:
        """Return an error and the attempts before it as JSON."""

    async def delete(self, response: Mapping[str, Any]) -> None:
        """Delete the pictures of a stored response."""


class JobObserver(Protocol):
    """Is told of the jobs that this process runs."""

    def begins(self) -> None:
        """Count a job that begins."""

    def ends(self, report: ExecutionReport) -> None:
        """Count a job that ends, its attempts and cost."""

    def fails(self, request_id: str, error: BaseException) -> None:
        """Log an unexpected error; the id is empty where it is no job's."""


@dataclass(slots=True)
class LiveJob:
    """A job that this process runs."""

    ended: asyncio.Event = field(default_factory=asyncio.Event)
    followers: list[JobCallbacks] = field(default_factory=list)
    progress: tuple[int, int] = (0, 0)
    """Finished tiles and all tiles."""
    task: asyncio.Task[Any] | None = None
    submissions: StoredSubmissions | None = None
    is_cancelled: bool = False
    """Whether a caller wants it to end; otherwise a cancellation means that this process ends."""
    is_executing: bool = False
    """Whether the gateway works on it, which a caller may cancel."""
    is_ending: bool = False
    """Whether only its end remains to be stored, which the end of the process waits for."""

    def show_progress(self, done: int, total: int) -> None:
        """Pass progress on; called from any thread."""
        self.progress = done, total
        for follower in [*self.followers]:
            follower.progress(done, total)

    def show_preview(self, path: Path) -> None:
        """Pass a preview on."""
        for follower in [*self.followers]:
            if follower.preview is not None:
                follower.preview(path)
