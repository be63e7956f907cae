"""Which offers of a model may serve a job, best first. Pure."""

from __future__ import annotations

from collections.abc import Collection

from fluxvision.errors import ModelNotFound, Unavailable
from fluxvision.rules import Model, Offer
from fluxvision.types import Job


def route(job: Job, model: Model, configured: Collection[str]) -> tuple[Offer, ...]:
    """Return the offers of configured providers in the table's order; a pinned provider stands alone.

    Raises `ModelNotFound` when the pinned provider is not configured here, `Unavailable` when no provider is.
    """
    offers = tuple(offer for offer in model.offers if offer.provider in configured)
    if job.pin is not None:
        offers = tuple(offer for offer in offers if offer.provider == job.pin)
        if not offers:
            message = f"The provider {job.pin} is not configured on this server."
            raise ModelNotFound(message, param="model")
    if not offers:
        message = f"No provider of {model.id} is configured on this server."
        raise Unavailable(message, param="model")
    return offers
