"""The flow, as a picture: admit → route → normalize → provider → finish → deliver. CLI, page and HTTP all call this."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from fluxvision import imaging
from fluxvision.catalog import catalog
from fluxvision.catalog.coerce import coerce
from fluxvision.catalog.params import ALIASES, Param
from fluxvision.catalog.rules import Model
from fluxvision.core.concurrency import run_in_pool
from fluxvision.core.errors import Busy, DeadlineExceeded, Error, Exhausted, InvalidRequest, UpstreamBusy
from fluxvision.core.money import floor_to_micros, sum_costs
from fluxvision.core.system import total_memory
from fluxvision.core.types import Attempt, Caller, Failure, InputImage, Job, JobCallbacks, JobResult, Quote, Scalar
from fluxvision.gateway.circuit_breaker import CircuitBreakers
from fluxvision.gateway.execution import AttemptResult, ExecutionContext, ProviderAttempt, check_mask, decisive_error
from fluxvision.gateway.fair_queue import SMALL, FairQueue
from fluxvision.gateway.job_resources import JobMemoryBudget
from fluxvision.gateway.prepare import make_preview
from fluxvision.gateway.routing import Candidate, JobLimits, RoutingDecision, decide, find_offers, translate_offers
from fluxvision.gateway.self_test import run_self_test
from fluxvision.providers import Provider

LAST_SEED = 2**32 - 1
LEAST_JOB_MEMORY = 1_500_000_000
"""Bytes that a picture may take on a small machine, too: its tiles alone take half of that."""
SMALL_JOB_MEMORY = 300_000_000
"""Bytes that a small picture takes."""


class Gateway:
    """One running gateway: the catalogue, the providers that are configured here, and the limits."""

    def __init__(
        self,
        providers: Mapping[str, Provider],
        *,
        models: Sequence[Model] = catalog.CATALOG,
        workers: int = 1,
        threads: int = 0,
        queue: int = 16,
        deadline: float = 900.0,
        attempt_timeout: float = 300.0,
        max_output_pixels: int = 400_000_000,
        max_job_memory: int = 0,
        policy: str = "quality",
        allow_degraded: bool = True,
        health: CircuitBreakers | None = None,
        draw: Callable[[int], int] = secrets.randbelow,
    ) -> None:
        """Serve `models` by `providers`.

        `workers` pictures are prepared and finished at once, with `threads` each (0: all cores); `queue` jobs of each
        caller may wait for each provider. A picture may be planned to take `max_job_memory` bytes (0: a quarter of the
        machine's, at least `LEAST_JOB_MEMORY`), and all together twice as many,
        but no more than three quarters of it. `deadline` is the seconds that a job
        may take in all, waiting included, `attempt_timeout` those of one remote provider. `draw` gives a random number
        below its argument.
        """
        self.models = tuple(models)
        self.health = health or CircuitBreakers(providers)
        self.queues = {
            name: FairQueue(provider.workers, queue, small_workers=provider.small_workers)
            for name, provider in providers.items()
        }
        self._providers = dict(providers)
        self._models = {model.id: model for model in models}
        self._rows: Mapping[str, Sequence[Param]] = {model.id: catalog.model_params(model) for model in models}
        self._by_name = {name: {row.name: row for row in rows} for name, rows in self._rows.items()}
        self._deadline = deadline
        most = max_job_memory or max(total_memory() // 4, LEAST_JOB_MEMORY)
        local = [name for name, provider in providers.items() if not provider.remote]
        self._limits = JobLimits(max_output_pixels, most, local)
        self._policy = policy
        self._allow_degraded = allow_degraded
        self._draw = draw
        self._checks = {name: provider.check for name, provider in providers.items()}
        self._pool = ThreadPoolExecutor(workers + 2, thread_name_prefix="finish")
        self._test_pool = ThreadPoolExecutor(1, thread_name_prefix="selftest")  # never behind a job
        # On a small machine, too, there is room for a small picture beside the largest one.
        budget = JobMemoryBudget(max(most + SMALL_JOB_MEMORY, min(2 * most, total_memory() // 4 * 3)))
        self._desk = ExecutionContext(
            self._pool, self.health, self._rows, attempt_timeout, deadline, threads, memory=budget
        )

    @property
    def providers(self) -> Collection[str]:
        """The names of the providers that are configured."""
        return self._providers.keys()

    def find(self, model: str) -> tuple[Model, str | None, str]:
        """Return the model of a name, the provider that it pins, and the name as written."""
        return *catalog.find_model(model, self.models), model

    def full(self, caller: Caller) -> float | None:
        """Return the seconds after which a caller's refused job may try again, None when any provider has room."""
        waits = [queue.retry_after(caller) for queue in self.queues.values()]
        known = [wait for wait in waits if wait is not None]
        return min(known) if known and len(known) == len(waits) else None

    def admit(
        self, model: str, fields: Mapping[str, Any], image: InputImage, mask: InputImage | None, request_id: str
    ) -> Job:
        """Check a caller's words against the model's parameters and return the job; unknown names become extras.

        Raises `ModelNotFound`, or `InvalidRequest` naming the parameter.
        """
        found, pin = catalog.find_model(model, self.models)
        rows = self._by_name[found.id]
        values: dict[str, Scalar] = {}
        names: dict[str, str] = {}
        extras: dict[str, Any] = {}
        for name, raw in fields.items():
            param = rows.get(ALIASES.get(name, name))
            if param is None:
                extras[name] = raw
                continue
            value = coerce(param, raw)
            if value is not None and values.setdefault(param.name, value) != value:
                message = f"{names[param.name]} and {name} mean the same and have different values; send one of them."
                raise InvalidRequest(message, param=param.name)
            if value is not None:
                names[param.name] = name
        values |= catalog.implied_values(found, values, extras)
        if mask is not None:
            imaging.check_mask(mask, image.width, image.height)
        seed, n = values.get("seed"), values.get("n")
        if isinstance(seed, int) and isinstance(n, int) and seed + n - 1 > LAST_SEED:
            message = f"seed: with n={n} the last seed would be over {LAST_SEED}."
            raise InvalidRequest(message, param="seed")
        factor = float(rows["scale_factor"].default or 1.0)
        plain = catalog.prefers_base64(model, found)
        return Job(request_id, found.id, image, values, mask, extras, pin, plain, factor)

    def quote(self, job: Job) -> Quote:
        """Validate a job and return what it would cost, by the code that bills. Calls nobody.

        What only the pixels of a mask tell, `vet` says.
        """
        choice = self._choose(job)
        first, *others = choice.order
        return first.quote(job, [other.quote(job) for other in others], choice.excluded)

    async def vet(self, job: Job) -> None:
        """Look into a mask as `run` would before it asks its first provider; raises `InvalidRequest`."""
        if job.mask is not None:
            await check_mask(self._pool, job, self._choose(job).order[0].plan, JobCallbacks())

    async def run(
        self, job: Job, watch: JobCallbacks, folder: Path, attempts: list[Attempt] | None = None
    ) -> JobResult:
        """Do a job; the finished files lie in `folder`, which the caller owns.

        The first provider that works wins; only what is a provider's or the network's doing goes on to the next. Raises
        `Busy` at once when all queues are full, `Exhausted` when every provider failed, and whatever refuses or breaks
        the job, with the attempts made so far. Cancelling the task stops the work; `attempts` is filled meanwhile and
        tells even then what was spent.
        """
        attempts = [] if attempts is None else attempts
        try:
            async with asyncio.timeout(self._deadline):
                return await self._first_that_works(job, watch, folder, attempts)
        except TimeoutError:
            message = f"The request took longer than this server's limit of {self._deadline:g} seconds."
            late = DeadlineExceeded(message)
            late.attempts = attempts
            raise late from None
        except Error as error:
            error.attempts = attempts
            raise

    async def ping(self) -> Mapping[str, bool]:
        """Return for each configured provider whether it could serve a call now."""
        return {name: await provider.ping() for name, provider in self._providers.items()}

    async def check(self, folder: Path) -> None:
        """Make a small picture on this machine, beside whatever runs; raises `Unavailable` naming the failed stage.

        Files are written into `folder` only.
        """
        await run_in_pool(self._test_pool, JobCallbacks(), lambda: run_self_test(folder))

    async def aclose(self) -> None:
        """Free the providers."""
        for provider in self._providers.values():
            await provider.aclose()
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._test_pool.shutdown(wait=True, cancel_futures=True)

    def _choose(self, job: Job) -> RoutingDecision:
        """Return the job for each offer that may do it, best first, and who may not."""
        offers = find_offers(job, self._models[job.model], self._providers)
        able = translate_offers(job, offers, self._rows[job.model], limits=self._limits, checks=self._checks)
        standings = self.health.standings()
        return decide(job, offers, able, self._policy, standings, whole=not self._allow_degraded)

    async def _first_that_works(
        self, job: Job, watch: JobCallbacks, folder: Path, attempts: list[Attempt]
    ) -> JobResult:
        ends = time.monotonic() + self._deadline
        choice = self._choose(job)
        pending, best = deque(choice.order), choice.best
        if job.values.get("n", 1) != 1 and "seed" not in job.values and best.generative:
            seed = self._draw(LAST_SEED - int(job.values["n"]) + 1)
            job = replace(job, values={**job.values, "seed": seed}, drawn=True)
        shown = False
        failures: list[tuple[str, Error]] = []
        postponed: set[str] = set()
        while pending:
            one = pending.popleft()
            name = one.offer.provider
            if failures and not _within_budget(job, one, attempts):
                choice = choice.without(name)
                continue
            if pending and name not in postponed and self.health.standings()[name].out:
                postponed.add(name)  # it went out while this job waited: the others go first
                pending.append(one)
                continue
            try:
                queue = self.queues[name]
                async with queue.slot(job.caller, one.megapixels):
                    if not shown and one.plan.stream and one.plan.partial_images and watch.preview is not None:
                        shown = True
                        plan = one.plan
                        async with self._desk.memory.hold(one.memory):
                            made = await run_in_pool(self._pool, watch, lambda: make_preview(job, plan, folder))  # noqa: B023
                        watch.preview(made)
                    turn = self.health.begin(name, anyway=not pending or name in postponed)
                    if turn is None:  # it went out while this job waited for its place
                        postponed.add(name)
                        pending.append(one)
                        continue
                    provider = self._providers[name]
                    follower = replace(watch, yield_turn=queue.yield_turn) if one.megapixels > SMALL else watch
                    tries = await ProviderAttempt(
                        self._desk, provider, one, turn, job, follower, folder, attempts, ends
                    ).run()
            except Busy as error:
                attempts.append(Attempt(name, error.code, 0.0, message=error.message))
                failures.append((self._providers[name].title, error))
                continue
            if any(each.picture is not None for each in tries):
                return self._delivery(job, one, tries, attempts, choice)
            failure = decisive_error(tries)
            failures.append((self._providers[name].title, failure))
            if not failure.goes_on:
                raise failure
        spent = any(attempt.bound != 0 for attempt in attempts)
        raise _exhausted_error(failures, pinned=job.pin is not None, spent=spent)

    def _delivery(
        self,
        job: Job,
        one: Candidate,
        tries: Sequence[AttemptResult],
        attempts: Sequence[Attempt],
        choice: RoutingDecision,
    ) -> JobResult:
        done = [
            (each.outcome, each.picture, each.timings)
            for each in tries
            if each.outcome is not None and each.picture is not None
        ]
        first, _, timings = done[0]
        return JobResult(
            job=job,
            provider=one.offer.provider,
            provider_name=self._providers[one.offer.provider].title,
            upstream=str(first.details.get("engine", one.offer.upstream)),
            pictures=[picture for _, picture, _ in done],
            plan=one.plan,
            receipt=one.receipt,
            attempts=attempts,
            failures=[
                Failure(number, each.seed, each.error.code, each.error.message)
                for number, each in enumerate(tries)
                if each.error is not None
            ],
            cost=sum_costs(each.cost for each in attempts),
            details=first.details,
            timings=timings,
            degraded=choice.degraded(one.offer),
            excluded=choice.unasked(one.offer, {attempt.provider for attempt in attempts}),
        )


def _within_budget(job: Job, one: Candidate, attempts: Sequence[Attempt]) -> bool:
    """Whether what may have been spent and what this would cost are known, and within what the caller allows."""
    if "max_cost" not in job.values:
        return True
    total = sum_costs([one.cost, *(attempt.bound for attempt in attempts)])
    return one.cost == 0 or (total is not None and total <= floor_to_micros(float(job.values["max_cost"])))


def _exhausted_error(failures: Sequence[tuple[str, Error]], *, pinned: bool, spent: bool) -> Error:
    """Return what the caller is told when nobody made the picture; a pinned provider's own error goes straight on.

    Where something was `spent`, or may have been, nobody is told to try again because all were busy.
    """
    title, last = failures[-1]
    if pinned:
        return last
    if not spent and all(isinstance(error, Busy | UpstreamBusy) for _, error in failures):
        waits = [error.retry_after for _, error in failures if error.retry_after is not None]
        message = "Every provider is busy. Nothing was charged; try again later." if len(failures) > 1 else last.message
        return Busy(message, retry_after=min(waits, default=5.0))
    message = f"No provider could make the picture. The last one, {title}, said: {last.message}"
    return Exhausted(message)
