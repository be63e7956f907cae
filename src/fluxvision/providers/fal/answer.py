"""What fal.ai answers: a response that was read to its end, and how it is to be taken."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

OK, ACCEPTED, UNPAID, FORBIDDEN, GONE, BUSY = 200, 202, 402, 403, 404, 429


@dataclass(frozen=True, slots=True)
class Answer:
    """A response, read to its end; `said` is its JSON object, None for anything else."""

    status: int
    headers: Mapping[str, str]
    said: Mapping[str, Any] | None

    @property
    def error_type(self) -> str:
        """Return fal.ai's name of the failure, empty where it gives none."""
        found = (self.said or {}).get("error_type") or self.headers.get("x-fal-error-type")
        return found if isinstance(found, str) else ""

    @property
    def failed(self) -> bool:
        """Whether the same question may be answered in a moment."""
        return self.status in {408, 425, BUSY} or self.status >= 500  # noqa: PLR2004

    @property
    def odd(self) -> bool:
        """Whether this is what a server between says rather than the queue."""
        return self.status == GONE or (self.status == OK and self.said is None)

    @property
    def fine(self) -> bool:
        """Whether this is an answer."""
        return self.status in {OK, ACCEPTED} and self.said is not None

    def final(self, *, often: bool) -> bool:
        """Return whether a failure is the job's own, which asking again does not change.

        One that says nothing comes from a server between; one that does not say its type is believed when it came
        `often`.
        """
        if self.status == BUSY or self.said is None:
            return False
        return often or bool(self.error_type) or "x-fal-request-timeout-type" in self.headers


def parsed(content: bytes) -> Mapping[str, Any] | None:
    """Return a JSON object, None for anything else."""
    try:
        found = msgspec.json.decode(content)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
