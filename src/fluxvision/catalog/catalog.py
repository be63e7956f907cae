"""CATALOG, the table of all models: checked on import, extended by the settings, searched by name or alias."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from difflib import get_close_matches
from functools import lru_cache
from itertools import pairwise
from typing import Any

from fluxvision.catalog.coerce import coerce
from fluxvision.catalog.models.aura_sr import MODEL as AURA_SR
from fluxvision.catalog.models.clarity_upscaler import MODEL as CLARITY_UPSCALER
from fluxvision.catalog.models.esrgan import MODEL as ESRGAN
from fluxvision.catalog.models.flux_vision_upscaler import MODEL as FLUX_VISION_UPSCALER
from fluxvision.catalog.models.recraft_crisp_upscale import MODEL as RECRAFT_CRISP_UPSCALE
from fluxvision.catalog.models.seedvr import MODEL as SEEDVR
from fluxvision.catalog.models.topaz_upscale import MODEL as TOPAZ_UPSCALE
from fluxvision.catalog.params import PARAMS, Param, narrow
from fluxvision.catalog.rules import Model, Offer, Price
from fluxvision.core.custom_engines import find_networks
from fluxvision.core.errors import ConfigError, InvalidRequest, ModelNotFound
from fluxvision.core.money import to_micros
from fluxvision.core.openai_servers import OpenAIServer
from fluxvision.core.settings import Settings
from fluxvision.core.types import Scalar

EMBEDDED = "embedded"
ELSEWHERE = "openai"
"""The provider name of the placeholder offer, replaced by one offer per server in the setting `openai`."""


def configure_offers(models: Sequence[Model], settings: Settings) -> tuple[Model, ...]:
    """Return the models with the placeholder offer replaced by one offer per configured server that has the model.

    Raises `ConfigError` for a server that lists no models, or a model that has no placeholder offer.
    """
    takes = {model.id for model in models if any(offer.provider == ELSEWHERE for offer in model.offers)}
    for server in settings.openai:
        unknown = sorted(set(server.models) - takes)
        if unknown or not server.models:
            given = ", ".join(unknown) or "none"
            message = f"openai: only {', '.join(sorted(takes))} can be had from {server.name}; its models has {given}"
            raise ConfigError(message, param="openai")
    own = tuple(find_networks(settings.models_dir))
    return tuple(
        replace(model, offers=_configured_offers(model, settings), narrows=_with_engines(model, own))
        for model in models
    )


def _with_engines(model: Model, own: Sequence[str]) -> Mapping[str, Mapping[str, Any]]:
    """Return what a model narrows, with networks of one's own among the engines of the embedded one."""
    engine = model.narrows.get("engine", {})
    if not own or not any(offer.provider == EMBEDDED for offer in model.offers):
        return model.narrows
    taken = next((name for name in own if name in {*engine["choices"], *engine["synonyms"]}), None)
    if taken is not None:
        message = f"models_dir: {taken} is the name of an engine already; rename the file"
        raise ConfigError(message, param="models_dir")
    return {**model.narrows, "engine": {**engine, "choices": (*engine["choices"], *own)}}


def _configured_offers(model: Model, settings: Settings) -> tuple[Offer, ...]:
    found: list[Offer] = []
    for offer in model.offers:
        if offer.provider != ELSEWHERE:
            found.append(_numbered_names(offer, settings))
            continue
        serving = [server for server in settings.openai if model.id in server.models]
        found += [_server_offer(offer, server, model.id) for server in serving] or [offer]
    return tuple(found)


def _server_offer(offer: Offer, server: OpenAIServer, model: str) -> Offer:
    price = Price(server.per, None if server.price is None else to_micros(server.price))
    return replace(offer, provider=server.name, upstream=server.models[model], price=price, note=server.title)


def _numbered_names(offer: Offer, settings: Settings) -> Offer:
    """Return a fal offer priced per megapixel with the megapixel size of the setting `fal_megapixel`."""
    if offer.provider != "fal" or not offer.price.metric.endswith("megapixel"):
        return offer
    return replace(offer, price=replace(offer.price, unit=int(settings.fal_megapixel)))


CATALOG: tuple[Model, ...] = (
    FLUX_VISION_UPSCALER,
    CLARITY_UPSCALER,
    ESRGAN,
    AURA_SR,
    SEEDVR,
    RECRAFT_CRISP_UPSCALE,
    TOPAZ_UPSCALE,
)

LONGEST_SHOWN = 80
VERSION = re.compile(r"[a-z0-9][a-z0-9.-]{0,63}")
"""Matches the rest of a model name after the prefix of its family."""
KNOWN = frozenset(row.name for row in PARAMS)
NARROWABLE = frozenset(row.name for row in fields(Param)) - {"name", "unsupported"}
METRICS = frozenset({"image", "output_megapixel", "input_megapixel", "second"})
ROUNDINGS = frozenset({"none", "up", "up_min_1"})


