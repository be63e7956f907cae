"""The catalogue as this server's operator configured it: offers of other servers, and how a bill counts megapixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fluxvision.catalog.rules import Model, Offer, Price
from fluxvision.core.money import micros
from fluxvision.core.settings import ConfigError, Settings, Upstream

ELSEWHERE = "openai"
"""The provider of the offer that stands for every configured server."""


def configured(models: Sequence[Model], settings: Settings) -> tuple[Model, ...]:
    """Return the models with an offer for each configured server that has them, instead of the one that stands for all.

    Raises `ConfigError` for a server whose models are not in the catalogue, or cannot be had from elsewhere.
    """
    takes = {model.id for model in models if any(offer.provider == ELSEWHERE for offer in model.offers)}
    for upstream in settings.openai:
        unknown = sorted(set(upstream.models) - takes)
        if unknown or not upstream.models:
            given = ", ".join(unknown) or "none"
            message = f"openai: only {', '.join(sorted(takes))} can be had from {upstream.name}; its models has {given}"
            raise ConfigError(message, param="openai")
    return tuple(replace(model, offers=_offers(model, settings)) for model in models)


def _offers(model: Model, settings: Settings) -> tuple[Offer, ...]:
    found: list[Offer] = []
    for offer in model.offers:
        if offer.provider != ELSEWHERE:
            found.append(_counted(offer, settings))
            continue
        serving = [upstream for upstream in settings.openai if model.id in upstream.models]
        found += [_instance(offer, upstream, model.id) for upstream in serving] or [offer]
    return tuple(found)


def _instance(offer: Offer, upstream: Upstream, model: str) -> Offer:
    price = Price(upstream.per, None if upstream.price is None else micros(upstream.price))
    return replace(offer, provider=upstream.name, upstream=upstream.models[model], price=price, note=upstream.title)


def _counted(offer: Offer, settings: Settings) -> Offer:
    """Return fal's offers with the megapixel that the operator knows from the bill."""
    if offer.provider != "fal" or not offer.price.metric.endswith("megapixel"):
        return offer
    return replace(offer, price=replace(offer.price, unit=int(settings.fal_megapixel)))
