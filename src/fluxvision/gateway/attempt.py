"""ProviderAttempt: runs a job at one provider, finishes and bills its pictures, updates the provider's health.

The module is long because what one provider may do to a job, its errors included, is told in one place.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fluxvision.catalog.normalize import normalize
from fluxvision.catalog.rules import InputFormats
from fluxvision.core import tracing
from fluxvision.core.callbacks import JobCallbacks
from fluxvision.core.concurrency import run_in_pool
from fluxvision.core.errors import (
    Cancelled,
    DeadlineExceeded,
    Error,
    Unavailable,
    UpstreamBroke,
    UpstreamError,
    UpstreamUnasked,
)
from fluxvision.core.images import InputImage, ResultImage
from fluxvision.core.system import resource_error, translate_resource_errors
from fluxvision.core.types import Attempt, Call, Job, ProviderResult
from fluxvision.gateway.attempt_state import AttemptCancel, Submission
from fluxvision.gateway.circuit_breaker import BreakerPermit
from fluxvision.gateway.enlarge_animation import FrameWork
from fluxvision.gateway.execution_context import ExecutionContext
from fluxvision.gateway.finish import FinishState, deliver_as_is, finish
from fluxvision.gateway.finish.state import Mask
from fluxvision.gateway.provider_input import is_ready, prepare_input
from fluxvision.gateway.resource_estimate import disk_needed
from fluxvision.gateway.routing import Candidate
from fluxvision.gateway.split_job import sent_seed, split_callbacks, split_versions, without_seed
from fluxvision.imaging import is_quick_to_read
from fluxvision.providers.registry import Provider
from fluxvision.storage.disk_budget import Reservation

MARGIN, MARGIN_SHARE = 1.0, 0.05
"""Time kept free for finishing pictures: seconds, but at most this share of the time that is left."""
FAIR = 0.5
"""Share of the job's deadline that a provider must have had before its timeout counts as its failure."""


@dataclass(frozen=True, slots=True)
class AttemptResult:
    """The result of an attempt at one picture: the finished picture, or an error."""

    attempt: Attempt
    provider_result: ProviderResult | None = None
    """The provider's own result, before it was finished."""
    picture: ResultImage | None = None
    """The finished picture, None after an error."""
    error: Error | None = None
    timings: Mapping[str, float] = field(default_factory=dict)
    """Seconds by stage."""
    seed: int | None = None
    """The seed that was sent to the provider."""


def decisive_error(tries: Sequence[AttemptResult]) -> Error:
    """Return the error that decides what happens next.

    An error that ends the job comes before one that leads to the next provider; among the latter, one that counts
    against the provider's health comes first.
    """
    errors = [each.error for each in tries if each.error is not None]
    return min(errors, key=lambda error: (error.tries_next_provider, not error.counts))


