"""JobCallbacks, by which a caller follows and stops a job, and notes what remote providers accepted for it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from fluxvision.core.errors import Cancelled


class OnSubmitted(Protocol):
    """A callback for remote work: the provider's id of it, whether it is charged, and the reported compute time."""

    def __call__(self, name: str | None, paid: bool | None, seconds: float | None = None, /) -> None:
        """Store the values; None means unknown."""


class SubmissionStore:
    """Remembers nothing of the work that remote providers accepted.

    With the one of `jobs.provider_submissions`, a job that begins again after a crash follows the work that it has
    bought.
    """

    keeps_work: bool = False
    """Whether accepted work goes on although its task is cancelled, because another process will follow it."""

    async def find(self, key: str) -> Mapping[str, Any] | None:
        """Return what a provider answered when it accepted the work with this `Call.key`, None when it was not asked.

        Raises `UpstreamUnreachable` when it was asked and its answer is not known.
        """
        del key
        return None

    async def announce(self, key: str, provider: str) -> None:
        """Note that a provider is about to be asked."""

    async def save(self, key: str, answer: Mapping[str, Any]) -> None:
        """Note what the provider answered."""

    async def forget(self, key: str) -> None:
        """Note that the work has ended without a result."""


@dataclass(frozen=True, slots=True)
class JobCallbacks:
    """Callbacks and events by which a caller follows a job and stops it."""

    progress: Callable[[int, int], None] = lambda _done, _total: None
    """Called after each tile with the number of finished tiles and of all tiles, from any thread."""
    cancel: threading.Event = field(default_factory=threading.Event)
    """Once set, the work raises `Cancelled` at the next tile."""
    preview: Callable[[Path], None] | None = None
    """Called with small previews before the result is finished."""
    on_submitted: OnSubmitted = lambda _name, _paid, _seconds=None: None
    """Called when a remote provider accepts the work (paid is None while that is unknown), and again whenever more is
    known. The values of the last call are used when the work is cancelled."""
    submissions: SubmissionStore = field(default_factory=SubmissionStore)
    """Where remote providers note what they accepted."""
    on_unexpected_error: Callable[[Exception], None] = lambda _error: None
    """Called with an unexpected exception of a provider."""
    yield_turn: Callable[[], None] = lambda: None
    """Called in a thread before each tile of a large job; blocks while small jobs run."""

    def check_cancelled(self) -> None:
        """Raise `Cancelled` when the job was cancelled."""
        if self.cancel.is_set():
            raise Cancelled("The work was cancelled.")

    def before_tile(self) -> None:
        """Wait while small jobs run; raises `Cancelled` when the job was cancelled."""
        self.yield_turn()
        self.check_cancelled()
