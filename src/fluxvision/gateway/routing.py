"""Offers of a model that can serve a job, in order: find, translate, price, sort. Pure.

The module is long because a choice, from offer to order, is told in one place.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf

from fluxvision import imaging
from fluxvision.catalog import pricing
from fluxvision.catalog.geometry import Geometry, solve_geometry
from fluxvision.catalog.normalize import normalize
from fluxvision.catalog.params import Param
from fluxvision.catalog.rules import Model, Offer, Passthrough
from fluxvision.core.errors import InvalidRequest, ModelNotFound
from fluxvision.core.money import floor_to_micros, format_amount
from fluxvision.core.types import Call, Excluded, Job, PostprocessPlan, PriceComponent, Quote, ReceiptEntry
from fluxvision.engine.backends.registry import planned_row
from fluxvision.gateway.circuit_breaker import ProviderHealth
from fluxvision.gateway.resource_estimate import check_memory, job_memory


def find_offers(job: Job, model: Model, configured: Collection[str]) -> tuple[Offer, ...]:
    """Return the offers of configured providers in the table's order, or only that of the pinned provider.

    If `engine` is set, only providers that support it are returned, if there are any.

    Raises `ModelNotFound` when the pinned provider is not configured, or none of the model's providers is.
    """
    offers = tuple(offer for offer in model.offers if offer.provider in configured)
    if job.pin is not None:
        offers = tuple(offer for offer in offers if offer.provider == job.pin)
        if not offers:
            message = f"The provider {job.pin} is not configured on this server."
            raise ModelNotFound(message, param="model")
    if not offers:
        elsewhere = ", ".join(offer.provider for offer in model.offers)
        message = f"No provider of {model.id} is configured on this server; it can be had from {elsewhere}."
        raise ModelNotFound(message, param="model")
    if "engine" in job.values:
        return tuple(offer for offer in offers if _has_engines(offer)) or offers
    return offers


def order_offers(
    offers: Sequence[Offer],
    policy: str,
    costs: Mapping[str, int | None],
    health: Mapping[str, ProviderHealth],
) -> tuple[Offer, ...]:
    """Return the offers, best first.

    `policy` is quality (the table's order), price (the cost of this job in micro-dollars, unknown costs last) or
    latency (seconds, unknown ones first). The value is divided by the provider's reliability: a provider that fails
    half of its calls counts as twice as expensive or slow. Providers with an open breaker come last.
    """
    if len(offers) == 1:
        return tuple(offers)
    places = {offer.provider: place for place, offer in enumerate(offers)}

    def worth(offer: Offer) -> tuple[bool, float, int]:
        current = health.get(offer.provider, ProviderHealth())
        cost = costs.get(offer.provider)
        value = {
            "quality": places[offer.provider] + 1.0,
            "price": inf if cost is None else float(cost),
            "latency": current.seconds or 0.0,
        }[policy]
        return current.breaker_open, value / current.reliability, places[offer.provider]

    return tuple(sorted(offers, key=worth))


def _has_engines(offer: Offer) -> bool:
    return not all(isinstance(rule, Passthrough) and not rule.sent for rule in offer.rules["engine"])


USUAL_FACTOR = 2
"""Scale factor up to which local engines do the same amount of work."""


@dataclass(frozen=True, slots=True)
class JobLimits:
    """Limits that every job must keep."""

    pixels: int = 400_000_000
    """Most pixels of a picture at any stage."""
    memory: int = sys.maxsize
    """Most bytes of memory for one picture."""
    local: Collection[str] = ()
    """Providers that make pictures in this process."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A job translated for one offer that can do it."""

    offer: Offer
    call: Call
    plan: PostprocessPlan
    receipt: Sequence[ReceiptEntry]
    geometry: Geometry
    price_component: PriceComponent
    """The price of one picture."""
    memory: int = 0
    """Estimated peak memory of one picture in bytes."""
    work_pixels: int = 0
    """Amount of work for one picture in pixels, for the queue."""

    @property
    def cost(self) -> int | None:
        """The price of all pictures in micro-dollars; None when it is known only after the work."""
        return pricing.total_cost([pricing.multiply(self.price_component, self.plan.n)])

    @property
    def megapixels(self) -> float:
        """Amount of work for all pictures in megapixels, which determines the place in the queue."""
        return self.work_pixels * self.plan.n * self.plan.frames / 1e6

    @property
    def requested_size(self) -> tuple[int, int] | None:
        """Width and height that the provider is asked to make, None when it chooses them itself."""
        left = (
            self.offer.factors is None
            or not self.call.sets_size
            or (self.offer.frames and self.offer.frames in self.call.body)
        )
        return None if left else (self.geometry.engine_width, self.geometry.engine_height)

    def bill(self, job: Job, seconds: float | None) -> int | None:
        """Return the cost of one finished picture in micro-dollars; `seconds` is the reported compute time."""
        return _price_component(job, self.offer, self.geometry, seconds).total_cost

    def quote(self, job: Job, others: Sequence[Quote] = (), excluded: Sequence[Excluded] = ()) -> Quote:
        """Return the quote of the job at this provider."""
        lines = (pricing.multiply(self.price_component, self.plan.n),)
        size = self.geometry.width, self.geometry.height
        return Quote(job.model, self.offer.provider, self.cost, lines, self.receipt, *size, others, excluded)


@dataclass(frozen=True, slots=True)
class RoutingCandidates:
    """The candidates for a job, and the providers that are not."""

    candidates: tuple[Candidate, ...]
    """In the order of the offers."""
    refused: Mapping[str, InvalidRequest]
    """Errors of providers that cannot do the job, by provider."""
    over_budget: Mapping[str, str]
    """Reasons why providers exceed the caller's `max_cost`, by provider."""

    @property
    def excluded(self) -> tuple[Excluded, ...]:
        """The providers that are not candidates, with the reason."""
        reasons = {**{name: refusal.message for name, refusal in self.refused.items()}, **self.over_budget}
        return tuple(Excluded(name, reason) for name, reason in reasons.items())


def translate_offers(
    job: Job,
    offers: Iterable[Offer],
    rows: Sequence[Param],
    *,
    limits: JobLimits,
    checks: Mapping[str, Callable[[Call], None]],
) -> RoutingCandidates:
    """Return the job translated for each offer that can do it, and the reasons why the others cannot.

    `checks` are the providers' own checks of a call. Formats, limits, providers and `strict` are all checked here,
    before any work begins. Raises `InvalidRequest`, that of the first offer, when no offer can do the job, or when all
    exceed `max_cost`.
    """
    found: list[Candidate] = []
    refused: dict[str, InvalidRequest] = {}
    for offer in offers:
        try:
            candidate = _translate_offer(job, offer, rows, limits)
            checks[offer.provider](candidate.call)
            found.append(candidate)
        except InvalidRequest as refusal:
            refused[offer.provider] = refusal
    if not found:
        raise next(iter(refused.values()))
    within = _within_budget(job, found)
    return RoutingCandidates(
        within, refused, {one.offer.provider: _over_budget_reason(job, one) for one in found if one not in within}
    )


def _translate_offer(job: Job, offer: Offer, rows: Sequence[Param], limits: JobLimits) -> Candidate:
    geometry = solve_geometry(job, offer.factors)
    own = job.caller.max_pixels
    most = limits.pixels if own is None else min(own, limits.pixels)
    if geometry.largest_pixels > most:
        what = (
            "The result"
            if geometry.largest_pixels == geometry.width * geometry.height
            else "At an intermediate step the picture"
        )
        who = "this server makes" if most == limits.pixels else "without a key this server makes"
        message = f"{what} would have {geometry.largest_pixels:,} pixels; {who} at most {most:,}."
        said = next((name for name in ("size", "resolution") if name in job.values), "scale_factor")
        raise InvalidRequest(message, param=said)
    call, plan, receipt = normalize(job, offer, rows)
    _check_frames(job, offer, geometry.largest_pixels * plan.frames, most)
    imaging.check_encodable(plan.output_format, geometry.width, geometry.height)
    row = planned_row(call.body.get("backend")) if offer.provider in limits.local else None
    memory = job_memory(job, geometry, plan, row)
    check_memory(memory, limits.memory, job, plan)
    component, work_pixels = _price_component(job, offer, geometry, None), geometry.largest_pixels
    if row is not None:  # networks enlarge the source plus a halo, which dominates for very thin pictures
        work_pixels = max(
            work_pixels, USUAL_FACTOR**2 * (job.image.width + 2 * row.halo) * (job.image.height + 2 * row.halo)
        )
    return Candidate(offer, call, plan, receipt, geometry, component, memory, work_pixels)


def _check_frames(job: Job, offer: Offer, pixels: int, most: int) -> None:
    """Raise `InvalidRequest` naming frames for more pixels than are made, and at a provider that makes one frame."""
    if job.values.get("frames") == "all" and job.image.frames > 1 and offer.accepts is not None:
        raise InvalidRequest("frames: this provider makes one frame for each call; send frames=first.", param="frames")
    if pixels > most:
        message = f"frames: all frames together would have {pixels:,} pixels; at most {most:,} are made; send first."
        raise InvalidRequest(message, param="frames")


def _price_component(job: Job, offer: Offer, geometry: Geometry, seconds: float | None) -> PriceComponent:
    source = job.image.width, job.image.height
    return pricing.image_price(offer.price, source, (geometry.engine_width, geometry.engine_height), seconds)


def _over_budget_reason(job: Job, one: Candidate) -> str:
    known = "What it costs is not known beforehand" if one.cost is None else f"It costs {format_amount(one.cost)}"
    return f"{known}, and {'max_cost allows less' if 'max_cost' in job.values else 'this key has a budget'}."


def _within_budget(job: Job, found: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """Return the candidates whose cost is known and at most `max_cost`; raises `InvalidRequest` if none remain.

    Without `max_cost`, the cost must be known only for a caller with a budget, which could be exceeded otherwise.
    """
    said = job.values.get("max_cost")
    if said is None and not job.caller.limits.has_budget:
        return tuple(found)
    limit = inf if said is None else floor_to_micros(float(said))
    within = tuple(one for one in found if one.cost is not None and one.cost <= limit)
    if not within and said is None:
        message = "model: what it costs is not known beforehand, and this key has a budget."
        raise InvalidRequest(message, param="model")
    if not within:
        known = [one.cost for one in found if one.cost is not None]
        least = f"the least is {format_amount(min(known))}" if known else "what it costs is not known beforehand"
        message = f"max_cost: no provider makes this for {format_amount(int(limit))}; {least}."
        raise InvalidRequest(message, param="max_cost")
    return within


DEGRADES = "It does not invent detail, and this request may not be degraded."
RESTS = "It failed recently; it is tried again after a pause."
SPENT = "Failed attempts have cost something, and max_cost does not allow its price in addition."


@dataclass(frozen=True, slots=True)
class RoutingDecision:
    """The candidates to try for a job, and the providers that are not tried."""

    candidates: tuple[Candidate, ...]
    """Best first."""
    excluded: tuple[Excluded, ...]
    """Providers that are not tried, with the reason."""
    best: Offer
    """The offer that would come first if every provider were healthy and could do the job."""

    def degraded(self, offer: Offer) -> bool:
        """Return whether this offer invents no detail although the best offer would."""
        return self.best.generative and not offer.generative

    def exclude(self, name: str) -> RoutingDecision:
        """Return the decision with a provider excluded because the cost of failed attempts leaves no budget for it."""
        return replace(self, excluded=(*self.excluded, Excluded(name, SPENT)))

    def not_tried(self, offer: Offer, tried: Collection[str]) -> tuple[Excluded, ...]:
        """Return the excluded providers, and if the result is degraded, the generative candidates not tried."""
        known = {*tried, *(one.provider for one in self.excluded)}
        better = [one.offer.provider for one in self.candidates if self.degraded(offer) and one.offer.generative]
        return *self.excluded, *(Excluded(name, RESTS) for name in better if name not in known)


def decide(
    job: Job,
    offers: Sequence[Offer],
    eligible: RoutingCandidates,
    policy: str,
    health: Mapping[str, ProviderHealth],
    *,
    allow_degraded: bool,
) -> RoutingDecision:
    """Return the order in which providers are tried; `offers` are all that were considered, `eligible` the candidates.

    Without `allow_degraded`, or with `strict`, offers that invent no detail do not replace one that does; raises
    `InvalidRequest` of the best offer when no generative candidate remains. Offers over the caller's `max_cost` never
    count as the best.
    """
    if len(offers) == 1:
        return RoutingDecision(eligible.candidates, (), offers[0])
    by_name = {one.offer.provider: one for one in eligible.candidates}
    costs = {name: one.cost for name, one in by_name.items()}
    speeds = {name: ProviderHealth(seconds=one.seconds) for name, one in health.items()}  # as if healthy
    best = order_offers(
        [offer for offer in offers if offer.provider not in eligible.over_budget], policy, costs, speeds
    )[0]
    order = order_offers([one.offer for one in eligible.candidates], policy, costs, health)
    excluded = eligible.excluded
    if best.generative and (not allow_degraded or job.values.get("strict")):
        plain = [offer.provider for offer in order if not offer.generative]
        order = tuple(offer for offer in order if offer.generative)
        if not order:
            refusal = eligible.refused[best.provider]
            message = f"{refusal.message} {plain[0]}/{job.model} makes it without inventing detail."
            raise InvalidRequest(message, param=refusal.param)
        excluded += tuple(Excluded(name, DEGRADES) for name in plain)
    return RoutingDecision(tuple(by_name[offer.provider] for offer in order), excluded, best)
