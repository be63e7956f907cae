"""Determines whether fal.ai charges for a job, from its status and responses; None when that is unknown.

fal.ai charges for results. Time in the queue and its own failures (500 and above) are free. A refused job (400 to 499)
or a cancelled one may be charged once a runner has worked on it; fal.ai does not report that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fluxvision.core.errors import Error
from fluxvision.net.client import BETWEEN
from fluxvision.providers.fal.client import FalResponse

LONGEST = 86_400.0
"""Largest plausible compute time in seconds."""
CANCELLED, REFUSED = 499, 422
"""Statuses of a cancelled job, and of one that the model itself refused."""
SERVER = 500
"""Lowest status of fal.ai's own failures."""
WAITS, DONE = "IN_QUEUE", "COMPLETED"
"""States of a job that waits in the queue, and of one that has ended."""
REMOVED, ASKED, LATE = "OK", "CANCELLATION_REQUESTED", "ALREADY_COMPLETED"
"""Responses to a cancellation: removed from the queue; requested from the runner or queue; already completed."""
FREE_PREFIX = "runner_"
FREE = frozenset({"internal_error", "request_timeout", "startup_timeout"})
"""Types of fal.ai's own failures, besides all that begin with `FREE_PREFIX`."""
STOPPED = frozenset({"client_cancelled", "client_disconnected"})
"""Types of failures caused by a cancellation."""


@dataclass(frozen=True, slots=True)
class Bill:
    """Whether a job is charged (None: unknown), and its compute time in seconds if reported."""

    charged: bool | None
    seconds: float | None = None

    def add_to(self, error: Error) -> Error:
        """Return the error with this bill added."""
        error.billed, error.seconds = self.charged, self.seconds
        return error


UNKNOWN = Bill(None)


def reported_seconds(status: Mapping[str, Any]) -> float | None:
    """Return the compute time in a job's status in seconds, None when it is missing or implausible."""
    metrics = status.get("metrics")
    found = metrics.get("inference_time") if isinstance(metrics, dict) else None
    if isinstance(found, bool) or not isinstance(found, int | float):
        return None
    return float(found) if 0 <= found <= LONGEST else None


def bill_completed(status: Mapping[str, Any], *, waited: bool = False) -> Bill:
    """Return the bill of a completed job by its status; `waited`: it was in the queue when last polled."""
    error, kind, spent = status.get("error"), status.get("error_type"), reported_seconds(status)
    if not error and not kind:
        return Bill(charged=True, seconds=spent)
    known = kind if isinstance(kind, str) else ""
    free = known in FREE or known.startswith(FREE_PREFIX) or (known in STOPPED and waited and not spent)
    return Bill(False if free else None, spent)


def bill_rejected(answer: FalResponse) -> Bill:
    """Return the bill of a job without an id: fal.ai refused it, or a proxy does not know."""
    return UNKNOWN if answer.body is None and answer.status in BETWEEN else Bill(charged=False)


def bill_refused_result(answer: FalResponse, before: Bill) -> Bill:
    """Return the bill of a job whose result was refused; `before` is the bill by its status."""
    if answer.status >= SERVER:
        return Bill(charged=False, seconds=before.seconds)
    return Bill(None, before.seconds) if answer.status in {CANCELLED, REFUSED} else before


def bill_cancelled(response: Mapping[str, Any] | None, after: Mapping[str, Any] | None, *, waited: bool) -> Bill:
    """Return the bill of a job after its cancellation.

    `response` is the response to the cancellation, `after` the job's status if it was completed then, or None.
    """
    word = (response or {}).get("status")
    if word == REMOVED:
        return Bill(charged=False)
    if word not in {ASKED, LATE}:
        return UNKNOWN
    if after is not None:
        return bill_completed(after, waited=waited)
    return Bill(charged=True) if word == LATE else UNKNOWN
