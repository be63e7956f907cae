"""PreparedLine, a line of a batch as a job, and LineSource, the port that makes one; they need no database."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from fluxvision.core.types import Caller
from fluxvision.gateway.execution import PreparedJob
from fluxvision.jobs.batch_types import BatchLine
from fluxvision.jobs.request_types import Webhook


@dataclass(frozen=True, slots=True)
class PreparedLine:
    """A line as a job that can be entered."""

    prepared: PreparedJob
    webhook: Webhook | None
    release: Callable[[], None]
    """Deletes its files, once it was entered."""


class LineSource(Protocol):
    """What the feeder has to know of requests and files."""

    async def fetch(self, name: str) -> Path:
        """Return the path of an input file on this machine; raises `NotFound`."""

    async def caller(self, key_id: str) -> Caller | None:
        """Return the caller with this id, None where its key is not valid any more."""

    def new_id(self) -> str:
        """Return the id of a request that could not be begun."""

    async def prepare(self, base_url: str, caller: Caller, line: BatchLine) -> PreparedLine:
        """Return the job of a line; raises its error."""
