"""Describes the catalogue as JSON: models, offers, prices, and how each parameter reaches a provider."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from fluxvision.catalog.catalog import ROUNDINGS
from fluxvision.catalog.describe import METRICS, estimate_megapixel, format_offer_price, rule_notes
from fluxvision.catalog.normalize import strongest_mode
from fluxvision.catalog.rules import Model, Offer, Rule, ScaleRange
from fluxvision.core.money import CURRENCY, Currency, to_dollars
from fluxvision.core.receipt_schemas import Mode, dollars_or_none

Metric = Annotated[str, Meta(extra_json_schema={"enum": [*METRICS]})]
Rounding = Annotated[str, Meta(extra_json_schema={"enum": sorted(ROUNDINGS)})]


class TierEntry(Struct, kw_only=True):
    """A price up to a quantity."""

    upto: Annotated[float | None, Meta(description="null: for all above.")]
    unit_price: float


class PriceEntry(Struct, kw_only=True):
    """A price in dollars."""

    metric: Metric
    unit_price: Annotated[float | None, Meta(description="null: not known.")]
    unit: Annotated[int, Meta(description="Pixels of a megapixel.")]
    rounding: Rounding
    block: Annotated[int, Meta(description="Every started block of so many units is charged.")]
    tiers: list[TierEntry]
    currency: Currency
    text: Annotated[str, Meta(description="The price as people say it.")]


class FactorsEntry(Struct, kw_only=True):
    """The scale factors of an offer: any from `low` to `high`, or only those in `only`."""

    low: float
    high: float
    only: Sequence[float]


class OfferEntry(Struct, kw_only=True):
    """A provider of the model, with its scale factors and price."""

    provider: str
    upstream: str
    configured: bool
    generative: bool
    factors: FactorsEntry | None
    price: PriceEntry
    estimate_per_megapixel: Annotated[
        float | None, Meta(description="What a result of one megapixel costs, in dollars.")
    ]
    note: str


class Modalities(Struct, kw_only=True):
    """Kinds of input and output."""

    input: list[Literal["image", "text"]]
    output: list[Literal["image"]]


class ModelEntry(Struct, kw_only=True):
    """A model in OpenAI's format, with title, description, tags, capabilities and offers added."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    name: str
    title: str
    description: str
    tags: Sequence[str]
    aliases: Sequence[str]
    capabilities: Sequence[str]
    modalities: Modalities
    available: Annotated[bool, Meta(description="Whether a provider of this model is configured here.")]
    offers: list[OfferEntry]


class ModelList(Struct, kw_only=True):
    """All models."""

    object: Literal["list"]
    data: list[ModelEntry]


class ModeEntry(Struct, kw_only=True):
    """How a parameter reaches the provider: the strongest mode of its rules, its upstream names, and a note."""

    mode: Mode
    upstream_names: list[str]
    sent: bool
    note: str


class OfferModes(Struct, kw_only=True):
    """The modes of all parameters at one provider."""

    provider: str
    upstream: str
    parameters: dict[str, ModeEntry]


class ModelCard(ModelEntry, kw_only=True):
    """A model with the JSON Schema of a request and each provider's modes."""

    schema: dict[str, Any]
    parameters: list[OfferModes]


def describe_all(models: Iterable[Model], configured: Collection[str]) -> ModelList:
    """Return OpenAI's list of models."""
    return ModelList(object="list", data=[describe_model(model, configured) for model in models])


def describe_model(row: Model, configured: Collection[str]) -> ModelEntry:
    """Return OpenAI's model object with title, description, offers and prices added.

    `configured` are the providers of this server; a model is available when one of them has it.
    """
    return ModelEntry(
        id=row.id,
        object="model",
        created=row.created,
        owned_by=row.creator,
        name=row.name,
        title=row.name,
        description=row.description,
        tags=row.tags,
        aliases=[*row.aliases, *row.b64_aliases],
        capabilities=row.capabilities,
        modalities=Modalities(input=["image", "text"], output=["image"]),
        available=any(one.provider in configured for one in row.offers),
        offers=[describe_offer(one, configured) for one in row.offers],
    )


def describe_offer(row: Offer, configured: Collection[str]) -> OfferEntry:
    """Return an offer's provider, scale factors and price; money in dollars."""
    return OfferEntry(
        provider=row.provider,
        upstream=row.upstream,
        configured=row.provider in configured,
        generative=row.generative,
        factors=None if row.factors is None else _describe_factors(row.factors),
        price=PriceEntry(
            metric=row.price.metric,
            unit_price=dollars_or_none(row.price.unit_price),
            unit=row.price.unit,
            rounding=row.price.rounding,
            block=row.price.block,
            tiers=[TierEntry(upto=tier.upto, unit_price=to_dollars(tier.unit_price)) for tier in row.price.tiers],
            currency=CURRENCY,
            text=format_offer_price(row),
        ),
        estimate_per_megapixel=dollars_or_none(estimate_megapixel(row.price)),
        note=row.note,
    )


def _describe_factors(factors: ScaleRange) -> FactorsEntry:
    return FactorsEntry(low=factors.low, high=factors.high, only=factors.only)


def offer_modes(row: Offer) -> OfferModes:
    """Return how every parameter reaches an offer's provider."""
    parameters = {name: _describe_mode(rules) for name, rules in row.rules.items()}
    return OfferModes(provider=row.provider, upstream=row.upstream, parameters=parameters)


def _describe_mode(rules: Sequence[Rule]) -> ModeEntry:
    return ModeEntry(
        mode=strongest_mode(rules),
        upstream_names=[name for rule in rules if (name := getattr(rule, "to", None))],
        sent=any(getattr(rule, "sent", rule.mode != "emulated") for rule in rules),
        note=rule_notes(rules),
    )
