"""Data types and states of batches; quick to import, because they need no database."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fluxvision.core.job_status import CANCELLED, CANCELLING, COMPLETED, FAILED
from fluxvision.jobs.request_types import KEY_SECONDS

ENDPOINT = "/v1/images/edits"
"""The only address of a batch's lines."""
PURPOSE = "batch"
PICTURE_PURPOSES = ("vision", "user_data")
"""Purposes of uploaded pictures, which edits name by `file_id`; a batch reads no such file."""
PURPOSES = (PURPOSE, *PICTURE_PURPOSES)
MOST_LINES = 10_000
WINDOW_SECONDS = 24 * 3600.0
"""How long after its creation lines of a batch are begun."""
FILE_SECONDS = KEY_SECONDS
"""How long an uploaded file can be used."""
KEPT_SECONDS = FILE_SECONDS + WINDOW_SECONDS + 3600.0
"""How long it is on the disk, because a batch reads it until its window ends."""
RESULT_SECONDS = WINDOW_SECONDS + KEY_SECONDS
"""How long the pictures of a line are kept, so that those of the first line are there when the batch has ended."""

IN_PROGRESS, FINALIZING, EXPIRED = "in_progress", "finalizing", "expired"
RUNNING_BATCHES = (IN_PROGRESS, FINALIZING, CANCELLING)
"""States of a batch that has not ended; a finalizing one gives its remaining lines the error of the ended window."""
BATCH_STATUSES = (*RUNNING_BATCHES, COMPLETED, FAILED, EXPIRED, CANCELLED)


@dataclass(frozen=True, slots=True)
class BatchLine:
    """A line of a batch's input file."""

    batch_id: str
    number: int
    """From 1; lines without text are not counted."""
    custom_id: str
    body: bytes
    """The JSON of the edit."""
    end: int
    """Where the next line begins in the file, in bytes."""

    @property
    def columns(self) -> dict[str, Any]:
        """The columns of its request."""
        return {"batch_id": self.batch_id, "batch_line": self.number, "custom_id": self.custom_id}


@dataclass(frozen=True, slots=True)
class BatchCounts:
    """The requests of a batch by their end."""

    active: int
    completed: int
    failed: int
    """Cancelled ones too."""
