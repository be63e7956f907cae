"""Which offers of a model may serve a job, and in which order. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from math import inf

from fluxvision.catalog.rules import Model, Offer, Passthrough
from fluxvision.core.errors import ModelNotFound
from fluxvision.core.types import Job
from fluxvision.gateway.circuit_breaker import Standing


def route(job: Job, model: Model, configured: Collection[str]) -> tuple[Offer, ...]:
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


def ordered(
    offers: Sequence[Offer],
    policy: str,
    costs: Mapping[str, int | None],
    standings: Mapping[str, Standing],
) -> tuple[Offer, ...]:
    """Return the offers, best first.

    `policy` is quality (the table's order), price (the cost of this job in micro-dollars, unknown costs last) or
    latency (seconds, unknown ones first). What an offer is worth is divided by its provider's reliability: a provider
    that fails half of its calls counts as twice as dear. Providers that are out come last: a last resort.
    """
    if len(offers) == 1:
        return tuple(offers)
    places = {offer.provider: place for place, offer in enumerate(offers)}

    def worth(offer: Offer) -> tuple[bool, float, int]:
        standing = standings.get(offer.provider, Standing())
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
