"""State of one attempt in progress: the remote provider's id and billing of the work, and its own cancel event."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from fluxvision.core.errors import Error


class AttemptCancel(threading.Event):
    """A cancel event of one attempt; it is also set when the whole job's is, but not the other way round."""

    def __init__(self, job: threading.Event) -> None:
        """Create the event; `job` is the event of the whole job."""
        super().__init__()
        self._job = job

    def is_set(self) -> bool:
        """Return whether this event or the job's is set."""
        return super().is_set() or self._job.is_set()


@dataclass(slots=True)
class Submission:
    """Work that a remote provider has accepted."""

    on_result: Callable[[], None]
    """Called when the result is about to arrive."""
    upstream_id: str | None = None
    """The provider's own id of the work."""
    billed: bool | None = False
    """Whether the provider charges for it; None: unknown."""
    seconds: float | None = None
    """The compute time that the provider reported."""

    def update(self, upstream_id: str | None, billed: bool | None, seconds: float | None = None, /) -> None:
        """Store the provider's id, whether it charges, and its compute time in seconds."""
        self.upstream_id, self.billed, self.seconds = upstream_id, billed, seconds
        if billed:
            self.on_result()

    def bill(self, error: Error) -> Error:
        """Return an error with the id and billing of the accepted work added, because it is paid nevertheless."""
        error.upstream_id = error.upstream_id or self.upstream_id
        error.billed = error.billed or self.billed
        error.seconds = self.seconds if error.seconds is None else error.seconds
        return error
