"""The flow, as a picture: admit → route → normalize → provider → finish → deliver. CLI, page and HTTP all call this."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

from fluxvision import catalog, imaging, pricing
from fluxvision.errors import DeadlineExceeded, Error, InvalidRequest
from fluxvision.geometry import solve
from fluxvision.normalize import normalize
from fluxvision.params import BY_NAME, coerce
from fluxvision.postprocess import Work, finish
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
LAST_SEED = 2**32 - 1
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
        """Serve `models` by `providers`; `deadline` is the seconds that a job may take, waiting included."""
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
        found, pin = catalog.find(model, self.models)
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
        if mask is not None:
            imaging.check_mask(mask, image.width, image.height)
        seed, n = values.get("seed"), values.get("n")
        if isinstance(seed, int) and isinstance(n, int) and seed + n - 1 > LAST_SEED:
            message = f"seed: with n={n} the last seed would be over {LAST_SEED}."
            raise InvalidRequest(message, param="seed")
        return Job(request_id, found.id, image, values, mask, extras, pin, catalog.prefers_base64(model, found))

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
        try:
            async with asyncio.timeout(self._deadline), self.admission.slot():
                return await self._attempt(job, offers[0], watch, folder)
        except TimeoutError:
            message = f"The request took longer than this server's limit of {self._deadline:g} seconds."
            raise DeadlineExceeded(message) from None

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
        self._providers[offer.provider].check(call)
        return call, plan, receipt

    async def _attempt(self, job: Job, offer: Offer, watch: Watch, folder: Path) -> Delivery:
        provider = self._providers[offer.provider]
        _, plan, receipt = self._translate(job, offer)
        if plan.stream and plan.partial_images and watch.preview is not None:
            preview = await in_thread(self._pool, watch, lambda: _preview(job, plan, folder))
            watch.preview(preview)
        geometry = solve(job, offer.max_factor)
        price = pricing.total(pricing.components(offer.price, geometry.made_width, geometry.made_height, 1))
        turn = asyncio.Semaphore(provider.parallel)

        async def make(version: Job, share: Watch) -> _Made:
            async with turn:
                started = time.monotonic()
                try:
                    outcome = await provider.run(normalize(version, offer)[0], share, folder)
                    began = time.monotonic()
                    work = Work(outcome.picture, plan, job.image, folder, share, outcome.seam_ratio)
                    picture = await in_thread(self._pool, share, lambda: finish(work))
                except Error as error:
                    return _Made(Attempt(offer.provider, error.code, time.monotonic() - started), error=error)
            ended = time.monotonic()
            words = outcome.caption if outcome.caption is not None else str(job.values.get("prompt", "")) or None
            return _Made(
                Attempt(offer.provider, "ok", ended - started, price, outcome.upstream_id),
                replace(outcome, timings={**outcome.timings, "finish": ended - began}),
                replace(picture, revised_prompt=words, seed=outcome.seed),
            )

        made = await _gather([make(*pair) for pair in zip(_versions(job, plan.n), _shares(watch, plan.n), strict=True)])
        done = [(one.outcome, one.picture) for one in made if one.outcome is not None and one.picture is not None]
        failed = [one.error for one in made if one.error is not None]
        if not done:
            raise failed[0]
        first = done[0][0]
        return Delivery(
            job=job,
            provider=offer.provider,
            provider_name=TITLES.get(offer.provider, offer.provider),
            upstream=str(first.details.get("engine", offer.upstream)),
            pictures=[picture for _, picture in done],
            plan=plan,
            receipt=receipt,
            attempts=[one.attempt for one in made],
            failures=[error.message for error in failed],
            cost=sum(one.attempt.cost for one in made),
            details=first.details,
            timings=first.timings,
        )


@dataclass(frozen=True, slots=True)
class _Made:
    """What became of one version: an attempt, and either a picture with what was said of it, or an error."""

    attempt: Attempt
    outcome: Outcome | None = None
    picture: Picture | None = None
    error: Error | None = None


def _versions(job: Job, n: int) -> list[Job]:
    """Return one job per picture, with the seeds seed, seed+1, … when there are several."""
    if n == 1:
        return [job]
    first = int(job.values.get("seed", 0))
    return [replace(job, values={**job.values, "seed": first + index}) for index in range(n)]


def _preview(job: Job, plan: Plan, folder: Path) -> Path:
    """Write a small, plainly resampled version of the result in the job's output format."""
    geometry = solve(job)
    shrink = min(1.0, PREVIEW_SIDE / max(geometry.inner_width, geometry.inner_height))
    width, height = (max(1, round(side * shrink)) for side in (geometry.inner_width, geometry.inner_height))
    raster = imaging.preview(job.image, width, height, folder / f"{uuid4().hex}.raw")
    row = imaging.find(plan.output_format)
    target = folder / f"{uuid4().hex}.{row.extension}"
    metadata = imaging.describe(job.image)
    imaging.encode(raster, target, row.name, quality=plan.output_compression, metadata=metadata, strip=True)
    raster.path.unlink()
    return target


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


async def _gather(work: list[Coroutine[Any, Any, _Made]]) -> list[_Made]:
    """Run all; when one breaks or the task is cancelled, cancel the others and wait for them."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        return await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
