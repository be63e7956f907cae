"""A service of jobs in this process, with the fake gateway behind it. DBOS is one to a process: one at a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from secrets import token_hex
from typing import Any

import msgspec
from sqlalchemy import insert

from fakes.gateway import Gateway, png
from fluxvision.core.errors import Error, InvalidRequest, NotFound
from fluxvision.core.images import InputImage
from fluxvision.core.job_status import RUNNING
from fluxvision.core.types import Attempt, Caller, Job, JobResult
from fluxvision.gateway.execution import ExecutionReport
from fluxvision.jobs.batch_lines import PreparedLine
from fluxvision.jobs.batch_types import BatchLine
from fluxvision.jobs.records import RequestRow
from fluxvision.jobs.request_types import RequestIdentity
from fluxvision.jobs.service import JobService
from fluxvision.jobs.webhooks import WebhookSender
from fluxvision.net.ssrf_guard import OPEN
from fluxvision.net.webhook_client import WebhookClient
from fluxvision.storage.data_dir import open_data_dir
from fluxvision.storage.database import Database
from fluxvision.storage.tables import REQUESTS

ALICE = Caller("alice")
PATIENCE = 20.0
"""Seconds to wait for the end of a job."""


class Results:
    """Keeps the ids of results."""

    def __init__(self) -> None:
        """Keep nothing yet; `fault` is raised by the next response."""
        self.fault: Exception | None = None
        self.deleted: list[Mapping[str, Any]] = []
        self.seconds: list[float] = []
        self.patience: list[float] = []

    async def response(self, result: JobResult, seconds: float, patience: float) -> Mapping[str, Any]:
        """Return the id of the job."""
        self.patience.append(patience)
        if self.fault is not None:
            raise self.fault
        self.seconds.append(seconds)
        return {"id": result.job.id}

    def error(self, error: Error, attempts: Sequence[Attempt]) -> Mapping[str, Any]:
        """Return the error and how many attempts came before."""
        return {"kind": type(error).__name__, "message": error.message, "attempts": len(attempts)}

    async def delete(self, response: Mapping[str, Any]) -> None:
        """Note what is deleted."""
        self.deleted.append(response)


class Observer:
    """Notes the errors that are logged."""

    def __init__(self) -> None:
        """Note nothing yet."""
        self.errors: list[BaseException] = []

    def begins(self) -> None:
        """Count nothing."""

    def ends(self, report: ExecutionReport) -> None:
        """Count nothing."""

    def fails(self, request_id: str, error: BaseException) -> None:
        """Note an error."""
        del request_id
        self.errors.append(error)


class BrokenDatabase(Database):
    """A database whose next transactions fail: `faults` are raised, one each."""

    faults: list[Exception]

    def __init__(self, url: str) -> None:
        """Open it; nothing fails yet."""
        self.faults = []
        super().__init__(url)

    def run_blocking(self, work: Any) -> Any:
        """Fail, or do it."""
        if self.faults:
            raise self.faults.pop(0)
        return super().run_blocking(work)


async def _describe(row: RequestRow, _base_url: str) -> bytes:
    """Return a message with the id and status of a request."""
    return msgspec.json.encode({"id": row.id, "status": row.status})


class Lines:
    """Makes jobs of the lines of batches: the body of a line steers the fake gateway, or is an error's message."""

    def __init__(self, site: Site) -> None:
        """Make them for a site, as those of `owner`; `fault` is raised for each line that is prepared."""
        self.site = site
        self.owner: Caller | None = ALICE
        self.fault: Exception | None = None
        self.prepared: list[str] = []
        self.released = 0

    async def fetch(self, name: str) -> Path:
        """Return a file of the site's folder."""
        if not (self.site.folder / name).exists():
            raise NotFound("It is gone.")
        return self.site.folder / name

    async def caller(self, key_id: str) -> Caller | None:
        """Return the owner of all batches."""
        del key_id
        return self.owner

    def new_id(self) -> str:
        """Return an id."""
        return f"req_{token_hex(8)}"

    async def prepare(self, base_url: str, caller: Caller, line: BatchLine) -> PreparedLine:
        """Return a job with the caller of the line."""
        del base_url
        self.prepared.append(line.custom_id)
        if self.fault is not None:
            raise self.fault
        given = msgspec.json.decode(line.body)
        if "error" in given:
            raise InvalidRequest(given["error"], param="image")
        job = replace(self.site.prepared(self.new_id(), **given).job, caller=caller)
        return PreparedLine(self.site.gateway.prepare(job), None, self._release)

    def _release(self) -> None:
        self.released += 1


class Site:
    """A service of jobs and all that it uses."""

    def __init__(self, url: str, folder: Path) -> None:
        """Build it, not started, with its data below `folder`."""
        self.folder = folder
        self.database = BrokenDatabase(url)
        self.gateway, self.results, self.observer = Gateway(workers=4), Results(), Observer()
        self.data_dir = open_data_dir(str(folder))
        self.webhook_database = Database(url)  # whose transactions do not fail
        self.lines = Lines(self)
        client = WebhookClient(OPEN, allows_http=True)
        webhooks = WebhookSender(self.webhook_database, client, _describe, self.observer.fails, time.time)
        self.service = JobService(
            self.database,
            self.gateway,
            self.data_dir,
            self.results,
            self.observer,
            webhooks=webhooks,
            lines=self.lines,
            parallel=2,
        )

    def close(self) -> None:
        """Close what the service does not."""
        self.database.close()
        self.webhook_database.close()
        self.data_dir.close()

    def prepared(self, request_id: str = "req_1", **extras: Any) -> Any:
        """Return a job of Alice's that may cost, priced; `extras` steer the fake gateway."""
        path = self.folder / f"{request_id}.png"
        path.write_bytes(png(8, 6))
        image = InputImage(path, "png", 8, 6, 3, False, 8, path.stat().st_size)
        job = Job(id=request_id, model="m", image=image, values={}, extras=extras, pin="fal", caller=ALICE)
        return self.gateway.prepare(job)

    async def enter(self, request_id: str = "req_1", *, key: str = "", background: bool = False, **extras: Any) -> Any:
        """Enter a job, by default with a key of its own."""
        identity = RequestIdentity("print", key or f"key-{request_id}")
        return await self.service.enter(self.prepared(request_id, **extras), identity, background=background)

    @property
    def pictures(self) -> list[str]:
        """The jobs whose pictures are kept."""
        found = self.folder / "jobs"
        return sorted(path.name for path in found.iterdir()) if found.is_dir() else []


async def ended(site: Site, request_id: str = "req_1") -> RequestRow:
    """Return the row of a job that has ended."""
    async with asyncio.timeout(PATIENCE):
        return await site.service.wait(request_id)


def write(site: Site, statement: Any) -> None:
    """Write to the site's database."""
    with site.database.begin() as connection:
        connection.execute(statement)


async def left_behind(site: Site, status: str = RUNNING, **columns: Any) -> Any:
    """Return the insertion of a job that another process had entered, whose pictures are kept."""
    prepared = site.prepared("req_1", tile_seconds=0.01)
    facts = await site.service._files.save(prepared.job)
    return insert(REQUESTS).values(
        id="req_1", key_id="alice", created_at=1.0, model="m", status=status, job=facts, reserved=7, **columns
    )
