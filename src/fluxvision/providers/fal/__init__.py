"""The provider `fal`: runs models at fal.ai through its queue, so that a submitted job is neither lost nor doubled.

::

    picture ──data URI or upload──▶ submit ──▶ queued job ──poll──▶ completed ──▶ result ──▶ picture
              storage               queue                   queue               result
                                      any way out before "completed" cancels the job

`client.py` makes the requests, `queue.py` follows jobs, `result.py` reads results, `errors.py` translates failures.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from fluxvision.core.callbacks import JobCallbacks
from fluxvision.core.concurrency import run_in_thread
from fluxvision.core.errors import Error, InvalidRequest, Unavailable
from fluxvision.core.settings import Settings
from fluxvision.core.types import Call, ProviderResult
from fluxvision.net.client import result_guard
from fluxvision.net.ssrf_guard import Guard
from fluxvision.providers import result_file
from fluxvision.providers.fal.client import FalClient
from fluxvision.providers.fal.queue import Queue, QueuedJob, request_document, restore_job
from fluxvision.providers.fal.result import Results
from fluxvision.providers.fal.storage import Storage

QUEUE, STORAGE = "https://queue.fal.run", "https://rest.fal.ai"
INLINE = 4_000_000
"""Largest picture that is sent inside the request, in bytes."""
LARGEST = 2_000_000_000
FETCH_PATIENCE = 60.0


class Provider:
    """Runs calls through fal.ai's queue. A job is submitted once; after errors, the same job is polled again."""

    title = "fal.ai"
    parallel = 10
    small_workers = 0
    remote = True

    def __init__(
        self,
        key: str,
        queue_url: str = QUEUE,
        storage_url: str = STORAGE,
        *,
        workers: int = 64,
        guard: Guard | None = None,
        pixels: int = result_file.PIXELS,
        patience: float = FETCH_PATIENCE,
        inline: int = INLINE,
        time_scale: float = 1.0,
        random_fraction: Callable[[], float] = random.random,
    ) -> None:
        """Use `key`; results have at most `pixels`, and `patience` seconds to download.

        Files of up to `inline` bytes are sent inside the request. `time_scale` scales all pauses and the timeout of
        responses, `random_fraction` returns numbers below 1 for the jitter.
        """
        self.workers = workers
        self._inline = inline
        guard = guard or result_guard(False, queue_url, storage_url)
        self._client = FalClient(key, queue_url, time_scale, random_fraction)
        self._queue = Queue(self._client, queue_url)
        self._storage = Storage(self._client, guard, storage_url)
        self._results = Results(guard, pixels, patience, result_file.PAUSE * time_scale)

    def check(self, call: Call) -> None:
        """Raise `InvalidRequest` for a file that is too large for fal.ai."""
        if call.image.size > LARGEST:
            message = f"image: the picture file is larger than the {LARGEST:,} bytes that are handed to fal.ai."
            raise InvalidRequest(message, param="image")

    async def run(self, call: Call, callbacks: JobCallbacks, folder: Path) -> ProviderResult:
        """Make one picture; cancelling the task cancels the job. Raises an `Error` with the id of the job."""
        self.check(call)
        accepted = await callbacks.submissions.find(call.key)
        queued = await self._submit(call, callbacks) if accepted is None else restore_job(accepted)
        name = self._client.redact_id(queued.request_id)
        try:
            status, answer = await self._queue.wait_for_result(call, queued, callbacks)
            outcome = await self._results.outcome(call.image, status, answer, folder)
        except asyncio.CancelledError:
            if not callbacks.submissions.keeps_work:  # it was cancelled at fal.ai, too
                await _forget(call, callbacks)
            raise
        except Error as error:
            error.upstream_id = error.upstream_id or name
            self._storage.forget(call.image)  # the cause may be an unusable upload
            if error.billed is False:
                await _forget(call, callbacks)
            raise
        return replace(outcome, upstream_id=name)

    async def _submit(self, call: Call, callbacks: JobCallbacks) -> QueuedJob:
        """Hand the picture over, inside the request where it is small."""
        inside = call.image.size <= self._inline
        address = "" if inside else await self._storage.upload(call.image)
        content = await run_in_thread(request_document, call, address)
        try:
            await callbacks.submissions.announce(call.key, call.provider)
        except asyncio.CancelledError:  # nothing was sent
            await _forget(call, callbacks)
            raise
        callbacks.on_submitted(None, None)
        try:
            return await self._queue.submit(call, content, callbacks)
        except Error as error:
            if error.billed is False:
                await _forget(call, callbacks)
            raise

    async def ping(self) -> bool:
        """Return True: there is a key, and more can be known only by submitting a job."""
        return True

    async def aclose(self) -> None:
        """Wait for pending cancellations and close the connections."""
        await self._queue.aclose()
        await self._client.aclose()


async def _forget(call: Call, callbacks: JobCallbacks) -> None:
    """Forget work that has ended; what cannot be forgotten is asked for again, and has ended."""
    with suppress(Unavailable):
        await callbacks.submissions.forget(call.key)


def configured(settings: Settings) -> dict[str, Provider]:
    """Return the provider if there is a key."""
    if not settings.fal_key:
        return {}
    addresses = (settings.fal_queue_url, settings.fal_storage_url)
    made = Provider(
        settings.fal_key,
        *addresses,
        workers=settings.remote_parallel,
        guard=result_guard(settings.allow_private_urls, *addresses),
        pixels=settings.max_output_pixels,
        patience=max(FETCH_PATIENCE, settings.fetch_timeout),
    )
    return {"fal": made}
