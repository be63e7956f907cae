"""What fal.ai charges for a job, as far as anybody knows it: its documents, as tables.

It bills what was made. Time in the queue and failures of its own (500 and above) cost nothing. What was refused (400 to
499) may cost something once a runner has worked on it, and so may a job that was stopped there: nobody tells.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fluxvision.core.errors import Error
from fluxvision.net.client import BETWEEN
from fluxvision.providers.fal.client import FalResponse

LONGEST = 86_400.0
"""Seconds of compute time that are believed."""
CANCELLED, REFUSED = 499, 422
"""Statuses of a job that was stopped, and of one that the model itself has refused."""
SERVER = 500
"""The lowest status of a failure that is fal.ai's own."""
WAITS, DONE = "IN_QUEUE", "COMPLETED"
"""How a job stands that nobody works on yet, and one that is over."""
REMOVED, ASKED, LATE = "OK", "CANCELLATION_REQUESTED", "ALREADY_COMPLETED"
"""Answers to who gives up a job: it has left the queue; its runner is told, or the queue will be; it was done."""
FREE_PREFIX = "runner_"
FREE = frozenset({"internal_error", "request_timeout", "startup_timeout"})
"""Types of failures that are fal.ai's own, beside all that begin with `FREE_PREFIX`."""
STOPPED = frozenset({"client_cancelled", "client_disconnected"})
"""Types of failures that somebody asked for."""


@dataclass(frozen=True, slots=True)
class Bill:
    """Whether a job is charged, None where nobody knows, and its compute time where fal.ai has told it."""

    charged: bool | None
    seconds: float | None = None

    def on(self, error: Error) -> Error:
        """Return an error that tells this bill."""
        error.billed, error.seconds = self.charged, self.seconds
        return error


UNKNOWN = Bill(None)


def reported_seconds(status: Mapping[str, Any]) -> float | None:
    """Return the compute time that a job's status tells; None where there is none, or it makes no sense."""
    metrics = status.get("metrics")
    found = metrics.get("inference_time") if isinstance(metrics, dict) else None
    if isinstance(found, bool) or not isinstance(found, int | float):
        return None
    return float(found) if 0 <= found <= LONGEST else None


def bill_completed(status: Mapping[str, Any], *, waited: bool = False) -> Bill:
    """Return the bill of a completed job by its status; `waited` tells that it stood in the queue when last seen."""
    error, kind, spent = status.get("error"), status.get("error_type"), reported_seconds(status)
    if not error and not kind:
        return Bill(charged=True, seconds=spent)
    known = kind if isinstance(kind, str) else ""
    free = known in FREE or known.startswith(FREE_PREFIX) or (known in STOPPED and waited and not spent)
    return Bill(False if free else None, spent)


def bill_untaken(answer: FalResponse) -> Bill:
    """Return the bill of a job without a ticket: fal.ai did not take it, or a server between does not know."""
    return UNKNOWN if answer.said is None and answer.status in BETWEEN else Bill(charged=False)


def bill_refused(answer: FalResponse, before: Bill) -> Bill:
    """Return the bill of a job whose result is not given out, after what its status told."""
    if answer.status >= SERVER:
        return Bill(charged=False, seconds=before.seconds)
    return Bill(None, before.seconds) if answer.status in {CANCELLED, REFUSED} else before


def bill_cancelled(said: Mapping[str, Any] | None, after: Mapping[str, Any] | None, *, waited: bool) -> Bill:
    """Return the bill of a job that was to be cancelled.

    `said` is the answer to that, `after` the job's status when it was completed then, each None where there was none.
    """
    word = (said or {}).get("status")
    if word == REMOVED:
        return Bill(charged=False)
    if word not in {ASKED, LATE}:
        return UNKNOWN
    if after is not None:
        return bill_completed(after, waited=waited)
    return Bill(charged=True) if word == LATE else UNKNOWN
