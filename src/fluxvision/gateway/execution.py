"""Executes a prepared job: quotes it, tries one provider after another, returns the result or the error.

The module is long because a job's way, from its quote to its report, is told in one place.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fluxvision.core.callbacks import JobCallbacks
from fluxvision.core.concurrency import run_in_pool
from fluxvision.core.errors import Busy, DeadlineExceeded, Error, Exhausted, InvalidRequest, UpstreamBusy
from fluxvision.core.money import floor_to_micros, sum_costs
from fluxvision.core.tracing import span
from fluxvision.core.types import Attempt, Failure, Job, JobResult, PostprocessPlan, Quote, ReceiptEntry
from fluxvision.gateway.attempt import AttemptResult, ProviderAttempt, decisive_error
from fluxvision.gateway.execution_context import ExecutionContext
from fluxvision.gateway.fair_queue import SMALL
from fluxvision.gateway.finish.state import Mask
from fluxvision.gateway.provider_input import make_preview
from fluxvision.gateway.routing import Candidate, RoutingDecision
from fluxvision.imaging import decode_mask

LAST_SEED = 2**32 - 1
LARGEST_KEPT_MASK = 32_000_000
"""Pixels of a decoded mask that a waiting job keeps; a larger one is decoded again."""


@dataclass(frozen=True, slots=True)
class ExecutionReport:
    """How a job ended."""

    attempts: Sequence[Attempt]
    """Every attempt at a provider, also those of a cancelled job."""
    result: JobResult | None = None
    error: BaseException | None = None
    """The reason why there is no result: an `Error`, a cancellation, or an unexpected exception."""

    @property
    def cost(self) -> int | None:
        """The cost of all attempts in micro-dollars, None when one of them is unknown."""
        return sum_costs(attempt.cost for attempt in self.attempts)

    def unwrap(self) -> JobResult:
        """Return the result, or raise the error."""
        if self.result is not None:
            return self.result
        try:
            raise self.error or Exhausted("The job ended without a result.")
        finally:
            del self  # the error's traceback has this frame: they would hold each other


@dataclass(slots=True)
class PreparedJob:
    """A job with its routing decision, which is made once and used both to quote and to run it."""

    context: ExecutionContext
    job: Job
    decision: RoutingDecision
    _mask: Mask | None = None
    """The decoded mask, kept for the next use."""
    accepted: Collection[str] = ()
    """Providers that work on the job already."""
    waits: bool = False
    """Whether the job waits in a full queue: it was admitted before. Its deadline does not pass while it waits."""

    def quote(self) -> Quote:
        """Return the quote, computed by the code that bills. Contacts no provider."""
        first, *others = self.decision.candidates
        return first.quote(self.job, [other.quote(self.job) for other in others], self.decision.excluded)

    def most_cost(self) -> int:
        """Return what all attempts together can cost at most, in micro-dollars; unknown costs are not counted."""
        total = sum(one.cost or 0 for one in self.decision.candidates)
        limit = self.job.values.get("max_cost")
        return total if limit is None else min(total, floor_to_micros(float(limit)))

    @property
    def may_cost(self) -> bool:
        """Whether any of its providers charges for it."""
        return any(one.cost != 0 for one in self.decision.candidates)

    def prefer(self, providers: Collection[str], *, waits: bool = False) -> None:
        """Try these providers first, whatever their health, because they work on the job already.

        The job `waits` in full queues, as one that was admitted before.
        """
        self.accepted, self.waits = providers, waits
        order = sorted(self.decision.candidates, key=lambda one: one.offer.provider not in providers)
        self.decision = replace(self.decision, candidates=tuple(order))

    async def check_mask(self) -> None:
        """Decode the mask and raise `InvalidRequest` if it is unusable, as `run` would."""
        await self.mask(self.decision.candidates[0].plan, JobCallbacks())

    async def mask(self, plan: PostprocessPlan, callbacks: JobCallbacks) -> Mask | None:
        """Return the decoded mask, None when the plan does not apply it here.

        Raises `InvalidRequest` when the mask is damaged or has no transparent pixel.
        """
        image, mask = self.job.image, self.job.mask
        if mask is None or not plan.apply_mask:
            return None
        if self._mask is not None:
            return self._mask
        allowed = await run_in_pool(self.context.pool, callbacks, lambda: decode_mask(mask, image.width, image.height))
        if not allowed.any():
            message = "mask: nothing of it is transparent, so nothing may change. Leave it out, or pin embedded."
            raise InvalidRequest(message, param="mask")
        if allowed.size <= LARGEST_KEPT_MASK:
            self._mask = allowed
        return allowed

    async def run(self, callbacks: JobCallbacks, folder: Path) -> ExecutionReport:
        """Run the job and return its report; all files are written to `folder`, which the caller owns.

        Providers are tried in order until one delivers; only errors of a provider or of the network lead to the next
        one. Raises nothing. Cancelling the task stops the work and still returns the report; `unwrap` then raises the
        cancellation again.
        """
        facts = {"fluxvision.request_id": self.job.id, "fluxvision.model": self.job.model}
        with span("job", parent=self.job.traceparent, attributes=facts) as measured:
            report = await self._run(callbacks, folder)
            measured.set("fluxvision.cost_micros", report.cost)
            measured.set("error.type", None if report.error is None else type(report.error).__name__)
            return report

    async def _run(self, callbacks: JobCallbacks, folder: Path) -> ExecutionReport:
        seconds = self.context.deadline
        limit = asyncio.timeout(None if self.waits else seconds)
        execution = _Execution(self, callbacks, folder, time.monotonic() + seconds, limit)
        try:
            async with limit:
                return ExecutionReport(execution.attempts, await execution.first_that_works())
        except TimeoutError:
            return ExecutionReport(execution.attempts, error=deadline_error(seconds))
        except (Error, asyncio.CancelledError) as error:  # drop the traceback: its frames hold pictures
            late = isinstance(error, asyncio.CancelledError) and limit.expired()  # cancelled when it ended already
            found = deadline_error(seconds) if late else error.with_traceback(None)
            return ExecutionReport(execution.attempts, error=found)
        except BaseException as error:  # noqa: BLE001, the report has it
            return ExecutionReport(execution.attempts, error=error)


def deadline_error(seconds: float) -> DeadlineExceeded:
    """Return the error of a job that took longer than `seconds`."""
    return DeadlineExceeded(f"The request took longer than this server's limit of {seconds:g} seconds.")


@dataclass(slots=True)
class _Execution:
    """One run of a prepared job."""

    prepared: PreparedJob
    callbacks: JobCallbacks
    folder: Path
    ends: float
    """The job's deadline on the clock of `time.monotonic`."""
    limit: asyncio.Timeout
    """Ends the run at the deadline."""
    attempts: list[Attempt] = field(default_factory=list)
    failures: list[tuple[str, Error]] = field(default_factory=list)
    """Title and error of each provider that failed or was busy."""
    previewed: bool = False
    """Whether the preview was shown."""

    async def first_that_works(self) -> JobResult:
        """Return the result of the first provider that delivers.

        Raises `Busy` when all queues are full, `Exhausted` when every provider failed, and any error that ends the job
        at once.
        """
        context, decision = self.prepared.context, self.prepared.decision
        job, pending, postponed = self._seeded(), deque(decision.candidates), set[str]()
        while pending:
            one = pending.popleft()
            name = one.offer.provider
            provider = context.providers[name]
            last = not pending or name in postponed or name in self.prepared.accepted
            if self.failures and not self._within_budget(one):
                decision = decision.exclude(name)
                continue
            if not last and context.health.snapshot()[name].breaker_open:  # its breaker opened while this job waited
                results = None
            else:
                try:
                    results = await self._attempt(job, one, anyway=last)
                except Busy as error:
                    self.attempts.append(Attempt(name, error.code, 0.0, message=error.message))
                    self.failures.append((provider.title, error))
                    continue
            if results is None:  # the others go first
                postponed.add(name)
                pending.append(one)
                continue
            if any(each.picture is not None for each in results):
                return self._result(job, one, results, decision)
            failure = decisive_error(results)
            self.failures.append((provider.title, failure))
            if not failure.tries_next_provider:
                raise failure
        raise self._exhausted_error()

    async def _attempt(self, job: Job, one: Candidate, *, anyway: bool) -> Sequence[AttemptResult] | None:
        """Return the results of one provider; None when its breaker opened while the job waited in its queue.

        `anyway` bypasses an open breaker. Raises `Busy` when the queue is full.
        """
        context, callbacks, name = self.prepared.context, self.callbacks, one.offer.provider
        queue = context.queues[name]
        left = self.ends - time.monotonic()
        turn = self._deadline(left) if self.prepared.waits else nullcontext()
        async with queue.slot(job.caller, one.megapixels, waits=self.prepared.waits), turn:
            await self._preview(job, one)
            permit = context.health.begin(name, anyway=anyway)
            if permit is None:
                return None
            if one.megapixels > SMALL:
                callbacks = replace(callbacks, yield_turn=queue.yield_turn)
            provider, record = context.providers[name], self.attempts.append
            try:
                mask = await self.prepared.mask(one.plan, callbacks)
            except BaseException:
                context.health.release(permit)
                raise
            return await ProviderAttempt(
                context, provider, one, permit, job, callbacks, self.folder, record, self.ends, mask
            ).run()

    @asynccontextmanager
    async def _deadline(self, left: float) -> AsyncIterator[None]:
        """Let the `left` seconds of a job that waits for its place pass while it has it."""
        self.ends = time.monotonic() + left
        self.limit.reschedule(asyncio.get_running_loop().time() + left)
        try:
            yield
        finally:
            if not self.limit.expired():
                self.limit.reschedule(None)

    def _seeded(self) -> Job:
        """Return the job with a random seed when it requests several versions and gives no seed."""
        job = self.prepared.job
        if job.values.get("n", 1) == 1 or "seed" in job.values or not self.prepared.decision.best.generative:
            return job
        seed = self.prepared.context.draw(LAST_SEED - int(job.values["n"]) + 1)
        return replace(job, values={**job.values, "seed": seed}, random_seed=True)

    async def _preview(self, job: Job, one: Candidate) -> None:
        """Show a plainly resampled picture, once, to a caller that asked for previews."""
        show, plan = self.callbacks.preview, one.plan
        if self.previewed or show is None or not (plan.stream and plan.partial_images):
            return
        self.previewed = True
        context = self.prepared.context
        async with context.memory.hold(one.memory):
            made = await run_in_pool(context.pool, self.callbacks, lambda: make_preview(job, plan, self.folder))
        show(made)

    def _within_budget(self, one: Candidate) -> bool:
        """Return whether the (possible) cost of past attempts plus that of this one is within `max_cost`."""
        values = self.prepared.job.values
        if "max_cost" not in values:
            return True
        total = sum_costs([one.cost, *(attempt.cost_bound for attempt in self.attempts)])
        return one.cost == 0 or (total is not None and total <= floor_to_micros(float(values["max_cost"])))

    def _result(
        self, job: Job, one: Candidate, results: Sequence[AttemptResult], decision: RoutingDecision
    ) -> JobResult:
        made = [each for each in results if each.picture is not None]
        first = next(each.provider_result for each in made if each.provider_result is not None)
        return JobResult(
            job=job,
            provider=one.offer.provider,
            provider_name=self.prepared.context.providers[one.offer.provider].title,
            upstream=str(first.details.get("engine", one.offer.upstream)),
            pictures=[each.picture for each in made if each.picture is not None],
            plan=one.plan,
            receipt=_adjusted_receipt(one.receipt, first.adjusted),
            attempts=self.attempts,
            failures=[
                Failure(number, each.seed, each.error.code, each.error.message)
                for number, each in enumerate(results)
                if each.error is not None
            ],
            cost=sum_costs(each.cost for each in self.attempts),
            details=first.details,
            damage=first.damage,
            timings=made[0].timings,
            degraded=decision.degraded(one.offer),
            excluded=decision.not_tried(one.offer, {attempt.provider for attempt in self.attempts}),
        )

    def _exhausted_error(self) -> Error:
        """Return the error of a job that every provider failed; for a pinned provider, its own error.

        It is `Busy`, which suggests a retry, when nothing can have been charged and all providers were busy, or one of
        them for this server's own queue, which moves on.
        """
        title, last = self.failures[-1]
        if self.prepared.job.pin is not None:
            return last
        errors = [error for _, error in self.failures]
        spent = any(attempt.cost_bound != 0 for attempt in self.attempts)
        busy = [error for error in errors if isinstance(error, Busy | UpstreamBusy)]
        if not spent and (len(busy) == len(errors) or any(isinstance(error, Busy) for error in busy)):
            waits = [error.retry_after for error in busy if error.retry_after is not None]
            who = "Every provider is busy" if len(busy) == len(errors) else "Some providers are busy, the others failed"
            said = f"{who}. Nothing was charged; try again later." if len(errors) > 1 else last.message
            return Busy(said, retry_after=min(waits, default=5.0))
        message = f"No provider could make the picture. The last one, {title}, said: {last.message}"
        return Exhausted(message)


def _adjusted_receipt(
    receipt: Sequence[ReceiptEntry], adjusted: Mapping[str, tuple[Any, str]]
) -> Sequence[ReceiptEntry]:
    """Return the receipt with the defaults that the provider changed to suit the picture."""
    if not adjusted:
        return receipt
    return [
        replace(entry, became=adjusted[entry.parameter][0], note=adjusted[entry.parameter][1])
        if entry.parameter in adjusted
        else entry
        for entry in receipt
    ]
