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


class ModelObject(Struct, kw_only=True):
    """A name of a model in OpenAI's format. That of an alias has no more; that of a model itself is a `ModelEntry`."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    root: Annotated[str, Meta(description="The model that an alias stands for; of a model itself its own id.")]


class ModelEntry(ModelObject, kw_only=True):
    """A model in OpenAI's format, with title, description, tags, capabilities and offers added."""

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
    """The models, and after them their aliases."""

    object: Literal["list"]
    data: list[ModelObject]


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


def describe_all(
    models: Iterable[Model], configured: Collection[str], *, aliases: bool = True, every: bool = False
) -> ModelList:
    """Return OpenAI's list of the models that a `configured` provider has, or of `every` one.

    With `aliases` their other names follow as entries of their own, because pickers show ids only; not those with a
    space, which no id has.
    """
    rows = [row for row in models if every or _is_available(row, configured)]
    data: list[ModelObject] = [describe_model(row, configured) for row in rows]
    if aliases:
        names = [(name, row) for row in rows for name in (*row.b64_aliases, *row.aliases) if " " not in name]
        data += [
            ModelObject(id=name, object="model", created=row.created, owned_by=row.creator, root=row.id)
            for name, row in names
        ]
    return ModelList(object="list", data=data)


def _is_available(row: Model, configured: Collection[str]) -> bool:
    return any(one.provider in configured for one in row.offers)


def describe_model(row: Model, configured: Collection[str]) -> ModelEntry:
    """Return OpenAI's model object with title, description, offers and prices added.

    `configured` are the providers of this server; a model is available when one of them has it.
    """
    return ModelEntry(
        id=row.id,
        object="model",
        created=row.created,
        owned_by=row.creator,
        root=row.id,
        name=row.name,
        title=row.name,
        description=row.description,
        tags=row.tags,
        aliases=[*row.aliases, *row.b64_aliases],
        capabilities=row.capabilities,
        modalities=Modalities(input=["image", "text"], output=["image"]),
        available=_is_available(row, configured),
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
