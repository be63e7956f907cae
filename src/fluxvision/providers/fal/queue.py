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

from fluxvision.core import formats
from fluxvision.core.callbacks import JobCallbacks, OnSubmitted
from fluxvision.core.errors import Error, Unavailable, UpstreamError, UpstreamUnreachable
from fluxvision.core.system import resource_error
from fluxvision.core.types import Call
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


def restore_job(answer: Mapping[str, Any]) -> QueuedJob:
    """Return a job from what was stored of it."""
    return msgspec.convert(answer, QueuedJob)


def request_document(call: Call, address: str) -> bytes:
    """Return a request's body as JSON, with the picture's address, or the picture itself if that is empty."""
    if not address:
        mime = formats.find_format(call.image.format).mime
        content = call.image.path.read_bytes() if call.image.content is None else call.image.content
        address = f"data:{mime};base64,{pybase64.b64encode_as_string(content)}"
    return msgspec.json.encode({**call.body, "image_url": address})


async def submit_request(fal_client: FalClient, url: str, call: Call, content: bytes) -> QueuedJob:
    """Submit the job once; it is retried only when nothing can have been sent."""
    answer, left = None, TRIES
    while answer is None:
        left -= 1
        try:
            answer = await fal_client.request("POST", url, PATIENCE, content, HEADERS)
        except UNSENT as error:
            if not left:
                raise resource_error(error) or UpstreamUnreachable("fal.ai cannot be reached.") from None
            await fal_client.pause(SHORTEST * 2 ** (TRIES - left))
        except LOST:
            message = "The connection to fal.ai was lost while the job was handed over."
            raise UpstreamUnreachable(message, billed=None) from None
        except UpstreamError as error:
            error.billed = None  # oversized reply: billing unknown
            raise
    if not answer.is_success:
        raise billing.bill_rejected(answer).add_to(
            error_from_response(answer, fal_client.secrets(call), call.parameter_names)
        )
    try:
        queued = msgspec.convert(answer.body, QueuedJob)
    except msgspec.ValidationError:
        message = "fal.ai took the job and did not say where to ask for it."
        raise UpstreamError(message, billed=None) from None
    if not all(fal_client.owns(url) for url in (queued.status_url, queued.response_url, queued.cancel_url)):
        message = "fal.ai's answer leads to another server, which does not get this server's key."
        raise UpstreamError(message, upstream_id=fal_client.redact_id(queued.request_id), billed=None)
    return queued


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

    queued: QueuedJob
    name: str
    """Its id without secrets, for messages."""
    secrets: tuple[str, ...]
    """Texts that no message may repeat."""
    parameter_names: Mapping[str, str]
    """See `Call.parameter_names`."""
    last_state: str = ""
    """Its state when last polled."""
    cancel_response: Mapping[str, Any] | None = None
    """The response to its cancellation."""


