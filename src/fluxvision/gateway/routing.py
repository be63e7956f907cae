"""A job, translated for every offer that may serve it: what each would be asked, would make, and would cost."""

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
from fluxvision.engine import BACKENDS
from fluxvision.engine.backends.registry import BY_NAME
from fluxvision.gateway.circuit_breaker import ProviderHealth
from fluxvision.gateway.job_resources import check_memory, job_memory


def find_offers(job: Job, model: Model, configured: Collection[str]) -> tuple[Offer, ...]:
    """Return the offers of configured providers in the table's order; a pinned provider stands alone.

    Where the job names an engine, providers that have no engines to choose from stand back for those that have.

    Raises `ModelNotFound` when the pinned provider is not configured here, or no provider is.
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
    standings: Mapping[str, ProviderHealth],
) -> tuple[Offer, ...]:
    """Return the offers, best first.

    `policy` is quality (the table's order), price (the cost of this job in micro-dollars, unknown costs last) or
    latency (seconds, unknown ones first). What an offer is worth is divided by its provider's reliability: a provider
    that fails half of its calls counts as twice as over_budget. Providers that are out come last: a last resort.
    """
    if len(offers) == 1:
        return tuple(offers)
    places = {offer.provider: place for place, offer in enumerate(offers)}

    def worth(offer: Offer) -> tuple[bool, float, int]:
        standing = standings.get(offer.provider, ProviderHealth())
        cost = costs.get(offer.provider)
        value = {
            "quality": places[offer.provider] + 1.0,
            "price": inf if cost is None else float(cost),
            "latency": standing.seconds or 0.0,
        }[policy]
        return standing.out, value / standing.reliability, places[offer.provider]

    return tuple(sorted(offers, key=worth))


def _has_engines(offer: Offer) -> bool:
    return not all(isinstance(rule, Passthrough) and not rule.sent for rule in offer.rules["engine"])


USUAL_FACTOR = 2
"""Local engines work as much at factor 1 as at this one."""


@dataclass(frozen=True, slots=True)
class JobLimits:
    """What one job may be: the most `pixels` on its way, the most bytes of `memory` for each of its pictures.

    `local` are the providers that make pictures in this process.
    """

    pixels: int = 400_000_000
    memory: int = sys.maxsize
    local: Collection[str] = ()


@dataclass(frozen=True, slots=True)
class Candidate:
    """One offer for one job: the call, the plan around it, the receipt, the sizes, and a picture's line of the bill.

    `memory` are the bytes that each of its pictures is planned to take at its peak, `work` the pixels that it is worth.
    """

    offer: Offer
    call: Call
    plan: PostprocessPlan
    receipt: Sequence[ReceiptEntry]
    geometry: Geometry
    line: PriceComponent
    memory: int = 0
    work: int = 0

    @property
    def cost(self) -> int | None:
        """What all pictures cost, in micro-dollars; None where only the work itself will tell."""
        return pricing.total_cost([pricing.multiply(self.line, self.plan.n)])

    @property
    def megapixels(self) -> float:
        """How much work it is, for its place in the queue: the pixels of all pictures, in millions."""
        return self.work * self.plan.n / 1e6

    @property
    def made(self) -> tuple[int, int] | None:
        """The size that the provider is asked to make, None where it decides by itself."""
        left = (
            self.offer.factors is None
            or not self.call.sized
            or (self.offer.frames and self.offer.frames in self.call.body)
        )
        return None if left else (self.geometry.made_width, self.geometry.made_height)

    def bill(self, job: Job, seconds: float | None) -> int | None:
        """Return what one picture costs once it is made: the quote, or what the reported seconds come to."""
        return _price_component(job, self.offer, self.geometry, seconds).total_cost

    def quote(self, job: Job, others: Sequence[Quote] = (), excluded: Sequence[Excluded] = ()) -> Quote:
        """Return what the job would cost here."""
        lines = (pricing.multiply(self.line, self.plan.n),)
        size = self.geometry.width, self.geometry.height
        return Quote(job.model, self.offer.provider, self.cost, lines, self.receipt, *size, others, excluded)


@dataclass(frozen=True, slots=True)
class RoutingCandidates:
    """A job for the offers that can do it. By provider: why it is `refused`, and how it is too `over_budget`."""

    found: tuple[Candidate, ...]
    refused: Mapping[str, InvalidRequest]
    over_budget: Mapping[str, str]

    @property
    def excluded(self) -> tuple[Excluded, ...]:
        """The providers that are left out."""
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
    """Return the job for each offer that can do it, in the offers' order, and why the others cannot.

    Whatever no format, limit, provider or `strict` allows is refused here, before any work begins. Raises the refusal
    of the first offer when none can do it.
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
        within, refused, {one.offer.provider: _over_budget_reason(one) for one in found if one not in within}
    )


