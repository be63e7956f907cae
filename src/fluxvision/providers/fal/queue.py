"""Submit, poll and cancel jobs on fal.ai's queue.

A job that fal.ai accepted is never submitted again; after a lost connection the same job is polled.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from math import inf
from typing import Any, TypeVar

import msgspec
import pybase64

from fluxvision.core.errors import Error, UpstreamError, UpstreamUnreachable
from fluxvision.core.system import resource_error
from fluxvision.core.types import Call, OnSubmitted
from fluxvision.imaging import formats
from fluxvision.net import client
from fluxvision.providers.fal import billing
from fluxvision.providers.fal.billing import Bill
from fluxvision.providers.fal.client import ANSWER, LOST, UNSENT, FalClient, FalResponse
from fluxvision.providers.fal.errors import error_from_response, failure_response, lost_job_error

LIFECYCLE = '{"expiration_duration_seconds":3600}'
"""How long fal.ai keeps a result."""
PATIENCE = 120.0
TRIES = 3
SHORTEST = 0.1
"""Shortest pause in seconds."""
HEADERS = {
    "Content-Type": "application/json",
    "X-Fal-Store-IO": "0",
    "X-Fal-Object-Lifecycle-Preference": LIFECYCLE,
}


class QueuedJob(msgspec.Struct, frozen=True):
    """The id and addresses of a job that fal.ai accepted."""

    request_id: str
    status_url: str
    response_url: str
    cancel_url: str


def request_document(call: Call, address: str) -> bytes:
    """Return a request's body as JSON, with the picture's address, or the picture itself if that is empty."""
    if not address:
        mime = formats.find_format(call.image.format).mime
        content = call.image.path.read_bytes() if call.image.content is None else call.image.content
        address = f"data:{mime};base64,{pybase64.b64encode_as_string(content)}"
    return msgspec.json.encode({**call.body, "image_url": address})


async def submit_request(wire: FalClient, url: str, call: Call, content: bytes) -> QueuedJob:
    """Submit the job once; it is retried only when nothing can have been sent."""
    answer, left = None, TRIES
    while answer is None:
        left -= 1
        try:
            answer = await wire.ask("POST", url, PATIENCE, content, HEADERS)
        except UNSENT as error:
            if not left:
                raise resource_error(error) or UpstreamUnreachable("fal.ai cannot be reached.") from None
            await wire.pause(SHORTEST * 2 ** (TRIES - left))
        except LOST:
            message = "The connection to fal.ai was lost while the job was handed over."
            raise UpstreamUnreachable(message, billed=None) from None
        except UpstreamError as error:
            error.billed = None  # oversized reply: billing unknown
            raise
    if not answer.fine:
        raise billing.bill_untaken(answer).on(error_from_response(answer, wire.secrets(call), call.asked))
    try:
        ticket = msgspec.convert(answer.said, QueuedJob)
    except msgspec.ValidationError:
        message = "fal.ai took the job and did not say where to ask for it."
        raise UpstreamError(message, billed=None) from None
    if not all(wire.owns(url) for url in (ticket.status_url, ticket.response_url, ticket.cancel_url)):
        message = "fal.ai's answer leads to another server, which does not get this server's key."
        raise UpstreamError(message, upstream_id=wire.shown(ticket.request_id), billed=None)
    return ticket


PICTURE_INSIDE = 64_000_000
"""Most bytes of a response that may hold a picture."""
CANCEL_PATIENCE = 5.0
LAST_PATIENCE = 0.5
"""Seconds to wait for the final status of a cancelled job."""
ODD = 5
"""Invalid responses in a row after which a job is given up."""
SILENCE = 60.0
"""Seconds of unreachability after which an unfinished job is given up."""
LONGEST = 5.0
"""Longest pause in seconds."""
SHARE = 0.1
"""Pause between two polls, as a share of the time waited so far."""

T = TypeVar("T")


@dataclass(slots=True)
class _Job:
    """A job that fal.ai accepted."""

    ticket: QueuedJob
    name: str
    """Its id without secrets, for messages."""
    secrets: tuple[str, ...]
    """Texts that no message may repeat."""
    asked: Mapping[str, str]
    """See `Call.asked`."""
    stood: str = ""
    """Its state when last polled."""
    parted: Mapping[str, Any] | None = None
    """The response to its cancellation."""


class Queue:
    """Jobs on fal.ai's queue. Cancelling a task cancels its unfinished job at fal.ai.

    `taken` is called with the job's id and billing as far as known; errors have them too.
    """

    def __init__(self, wire: FalClient, url: str) -> None:
        """Use the queue at `url`."""
        self.url = url.rstrip("/")
        self._wire = wire
        self._farewells: set[asyncio.Task[Any]] = set()

    async def submit(self, call: Call, content: bytes, taken: OnSubmitted) -> QueuedJob:
        """Submit a job once; if the task is cancelled, the job is cancelled as soon as its id is known."""
        url = f"{self.url}/{call.upstream}"
        submitting = asyncio.ensure_future(submit_request(self._wire, url, call, content))
        try:
            return await asyncio.shield(submitting)
        except asyncio.CancelledError:
            job = await self._part(self._withdraw(submitting, call, taken))
            if job is not None:
                await self._settled(job, taken)
            raise

    async def finished(
        self, call: Call, ticket: QueuedJob, taken: OnSubmitted
    ) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        """Wait for the job and return its last status and its result; cancel it if it is given up."""
        job = self._job(call, ticket)
        taken(job.name, None)
        try:
            status = await self._completed(job)
        except BaseException as error:
            await self._part(self._cancel(job))
            found = await self._settled(job, taken)
            if isinstance(error, Error):
                raise found.on(error) from None
            raise
        found = billing.bill_completed(status)
        taken(job.name, found.charged, found.seconds)
        failed = failure_response(status)
        try:
            answer = await self._persist(ticket.response_url, PICTURE_INSIDE, most=0 if failed else ODD)
        except Error as error:
            raise found.on(error) from None
        if failed and (answer.fine or answer.said is None):
            raise found.on(error_from_response(failed, job.secrets, job.asked))
        if not answer.fine:
            raise billing.bill_refused(answer, found).on(lost_job_error(answer, job.secrets, job.asked))
        return status, answer.said or {}

    async def aclose(self) -> None:
        """Wait for pending cancellations."""
        await asyncio.gather(*self._farewells, return_exceptions=True)

    def _job(self, call: Call, ticket: QueuedJob) -> _Job:
        return _Job(ticket, self._wire.shown(ticket.request_id), self._wire.secrets(call), call.asked)

    async def _completed(self, job: _Job) -> Mapping[str, Any]:
        """Poll the job, less and less often, until it is completed; return its last status."""
        started = time.monotonic()
        while True:
            waited = time.monotonic() - started
            await self._wire.pause(min(LONGEST, max(SHORTEST, SHARE * waited)))
            answer = await self._persist(job.ticket.status_url, ANSWER, silence=SILENCE)
            if not answer.fine:
                raise lost_job_error(answer, job.secrets, job.asked)
            said = answer.said or {}
            if said.get("status") == billing.DONE:
                return said
            job.stood = str(said.get("status"))

    async def _persist(self, url: str, limit: int, most: int | None = None, silence: float = inf) -> FalResponse:
        """Repeat a request until it succeeds, after lost connections (for up to `silence` seconds) and server failures.

        A few invalid responses are retried too. If `most` is given, the job's own failure is returned as a response.
        """
        unheard = failed = odd = 0
        since: float | None = None
        while True:
            wait = 0.0
            try:
                answer = await self._wire.ask("GET", url, limit=limit)
            except LOST:
                unheard += 1
                since = time.monotonic() if since is None else since
                if time.monotonic() - since > silence * self._wire.pace:
                    raise UpstreamUnreachable("fal.ai cannot be reached any more, and the job was given up.") from None
            else:
                since = None
                if answer.failed:
                    failed += 1
                    wait = client.parse_retry_after(answer.headers, time.time()) or 0.0
                    if most is not None and answer.final(often=failed > most):
                        return answer
                elif answer.odd and odd < ODD:
                    odd += 1
                else:
                    return answer
            backoff = min(LONGEST, SHORTEST * 2 ** min(unheard + failed + odd, 10))
            await self._wire.pause(max(backoff, min(wait, 4 * LONGEST)))

    async def _cancel(self, job: _Job) -> None:
        """Send a cancellation to fal.ai; its failure is ignored."""
        with contextlib.suppress(*LOST, Error):
            job.parted = (await self._wire.ask("PUT", job.ticket.cancel_url, CANCEL_PATIENCE)).said

    async def _withdraw(self, submitting: asyncio.Future[QueuedJob], call: Call, taken: OnSubmitted) -> _Job | None:
        """Cancel a job that is being submitted, and return it if it was accepted."""
        job = None
        try:
            async with asyncio.timeout(CANCEL_PATIENCE * self._wire.pace):
                job = self._job(call, await submitting)
                taken(job.name, None)
                await self._cancel(job)
        except TimeoutError:
            submitting.cancel()
        except Error as error:
            taken(error.upstream_id, error.billed)
        return job

    async def _settled(self, job: _Job, taken: OnSubmitted) -> Bill:
        """Return the bill of a cancelled job.

        A job that was asked to stop, or had ended before, is polled once more.
        """
        waited = job.stood == billing.WAITS
        found = billing.bill_cancelled(job.parted, None, waited=waited)
        taken(job.name, found.charged)
        if job.parted and job.parted.get("status") in {billing.ASKED, billing.LATE}:
            with contextlib.suppress(TimeoutError, Error):
                async with asyncio.timeout(LAST_PATIENCE * self._wire.pace):
                    found = billing.bill_cancelled(job.parted, await self._completed(job), waited=waited)
            taken(job.name, found.charged, found.seconds)
        return found

    async def _part(self, farewell: Coroutine[Any, Any, T]) -> T:
        """Let a last request finish, even if the waiting task is cancelled again."""
        task = asyncio.ensure_future(farewell)
        self._farewells.add(task)
        task.add_done_callback(self._farewells.discard)
        return await asyncio.shield(task)