class Queue:
    """Jobs on fal.ai's queue. Cancelling a task cancels its unfinished job at fal.ai, unless the job goes on elsewhere.

    `callbacks.on_submitted` is called with the job's id and billing as far as known; errors have them too.
    """

    def __init__(self, fal_client: FalClient, url: str) -> None:
        """Use the queue at `url`."""
        self.url = url.rstrip("/")
        self._client = fal_client
        self._cancellations: set[asyncio.Task[Any]] = set()

    async def submit(self, call: Call, content: bytes, callbacks: JobCallbacks) -> QueuedJob:
        """Submit a job once and store its id; if the task is cancelled, the job is cancelled once its id is known."""
        submitting = asyncio.ensure_future(self._hand_over(call, content, callbacks))
        on_submitted = callbacks.on_submitted
        try:
            return await asyncio.shield(submitting)
        except asyncio.CancelledError:
            if callbacks.submissions.keeps_work:
                await self._finish_request(_wait(submitting))
                raise
            job = await self._finish_request(self._cancel_submission(submitting, call, on_submitted))
            if job is not None:
                await self._final_bill(job, on_submitted)
            raise

    async def wait_for_result(
        self, call: Call, queued: QueuedJob, callbacks: JobCallbacks
    ) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        """Wait for the job and return its last status and its result; cancel it if it is given up."""
        job, on_submitted = self._job(call, queued), callbacks.on_submitted
        on_submitted(job.name, None)
        try:
            status = await self._wait_until_completed(job)
        except BaseException as error:
            if isinstance(error, asyncio.CancelledError) and callbacks.submissions.keeps_work:
                raise
            await self._finish_request(self._cancel(job))
            found = await self._final_bill(job, on_submitted)
            if isinstance(error, Error):
                raise found.add_to(error) from None
            raise
        found = billing.bill_completed(status)
        on_submitted(job.name, found.charged, found.seconds)
        failed = failure_response(status)
        try:
            answer = await self._get_with_retries(queued.response_url, PICTURE_INSIDE, most=0 if failed else ODD)
        except Error as error:
            raise found.add_to(error) from None
        if failed and (answer.is_success or answer.body is None):
            raise found.add_to(error_from_response(failed, job.secrets, job.parameter_names))
        if not answer.is_success:
            raise billing.bill_refused_result(answer, found).add_to(
                lost_job_error(answer, job.secrets, job.parameter_names)
            )
        return status, answer.body or {}

    async def aclose(self) -> None:
        """Wait for pending cancellations."""
        await asyncio.gather(*self._cancellations, return_exceptions=True)

    async def _hand_over(self, call: Call, content: bytes, callbacks: JobCallbacks) -> QueuedJob:
        queued = await submit_request(self._client, f"{self.url}/{call.upstream}", call, content)
        with contextlib.suppress(Unavailable):  # it is bought, and is followed in any case
            await callbacks.submissions.save(call.key, msgspec.to_builtins(queued))
        return queued

    def _job(self, call: Call, queued: QueuedJob) -> _Job:
        return _Job(queued, self._client.redact_id(queued.request_id), self._client.secrets(call), call.parameter_names)

    async def _wait_until_completed(self, job: _Job) -> Mapping[str, Any]:
        """Poll the job, less and less often, until it is completed; return its last status."""
        started = time.monotonic()
        while True:
            waited = time.monotonic() - started
            await self._client.pause(min(LONGEST, max(SHORTEST, SHARE * waited)))
            answer = await self._get_with_retries(job.queued.status_url, ANSWER, silence=SILENCE)
            if not answer.is_success:
                raise lost_job_error(answer, job.secrets, job.parameter_names)
            status = answer.body or {}
            if status.get("status") == billing.DONE:
                return status
            job.last_state = str(status.get("status"))

    async def _get_with_retries(
        self, url: str, limit: int, most: int | None = None, silence: float = inf
    ) -> FalResponse:
        """Repeat a request until it succeeds, after lost connections (for up to `silence` seconds) and server failures.

        A few invalid responses are retried too. If `most` is given, the job's own failure is returned as a response.
        """
        lost = failed = odd = 0
        since: float | None = None
        while True:
            wait = 0.0
            try:
                answer = await self._client.request("GET", url, limit=limit)
            except LOST:
                lost += 1
                since = time.monotonic() if since is None else since
                if time.monotonic() - since > silence * self._client.time_scale:
                    raise UpstreamUnreachable("fal.ai cannot be reached any more, and the job was given up.") from None
            else:
                since = None
                if answer.is_retryable:
                    failed += 1
                    wait = client.parse_retry_after(answer.headers, time.time()) or 0.0
                    if most is not None and answer.is_final(often=failed > most):
                        return answer
                elif answer.from_proxy and odd < ODD:
                    odd += 1
                else:
                    return answer
            backoff = min(LONGEST, SHORTEST * 2 ** min(lost + failed + odd, 10))
            await self._client.pause(max(backoff, min(wait, 4 * LONGEST)))

    async def _cancel(self, job: _Job) -> None:
        """Send a cancellation to fal.ai; its failure is ignored."""
        with contextlib.suppress(*LOST, Error):
            job.cancel_response = (await self._client.request("PUT", job.queued.cancel_url, CANCEL_PATIENCE)).body

    async def _cancel_submission(
        self, submitting: asyncio.Future[QueuedJob], call: Call, on_submitted: OnSubmitted
    ) -> _Job | None:
        """Cancel a job that is being submitted, and return it if it was accepted."""
        job = None
        try:
            async with asyncio.timeout(CANCEL_PATIENCE * self._client.time_scale):
                job = self._job(call, await submitting)
                on_submitted(job.name, None)
                await self._cancel(job)
        except TimeoutError:
            submitting.cancel()
        except Error as error:
            on_submitted(error.upstream_id, error.billed)
        return job

    async def _final_bill(self, job: _Job, on_submitted: OnSubmitted) -> Bill:
        """Return the bill of a cancelled job.

        A job that was asked to stop, or had ended before, is polled once more.
        """
        waited = job.last_state == billing.WAITS
        found = billing.bill_cancelled(job.cancel_response, None, waited=waited)
        on_submitted(job.name, found.charged)
        if job.cancel_response and job.cancel_response.get("status") in {billing.ASKED, billing.LATE}:
            with contextlib.suppress(TimeoutError, Error):
                async with asyncio.timeout(LAST_PATIENCE * self._client.time_scale):
                    found = billing.bill_cancelled(
                        job.cancel_response, await self._wait_until_completed(job), waited=waited
                    )
            on_submitted(job.name, found.charged, found.seconds)
        return found

    async def _finish_request(self, request: Coroutine[Any, Any, T]) -> T:
        """Let a last request finish, even if the waiting task is cancelled again."""
        task = asyncio.ensure_future(request)
        self._cancellations.add(task)
        task.add_done_callback(self._cancellations.discard)
        return await asyncio.shield(task)


async def _wait(submitting: asyncio.Future[QueuedJob]) -> None:
    """Wait until a job is handed over; its failure is told to whoever takes it up."""
    with contextlib.suppress(Error):
        await submitting
