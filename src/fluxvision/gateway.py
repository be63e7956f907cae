"""The flow, as a picture: admit → route → normalize → provider → finish → deliver. CLI, page and HTTP all call this."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

from fluxvision import catalog, imaging, pricing
from fluxvision.errors import DeadlineExceeded, Error, InvalidRequest, UpstreamError
from fluxvision.geometry import solve
from fluxvision.normalize import normalize
from fluxvision.params import BY_NAME, coerce
from fluxvision.postprocess import finish
from fluxvision.providers import PROVIDERS, Provider
from fluxvision.routing import route
from fluxvision.rules import Model, Offer
from fluxvision.types import (
    Attempt,
    Call,
    Delivery,
    Job,
    Line,
    Outcome,
    Picture,
    Plan,
    Quote,
    Scalar,
    Source,
    Watch,
)
from fluxvision.workers import Admission, in_thread

PREVIEW_SIDE = 1024
TITLES = {row.name: row.title for row in PROVIDERS}


class Gateway:
    """One running gateway: the catalogue, the providers that are configured here, and the limits."""

    def __init__(
        self,
        providers: Mapping[str, Provider],
        *,
        models: Sequence[Model] = catalog.CATALOG,
        workers: int = 1,
        queue: int = 16,
        deadline: float = 900.0,
        max_output_pixels: int = 400_000_000,
    ) -> None:
        """Serve `models` by `providers`; `deadline` in seconds covers everything after a worker is free."""
        self.models = tuple(models)
        self.admission = Admission(workers, queue)
        self._providers = dict(providers)
        self._deadline = deadline
        self._max_output_pixels = max_output_pixels
        self._pool = ThreadPoolExecutor(workers + 2, thread_name_prefix="finish")

    def find(self, model: str) -> tuple[Model, str | None, str]:
        """Return the model of a name, the provider that it pins, and the name as written."""
        return *catalog.find(model, self.models), model

    def full(self) -> float | None:
        """Return the seconds after which a refused job may try again, None when there is room."""
        return self.admission.full()

    def admit(self, model: str, fields: Mapping[str, Any], image: Source, mask: Source | None, request_id: str) -> Job:
        """Check a caller's words against the public parameters and return the job; unknown names become extras.

        Raises `ModelNotFound`, or `InvalidRequest` naming the parameter.
        """
        found, pin, alias = self.find(model)
        values: dict[str, Scalar] = {}
        extras: dict[str, Any] = {}
        for name, raw in fields.items():
            param = BY_NAME.get(name)
            if param is None:
                extras[name] = raw
                continue
            value = coerce(param, raw)
            if value is not None:
                values[name] = value
        return Job(request_id, found.id, image, values, mask, extras, pin, alias)

    def quote(self, job: Job) -> Quote:
        """Validate a job and return what it would cost, by the code that bills. Calls nobody."""
        offer = self._offers(job)[0]
        _, plan, receipt = self._translate(job, offer)
        geometry = solve(job, offer.max_factor)
        lines = pricing.components(offer.price, geometry.made_width, geometry.made_height, plan.n)
        total = pricing.total(lines)
        return Quote(job.model, offer.provider, total, lines, receipt, geometry.width, geometry.height)

    async def run(self, job: Job, watch: Watch, folder: Path) -> Delivery:
        """Do a job; the finished files lie in `folder`, which the caller owns.

        Raises `Busy` at once when the queue is full, and whatever refuses or breaks the job. Cancelling the task stops
        the work.
        """
        offers = self._offers(job)
        for offer in offers:
            self._translate(job, offer)  # a request that cannot be served does not wait in the queue
        async with self.admission.slot():
            try:
                async with asyncio.timeout(self._deadline):
                    return await self._attempt(job, offers[0], watch, folder)
            except TimeoutError:
                message = f"The work took longer than this server's limit of {self._deadline:g} seconds."
                raise DeadlineExceeded(message) from None

    def preview(self, job: Job, folder: Path) -> Path:
        """Write a small, plainly resampled version of the result in the job's output format. Blocking, fast."""
        _, plan, _ = normalize(job, self._offers(job)[0])
        geometry = solve(job)
        shrink = min(1.0, PREVIEW_SIDE / max(geometry.inner_width, geometry.inner_height))
        width, height = (max(1, round(side * shrink)) for side in (geometry.inner_width, geometry.inner_height))
        raster = imaging.preview(job.image, width, height, folder / f"{uuid4().hex}.raw")
        plain = replace(plan, fit=None, strip_metadata=True)
        return finish(raster, plain, replace(imaging.describe(job.image), exif=None, xmp=None, iptc=None), folder).path

    async def ping(self) -> Mapping[str, bool]:
        """Return for each configured provider whether it could serve a call now."""
        return {name: await provider.ping() for name, provider in self._providers.items()}

    async def aclose(self) -> None:
        """Free the providers."""
        for provider in self._providers.values():
            await provider.aclose()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _offers(self, job: Job) -> tuple[Offer, ...]:
        return route(job, self.find(job.model)[0], self._providers)

    def _translate(self, job: Job, offer: Offer) -> tuple[Call, Plan, tuple[Line, ...]]:
        """Normalize, and refuse what no format or limit allows before any work begins."""
        call, plan, receipt = normalize(job, offer)
        geometry = solve(job, offer.max_factor)
        largest = max(geometry.width * geometry.height, geometry.made_width * geometry.made_height)
        if largest > self._max_output_pixels:
            message = (
                f"The result would have {largest:,} pixels; this server makes at most {self._max_output_pixels:,}."
            )
            raise InvalidRequest(message, param="size" if "size" in job.values else "scale_factor")
        imaging.check(plan.output_format, geometry.width, geometry.height)
        return call, plan, receipt

    async def _attempt(self, job: Job, offer: Offer, watch: Watch, folder: Path) -> Delivery:
        provider = self._providers[offer.provider]
        call, plan, receipt = self._translate(job, offer)
        started = time.monotonic()
        calls = [replace(call, seed=(call.seed or 0) + index) if plan.n > 1 else call for index in range(plan.n)]
        one_at_a_time = asyncio.Semaphore(provider.parallel)
        shares = _shares(watch, plan.n)

        async def make(one: Call, share: Watch) -> tuple[Outcome, Picture]:
            async with one_at_a_time:
                outcome = await provider.run(one, share, folder)
                began = time.perf_counter()
                picture = await in_thread(
                    self._pool, watch, lambda: finish(outcome.picture, plan, imaging.describe(job.image), folder)
                )
            words = outcome.caption if outcome.caption is not None else str(job.values.get("prompt", "")) or None
            outcome = replace(outcome, timings={**outcome.timings, "finish": time.perf_counter() - began})
            return outcome, replace(picture, revised_prompt=words, seed=outcome.seed, fidelity=outcome.fidelity)

        made = await _gather([make(one, share) for one, share in zip(calls, shares, strict=True)])
        done = [pair for pair in made if not isinstance(pair, BaseException)]
        failed = [pair for pair in made if isinstance(pair, BaseException)]
        for error in failed:
            if not done or not isinstance(error, Error):
                raise error
        if not done:
            raise UpstreamError("The provider made no picture.")
        geometry = solve(job, offer.max_factor)
        lines = pricing.components(offer.price, geometry.made_width, geometry.made_height, len(done))
        cost = pricing.total(lines)
        first = done[0][0]
        return Delivery(
            job=job,
            provider=offer.provider,
            provider_name=TITLES.get(offer.provider, offer.provider),
            upstream=str(first.details.get("engine", offer.upstream)),
            pictures=[picture for _, picture in done],
            plan=plan,
            receipt=receipt,
            attempts=[Attempt(offer.provider, "ok", time.monotonic() - started, cost, first.upstream_id)],
            failures=[error.message for error in failed if isinstance(error, Error)],
            cost=cost,
            details=first.details,
            timings=first.timings,
        )


def _shares(watch: Watch, n: int) -> list[Watch]:
    """Return one watch per picture that together report the progress of all of them."""
    if n == 1:
        return [watch]
    done, total = [0] * n, [0] * n

    def progress(index: int, now: int, of: int) -> None:
        done[index], total[index] = now, of
        watch.progress(sum(done), max(total) * n)

    return [
        Watch(lambda now, of, index=index: progress(index, now, of), watch.cancel)  # type: ignore[misc]
        for index in range(n)
    ]


async def _gather(work: list[Any]) -> list[Any]:
    """Run all and return results and exceptions in order; a cancellation cancels all and waits for them."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        return await asyncio.gather(*tasks, return_exceptions=True)
    except asyncio.CancelledError:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
