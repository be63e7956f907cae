"""What is known of work while a provider has it, and how it alone is stopped."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from fluxvision.core.errors import Error


class AttemptCancel(threading.Event):
    """Set by itself, or with that of the whole job: what stops one try does not stop the next."""

    def __init__(self, job: threading.Event) -> None:
        """Follow the event of the whole job."""
        super().__init__()
        self._job = job

    def is_set(self) -> bool:
        """Return whether either is set."""
        return super().is_set() or self._job.is_set()


@dataclass(slots=True)
class Submission:
    """What is known of work that a remote provider has taken. `arriving` is called when its result is about to come."""

    arriving: Callable[[], None]
    name: str | None = None
    paid: bool | None = False
    seconds: float | None = None

    def take(self, name: str | None, paid: bool | None, seconds: float | None = None, /) -> None:
        """Note the provider's name for it, whether it is to be paid, and its compute time."""
        self.name, self.paid, self.seconds = name, paid, seconds
        if paid:
            self.arriving()

    def bill(self, error: Error) -> Error:
        """Return an error of this server's own with what the provider has taken: that is paid all the same."""
        error.upstream_id = error.upstream_id or self.name
        error.billed = error.billed or self.paid
        error.seconds = self.seconds if error.seconds is None else error.seconds
        return error
