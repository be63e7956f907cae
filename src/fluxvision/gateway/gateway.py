"""Gateway, which HTTP and CLI call for every job: admit → prepare (route, normalize, price) → run (attempt, finish)."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fluxvision import imaging
from fluxvision.catalog import catalog
from fluxvision.catalog.coerce import coerce
from fluxvision.catalog.params import ALIASES, Param
from fluxvision.catalog.rules import Model
from fluxvision.core.callbacks import JobCallbacks
from fluxvision.core.concurrency import run_in_pool
from fluxvision.core.errors import InvalidRequest
from fluxvision.core.images import InputImage
from fluxvision.core.system import total_memory
from fluxvision.core.tracing import span
from fluxvision.core.types import Caller, Job, Scalar
from fluxvision.engine import BACKENDS
from fluxvision.gateway.circuit_breaker import CircuitBreakers
from fluxvision.gateway.execution import LAST_SEED, PreparedJob
from fluxvision.gateway.execution_context import ExecutionContext
from fluxvision.gateway.fair_queue import FairQueue
from fluxvision.gateway.resource_estimate import JobMemoryBudget
from fluxvision.gateway.routing import JobLimits, decide, find_offers, translate_offers
from fluxvision.gateway.self_test import run_self_test
from fluxvision.providers.registry import Provider

LEAST_JOB_MEMORY = 1_500_000_000
"""Bytes of memory that one picture may always take, even on a small machine; its tiles alone take half of that."""
SMALL_JOB_MEMORY = 300_000_000
"""Bytes of memory that a small picture takes."""


@dataclass(frozen=True, slots=True)
class ParsedFields:
    """What a request says, checked against the parameters of its model, before its pictures are read."""

    model: Model
    pin: str | None
    """The only provider that the caller allows; None: any."""
    prefers_base64: bool
    """Whether the caller used a model name whose clients read only base64."""
    factor: float
    """The model's scale factor when the caller gives no size."""
    values: dict[str, Scalar] = field(default_factory=dict)
    """The public parameters that the caller gave; no defaults."""
    extras: dict[str, Any] = field(default_factory=dict)
    """Parameters that are not public ones, which may be a provider's own."""

    def job(self, image: InputImage, mask: InputImage | None, request_id: str, pictures: int = 1) -> Job:
        """Return the job for one of the `pictures`; raises `InvalidRequest` for a mask of another size."""
        if mask is not None:
            imaging.check_mask(mask, image.width, image.height)
        return Job(
            request_id,
            self.model.id,
            image,
            self.values,
            mask,
            self.extras,
            self.pin,
            self.prefers_base64,
            pictures,
            self.factor,
        )


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
        caller may wait for each provider. One picture may take `max_job_memory` bytes (0: a quarter of the machine's
        memory, at least `LEAST_JOB_MEMORY`), and all together twice as many, but at most three quarters of the memory.
        `deadline` limits the seconds of a whole job, waiting included, `attempt_timeout` those of one attempt at a
        remote provider. `draw` returns a random number below its argument.
        """
        self.models = tuple(models)
        self.health = health or CircuitBreakers(providers)
        self.queues = {
            name: FairQueue(provider.workers, queue, small_workers=provider.small_workers)
            for name, provider in providers.items()
        }
        self._models = {model.id: model for model in models}
        self._rows: Mapping[str, Sequence[Param]] = {model.id: catalog.model_params(model) for model in models}
        self._by_name = {name: {row.name: row for row in rows} for name, rows in self._rows.items()}
        most = max_job_memory or max(total_memory() // 4, LEAST_JOB_MEMORY)
        local = [name for name, provider in providers.items() if not provider.remote]
        self._limits = JobLimits(max_output_pixels, most, local)
        self._policy = policy
        self._allow_degraded = allow_degraded
        self._checks = {name: provider.check for name, provider in providers.items()}
        self._pool = ThreadPoolExecutor(workers + 2, thread_name_prefix="finish")
        self._test_pool = ThreadPoolExecutor(1, thread_name_prefix="selftest")  # never waits for a job
        # Even a small machine can process a small picture beside the largest one.
        budget = JobMemoryBudget(max(most + SMALL_JOB_MEMORY, min(2 * most, total_memory() // 4 * 3)))
        self._context = ExecutionContext(
            self._pool,
            self.health,
            self._rows,
            attempt_timeout,
            deadline,
            dict(providers),
            self.queues,
            threads,
            draw,
            memory=budget,
        )

    @property
    def providers(self) -> Collection[str]:
        """The names of the configured providers."""
        return self._context.providers.keys()

    @property
    def deadline(self) -> float:
        """Most seconds of a whole job."""
        return self._context.deadline

    @property
    def has_remote(self) -> bool:
        """Whether any provider works elsewhere, and may cost money."""
        return any(provider.remote for provider in self._context.providers.values())

    def find(self, model: str) -> tuple[Model, str | None, str]:
        """Return the model of a name, the provider that it pins, and the name as written."""
        return *catalog.find_model(model, self.models), model

    def engines(self) -> Mapping[str, str]:
        """Return the engines whose weights are on this machine, with their titles, by the value of `engine`."""
        titles = {row.name: row.title for row in BACKENDS}
        missing = {row.name for row in BACKENDS if not row.installed}
        names = self._by_name[self.models[0].id]["engine"].choices
        return {name: titles.get(name, name) for name in names if name not in missing}

    def full(self, caller: Caller) -> float | None:
        """Return the seconds after which a caller may try again, None while any provider's queue has room."""
        waits = [queue.retry_after(caller) for queue in self.queues.values()]
        known = [wait for wait in waits if wait is not None]
        return min(known) if known and len(known) == len(waits) else None

    def parse(self, model: str, fields: Mapping[str, Any]) -> ParsedFields:
        """Check the caller's values against the parameters of the model, the default one when `model` is empty.

        Unknown names become extras. Raises `ModelNotFound`, or `InvalidRequest` that tells every parameter that is
        wrong.
        """
        name = model if model.strip() else self.models[0].id
        found, pin = catalog.find_model(name, self.models)
        rows, names, errors = self._by_name[found.id], dict[str, str](), list[InvalidRequest]()
        factor = float(rows["scale_factor"].default or 1.0)
        parsed = ParsedFields(found, pin, catalog.prefers_base64(name, found), factor)
        for written, raw in fields.items():
            param = rows.get(ALIASES.get(written, written))
            if param is None:
                parsed.extras[written] = raw
                continue
            try:
                value = coerce(param, raw, has_effect=self._has_effect(parsed, param.name))
            except InvalidRequest as error:
                errors.append(error)
                continue
            if value is not None and parsed.values.setdefault(param.name, value) != value:
                first = names[param.name]
                message = f"{first} and {written} mean the same and have different values; send one of them."
                errors.append(InvalidRequest(message, param=param.name))
            if value is not None:
                names[param.name] = written
        seed, n = parsed.values.get("seed"), parsed.values.get("n")
        if isinstance(seed, int) and isinstance(n, int) and seed + n - 1 > LAST_SEED:
            message = f"seed: with n={n} the last seed would be over {LAST_SEED}."
            errors.append(InvalidRequest(message, param="seed"))
        if errors:
            raise InvalidRequest.join(errors)
        parsed.values.update(catalog.implied_values(found, parsed.values, parsed.extras))
        return parsed

    def _has_effect(self, parsed: ParsedFields, name: str) -> bool:
        """Return whether a parameter has an effect at any configured provider that may serve the request."""
        offers = [one for one in parsed.model.offers if one.provider in self.providers]
        return not offers or any(
            getattr(rule, "sent", True)
            for one in offers
            if parsed.pin in {None, one.provider}
            for rule in one.rules[name]
        )

    def admit(
        self, model: str, fields: Mapping[str, Any], image: InputImage, mask: InputImage | None, request_id: str
    ) -> Job:
        """Return the job of a request with one picture; raises the errors of `parse`, and those of the mask."""
        return self.parse(model, fields).job(image, mask, request_id)

    def prepare(self, job: Job) -> PreparedJob:
        """Translate, price, check and order a job's offers.

        Raises `InvalidRequest` naming the parameter when no provider can do the job, `ModelNotFound` when none of the
        model's providers is configured.
        """
        with span("route", parent=job.traceparent):
            offers = find_offers(job, self._models[job.model], self._context.providers)
            eligible = translate_offers(job, offers, self._rows[job.model], limits=self._limits, checks=self._checks)
            health = self.health.snapshot()
            decision = decide(job, offers, eligible, self._policy, health, allow_degraded=self._allow_degraded)
        return PreparedJob(self._context, job, decision)

    async def ping(self) -> Mapping[str, bool]:
        """Return for each configured provider whether it could serve a call now."""
        return {name: await provider.ping() for name, provider in self._context.providers.items()}

    async def check(self, folder: Path) -> None:
        """Run the self-test without waiting for running jobs; raises `Unavailable` naming the failed stage.

        Files are written into `folder` only.
        """
        await run_in_pool(self._test_pool, JobCallbacks(), lambda: run_self_test(folder))

    async def aclose(self) -> None:
        """Close the providers and stop the threads."""
        for provider in self._context.providers.values():
            await provider.aclose()
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._test_pool.shutdown(wait=True, cancel_futures=True)