@dataclass(frozen=True, slots=True)
class ProviderAttempt:
    """Runs one job at one provider."""

    context: ExecutionContext
    provider: Provider
    candidate: Candidate
    permit: BreakerPermit
    """The call that the provider's breaker admitted."""
    job: Job
    callbacks: JobCallbacks
    folder: Path
    """The job's folder, to which all files are written."""
    record: Callable[[Attempt], None]
    """Called with each attempt when it ends, also with a cancelled one, which may have cost money."""
    ends: float
    """The job's deadline on the clock of `time.monotonic`."""
    mask: Mask | None = None
    """The decoded mask, when it is applied here."""
    on_result: Callable[[], None] = lambda: None
    """Called when a result is about to be written."""

    async def run(self) -> Sequence[AttemptResult]:
        """Make all pictures of the job and return the result of each.

        Raises `InvalidRequest` when the input cannot be prepared, or `Unavailable` when there is no disk space for the
        results, before the provider is contacted. The timeout of a remote provider applies to each picture. For the
        provider's health, all pictures together count as one call.
        """
        health = self.context.health
        try:
            tries = await self._reserve_and_make()
        except BaseException:
            health.release(self.permit)
            raise
        made = [each.attempt.duration for each in tries if each.picture is not None]
        if made:
            health.record_success(self.permit, sum(made) / len(made))
        else:
            health.record_failure(self.permit, decisive_error(tries))
        return tries

    async def _reserve_and_make(self) -> Sequence[AttemptResult]:
        image = await self._image(self.candidate.offer.accepts)
        size = disk_needed(self.candidate.geometry, self.job, self.candidate.plan, self.provider.parallel)
        with Reservation(self.context.disk, self.folder, size, solid=self.candidate.cost != 0) as room:
            if room.large:
                await run_in_pool(self.context.pool, self.callbacks, room.take)
            else:
                room.take()
            return await replace(self, on_result=room.give_blocks).make_pictures(image)

    async def make_pictures(self, image: InputImage) -> Sequence[AttemptResult]:
        """Make all pictures of the job from the prepared input."""
        offer, n = self.candidate.offer, self.candidate.plan.n
        if n == 1:
            call, receipt = self.candidate.call, self.candidate.receipt
            return [await self._make_one(self._with_key(call, image, "0"), self.callbacks, sent_seed(receipt))]
        slots = asyncio.Semaphore(self.provider.parallel)

        async def make(name: str, version: Job, share: JobCallbacks) -> AttemptResult:
            call, _, receipt = normalize(version, offer, self.context.rows[self.job.model])
            return await self._make_one(self._with_key(call, image, name), share, sent_seed(receipt))

        async def make_with_slot(number: int, version: Job, share: JobCallbacks) -> AttemptResult:
            async with slots:
                found = await make(f"{number}", version, share)
                free = isinstance(found.error, UpstreamUnasked) and found.attempt.cost == 0
                if free and version.random_seed and not offer.defaults:
                    # The server may not support seeds, and the caller gave none: try again without.
                    found = await make(f"{number}-seedless", without_seed(version), share)
                return found

        pairs = zip(split_versions(self.job, n), split_callbacks(self.callbacks, n), strict=True)
        probe = []
        if self.permit.probe:  # the first picture shows whether the provider works again
            probe = [await make_with_slot(0, *next(pairs))]
            if probe[0].picture is None:
                return probe
        return probe + await _gather_or_cancel(
            [make_with_slot(number, *pair) for number, pair in enumerate(pairs, len(probe))]
        )

    def _with_key(self, call: Call, image: InputImage, name: str) -> Call:
        """Return a call with its own idempotency key; `parameter_names` is the same for all versions."""
        key = f"{self.job.id}-{self.candidate.offer.provider}-{name}"
        return replace(call, image=image, key=key, parameter_names=self.candidate.call.parameter_names)

    async def _image(self, accepts: InputFormats | None) -> InputImage:
        """Return the picture to send, prepared in a thread unless it is small and needs no preparation."""
        image = self.job.image
        if accepts is None or (is_quick_to_read(image.size, image.content) and is_ready(image, accepts)):
            return image
        async with self._memory():
            return await run_in_pool(
                self.context.pool, self.callbacks, lambda: prepare_input(image, accepts, self.folder, self.callbacks)
            )

    def _memory(self, *, first: bool = False) -> AbstractAsyncContextManager[None]:
        """Reserve the estimated memory of one picture."""
        return self.context.memory.hold(self.candidate.memory, first=first)

    async def _finish(self, state: FinishState, callbacks: JobCallbacks) -> ResultImage:
        """Finish a picture, in a thread unless there is nothing to do, and write it to disk unless sent as base64."""
        picture = deliver_as_is(state)
        if picture is None:
            async with self._memory(first=self.provider.remote):
                picture = await run_in_pool(self.context.pool, callbacks, lambda: finish(state))
        if state.plan.response_format != "b64_json":
            _ = picture.path
        return picture

    async def _make_one(self, call: Call, callbacks: JobCallbacks, seed: int | None) -> AttemptResult:
        with tracing.span("attempt", attributes={"fluxvision.provider": self.candidate.offer.provider}) as span:
            found = await self._attempt(call, callbacks, seed)
            span.set("fluxvision.outcome", found.attempt.outcome)
            return found

    async def _attempt(self, call: Call, callbacks: JobCallbacks, seed: int | None) -> AttemptResult:
        started = time.monotonic()
        result, submission = None, Submission(self.on_result)
        try:
            result, state = await self._enlarge(call, callbacks, seed, submission)
            made = time.monotonic()
            self.on_result()
            with translate_resource_errors(), tracing.span("finish"):
                picture = await self._finish(state, callbacks)
        except Error as error:
            found = self._failure(error, result, time.monotonic() - started)
            self.record(found.attempt)
            return replace(found, seed=seed)
        except BaseException:
            given_up = Cancelled(
                "Cancelled.", billed=submission.billed, upstream_id=submission.upstream_id, seconds=submission.seconds
            )
            self.record(self._failure(given_up, result, time.monotonic() - started).attempt)
            raise
        ended = time.monotonic()
        cost = self.candidate.bill(self.job, result.seconds)
        attempt = Attempt(self.candidate.offer.provider, "ok", ended - started, cost, result.upstream_id)
        self.record(attempt)
        return AttemptResult(attempt, result, picture, timings={**result.timings, "finish": ended - made})

    async def _enlarge(
        self, call: Call, callbacks: JobCallbacks, seed: int | None, submission: Submission
    ) -> tuple[ProviderResult, FinishState]:
        """Call the provider, once for each frame; return its result and how it is finished."""

        def make_state(result: ProviderResult) -> FinishState:
            return self._finish_state(result, call, callbacks, seed)

        if self.candidate.plan.frames == 1:
            result = await self._call_provider(call, callbacks, submission)
            return result, make_state(result)
        work = FrameWork(
            self.job.image,
            self.candidate.plan.frames,
            callbacks,
            self.context.pool,
            lambda: self.folder / f"{secrets.token_hex(16)}.png",
            lambda frame, share: self._call_provider(frame, share, submission),
            make_state,
        )
        return await work.run(call)

    async def _call_provider(self, call: Call, callbacks: JobCallbacks, submission: Submission) -> ProviderResult:
        """Call the provider; raises an `Error` with what is known of the work and its billing.

        The timeout of a remote provider ends a little before the job's deadline, so that finished pictures are still
        delivered. A timeout counts as the provider's failure (`UpstreamError`) unless earlier attempts left it too
        little time (`DeadlineExceeded`).
        """
        left = self.ends - time.monotonic()
        patience = min(self.context.timeout, left - min(MARGIN, left * MARGIN_SHARE))
        callbacks = replace(callbacks, on_submitted=submission.update, cancel=AttemptCancel(callbacks.cancel))
        try:
            with tracing.span("tiles", "client" if self.provider.remote else "internal") as span:
                if tracing.is_traced():
                    callbacks = _count_tiles(callbacks, span)
                async with asyncio.timeout(patience) if self.provider.remote else self._memory():
                    return await self.provider.run(call, callbacks, self.folder)
        except TimeoutError:
            late = patience < min(self.context.timeout, FAIR * self.context.deadline)
            left_over = f", what was left of this server's limit of {self.context.deadline:g}" if late else ""
            message = f"{self.provider.title} did not deliver within {patience:.3g} seconds{left_over}."
            failure = DeadlineExceeded if late else UpstreamError
            raise failure(
                message, upstream_id=submission.upstream_id, billed=submission.billed, seconds=submission.seconds
            ) from None
        except Unavailable as error:
            if submission.billed:
                submission.bill(error)
            raise
        except Error:
            raise
        except Exception as error:
            raise submission.bill(resource_error(error) or self._unexpected_error(error, callbacks)) from error

    def _unexpected_error(self, error: Exception, callbacks: JobCallbacks) -> UpstreamBroke:
        callbacks.on_unexpected_error(error)
        return UpstreamBroke(f"{self.provider.title} broke: {type(error).__name__}.")

    def _failure(self, error: Error, result: ProviderResult | None, seconds: float) -> AttemptResult:
        """Return the result of a failed picture; a picture that the provider delivered is paid in any case."""
        paid = True if result is not None else error.billed
        spent = error.seconds if result is None else result.seconds
        most = self.candidate.bill(self.job, spent) if paid is not False else 0
        cost = None if paid is None and most else most
        found = result.upstream_id if result else error.upstream_id
        name = self.candidate.offer.provider
        return AttemptResult(Attempt(name, error.code, seconds, cost, found, error.message, most), error=error)

    def _finish_state(
        self, result: ProviderResult, call: Call, callbacks: JobCallbacks, seed: int | None
    ) -> FinishState:
        accepts = self.candidate.offer.accepts
        guided = any(line.parameter == "prompt" and line.honoured for line in self.candidate.receipt)
        prompt = str(self.job.values.get("prompt", "")) if guided else ""
        return FinishState(
            result.picture,
            self.candidate.plan,
            self.job.image,
            self.folder,
            callbacks,
            result.seam_ratio,
            mask=self.mask,
            requested_size=self.candidate.requested_size,
            keeps_alpha=accepts is not None and accepts.transparency,
            threads=self.context.threads,
            fidelity=result.fidelity,
            reference=result.reference,
            # It was sent as it is, so there was no metadata to remove.
            source_metadata_free=accepts is not None and call.image is self.job.image,
            prompt=(prompt or None) if result.caption is None else result.caption,
            seed=seed if result.seed is None else result.seed,
        )


def _count_tiles(callbacks: JobCallbacks, span: tracing.Span) -> JobCallbacks:
    """Return callbacks that note in a span how many tiles there are."""

    def progress(done: int, total: int) -> None:
        span.set("fluxvision.tiles", total)
        callbacks.progress(done, total)

    return replace(callbacks, progress=progress)


async def _gather_or_cancel(work: list[Coroutine[Any, Any, AttemptResult]]) -> list[AttemptResult]:
    """Run all; when one raises or the task is cancelled, cancel the others and wait for them."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        return await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