def check_models(models: Iterable[Model]) -> None:
    """Raise ValueError when the table is inconsistent.

    That is when two names collide, an offer lacks a rule or has one for an unknown parameter, a narrowed row has an
    unknown field or a default out of its range, or a price cannot be computed.
    """
    seen: dict[str, str] = {}
    models = tuple(models)
    for model in models:
        for name in (model.id, *model.aliases, *model.b64_aliases):
            if seen.setdefault(name.lower(), model.id) != model.id or not name:
                message = f"two models share the name {name}"
                raise ValueError(message)
            if any(other.id != model.id and _is_in_family(name.lower(), other) for other in models):
                message = f"{name} is a name of another model's family"
                raise ValueError(message)
        _check_narrowed(model)
        for offer in model.offers:
            wrong = KNOWN.symmetric_difference(offer.rules) | {name for name, rules in offer.rules.items() if not rules}
            if wrong:
                message = f"{offer.provider}/{model.id} has no rule, or a needless one, for {sorted(wrong)}"
                raise ValueError(message)
            if not _is_computable(offer.price):
                message = f"{offer.provider}/{model.id} has a price that cannot be computed"
                raise ValueError(message)


def _check_narrowed(model: Model) -> None:
    for name, facts in model.narrows.items():
        wrong = {name} - KNOWN or set(facts) - NARROWABLE
        if wrong:
            message = f"{model.id} narrows what does not exist: {sorted(wrong)}"
            raise ValueError(message)
    known = {row.name: row for row in model_params(model)}
    for one in model.implied:
        if one.parameter not in known or not _accepts_value(known[one.parameter], one.means):
            message = f"{model.id} implies what {one.parameter} does not take"
            raise ValueError(message)
    for row in known.values():
        if row.default is not None and not _accepts_value(row, row.default):
            message = f"{model.id} has a default out of range for {row.name}"
            raise ValueError(message)


def _accepts_value(row: Param, value: Scalar) -> bool:
    """Return whether a parameter accepts a value without changing it."""
    try:
        return coerce(row, value) == value
    except InvalidRequest:
        return False


def _is_computable(price: Price) -> bool:
    """Return whether metric and rounding are known, numbers are positive, and tiers rise to an unlimited last one."""
    limits = [float("inf") if tier.upto is None else tier.upto for tier in price.tiers]
    rising = all(low < high for low, high in pairwise(limits))
    open_ended = not limits or (limits[-1] == float("inf") and price.tiers[0].unit_price == price.unit_price)
    positive = (price.unit_price is None or price.unit_price >= 0) and price.unit > 0 and price.block > 0
    return price.metric in METRICS and price.rounding in ROUNDINGS and positive and rising and open_ended


def model_params(model: Model) -> tuple[Param, ...]:
    """Return the public parameters with the ranges, choices and defaults of a model."""
    return narrow(PARAMS, model.narrows)


def implied_values(model: Model, values: Mapping[str, Scalar], extras: Mapping[str, Any]) -> Mapping[str, Scalar]:
    """Return the parameter values that a provider's own parameters in `extras` imply; empty when a size is given."""
    if "scale_factor" in values or "resolution" in values or "x" in str(values.get("size", "")):
        return {}
    return {row.parameter: row.means for row in model.implied if extras.get(row.word) == row.value}


def default_factor(model: Model) -> float:
    """Return the scale factor that a model uses when the caller gives no size."""
    return next(
        float(row.default) for row in model_params(model) if row.name == "scale_factor" and row.default is not None
    )


def _is_in_family(name: str, model: Model) -> bool:
    """Return whether a name that is not listed begins as a family of OpenAI names does: dated or newer versions."""
    return any(
        name.startswith(family) and VERSION.fullmatch(name.removeprefix(family)) for family in model.b64_families
    )


check_models(CATALOG)


def prefers_base64(name: str, model: Model) -> bool:
    """Return whether the caller used a model name whose clients read only base64, with or without a provider prefix."""
    own = name.strip().lower().rpartition("/")[2]
    return own in _lower_names(model.b64_aliases) or _is_in_family(own, model)


@lru_cache(maxsize=1024)
def _lower_names(names: tuple[str, ...]) -> frozenset[str]:
    return frozenset(name.lower() for name in names)


def find_model(name: str, models: Iterable[Model] = CATALOG) -> tuple[Model, str | None]:
    """Return the model of a name (id, alias or provider/id, any case) and the provider that the name pins.

    Raises `ModelNotFound`: the message lists the model's providers when only the provider is wrong, else it suggests
    the nearest name.
    """
    wanted = name.strip().lower()
    pin, _, rest = wanted.partition("/")
    meant: Model | None = None
    for model in models:
        known = _lower_names((model.id, *model.aliases, *model.b64_aliases))
        if wanted in known or _is_in_family(wanted, model):
            return model, None
        if rest in known or _is_in_family(rest, model):
            for offer in model.offers:
                if offer.provider.lower() == pin:
                    return model, offer.provider
            meant = model
    if meant is not None:
        raise _not_offered_error(name, meant)
    shown = name if _is_showable(name) else f"of {len(name):,} characters"
    near = get_close_matches(wanted[:LONGEST_SHOWN], [model.id for model in models], n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]}?" if near else " GET /models lists the models."
    message = f"There is no model {shown}.{hint}"
    raise ModelNotFound(message, param="model")


def _is_showable(name: str) -> bool:
    return len(name) <= LONGEST_SHOWN and name.isprintable()


def _not_offered_error(name: str, model: Model) -> ModelNotFound:
    """Return the error for a name that pins a provider which does not have the model."""
    pin = name.strip().partition("/")[0]
    providers = ", ".join(offer.provider for offer in model.offers)
    what = f"{pin} is no provider" if pin and _is_showable(pin) else "What stands before the slash is no provider"
    message = f"{what} of {model.id}; it can be had from {providers}."
    return ModelNotFound(message, param="model")