def _translate_offer(job: Job, offer: Offer, rows: Sequence[Param], limits: JobLimits) -> Candidate:
    geometry = solve_geometry(job, offer.factors)
    own = job.caller.max_pixels
    most = limits.pixels if own is None else min(own, limits.pixels)
    if geometry.largest > most:
        what = "The result" if geometry.largest == geometry.width * geometry.height else "On its way the picture"
        who = "this server makes" if most == limits.pixels else "without a key this server makes"
        message = f"{what} would have {geometry.largest:,} pixels; {who} at most {most:,}."
        said = next((name for name in ("size", "resolution") if name in job.values), "scale_factor")
        raise InvalidRequest(message, param=said)
    call, plan, receipt = normalize(job, offer, rows)
    imaging.check_encodable(plan.output_format, geometry.width, geometry.height)
    row = BY_NAME.get(str(call.body.get("backend")), BACKENDS[0]) if offer.provider in limits.local else None
    memory = job_memory(job, geometry, plan, row)
    check_memory(memory, limits.memory, job, plan)
    line, work = _price_component(job, offer, geometry, None), geometry.largest
    if row is not None:  # networks enlarge the source and its halo, which of a line of pixels is most
        work = max(work, USUAL_FACTOR**2 * (job.image.width + 2 * row.halo) * (job.image.height + 2 * row.halo))
    return Candidate(offer, call, plan, receipt, geometry, line, memory, work)


def _price_component(job: Job, offer: Offer, geometry: Geometry, seconds: float | None) -> PriceComponent:
    source = job.image.width, job.image.height
    return pricing.image_price(offer.price, source, (geometry.made_width, geometry.made_height), seconds)


def _over_budget_reason(one: Candidate) -> str:
    known = "What it costs is not known beforehand" if one.cost is None else f"It costs {format_amount(one.cost)}"
    return f"{known}, and max_cost allows less."


def _within_budget(job: Job, found: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """Leave out what costs more than the caller wants to spend, or an unknown sum."""
    if "max_cost" not in job.values:
        return tuple(found)
    limit = floor_to_micros(float(job.values["max_cost"]))
    within = tuple(one for one in found if one.cost is not None and one.cost <= limit)
    if not within:
        known = [one.cost for one in found if one.cost is not None]
        least = f"the least is {format_amount(min(known))}" if known else "what it costs is not known beforehand"
        message = f"max_cost: no provider makes this for {format_amount(limit)}; {least}."
        raise InvalidRequest(message, param="max_cost")
    return within


DEGRADES = "It does not invent detail, and this request may not be degraded."
RESTS = "It failed lately and rests; it is asked again in a while."
SPENT = "Failed tries have cost something, and max_cost does not allow what it costs as well."


@dataclass(frozen=True, slots=True)
class RoutingDecision:
    """Who may do a job, best first, who may not, and who would be the best if all were well and could do it."""

    order: tuple[Candidate, ...]
    excluded: tuple[Excluded, ...]
    best: Offer

    def degraded(self, offer: Offer) -> bool:
        """Whether this offer's work stands in for detail that another would have invented."""
        return self.best.generative and not offer.generative

    def without(self, name: str) -> RoutingDecision:
        """Return the choice after a provider was passed over because failed tries have cost something."""
        return replace(self, excluded=(*self.excluded, Excluded(name, SPENT)))

    def unasked(self, offer: Offer, tried: Collection[str]) -> tuple[Excluded, ...]:
        """Return who was not asked where this offer did the work; of the order only whom it stands in for."""
        known = {*tried, *(one.provider for one in self.excluded)}
        better = [one.offer.provider for one in self.order if self.degraded(offer) and one.offer.generative]
        return *self.excluded, *(Excluded(name, RESTS) for name in better if name not in known)


def decide(
    job: Job,
    offers: Sequence[Offer],
    able: RoutingCandidates,
    policy: str,
    standings: Mapping[str, ProviderHealth],
    *,
    whole: bool,
) -> RoutingDecision:
    """Return who does a job, of the `offers` that were asked and the ones that are `able` to.

    Under `whole` or `strict` nobody stands in for those that invent detail. Where none of them can do it, raises what
    the best one refuses, naming its parameter. Who is too over_budget for the caller's own limit is no better choice.
    """
    if len(offers) == 1:
        return RoutingDecision(able.found, (), offers[0])
    by_name = {one.offer.provider: one for one in able.found}
    costs = {name: one.cost for name, one in by_name.items()}
    speeds = {name: ProviderHealth(seconds=one.seconds) for name, one in standings.items()}  # as if all were well
    best = order_offers([offer for offer in offers if offer.provider not in able.over_budget], policy, costs, speeds)[0]
    order = order_offers([one.offer for one in able.found], policy, costs, standings)
    excluded = able.excluded
    if best.generative and (whole or job.values.get("strict")):
        plain = [offer.provider for offer in order if not offer.generative]
        order = tuple(offer for offer in order if offer.generative)
        if not order:
            refusal = able.refused[best.provider]
            message = f"{refusal.message} {plain[0]}/{job.model} makes it without inventing detail."
            raise InvalidRequest(message, param=refusal.param)
        excluded += tuple(Excluded(name, DEGRADES) for name in plain)
    return RoutingDecision(tuple(by_name[offer.provider] for offer in order), excluded, best)
