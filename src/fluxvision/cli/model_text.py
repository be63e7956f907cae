"""Builds the output of `fluxvision models`: offers, prices, and how each parameter reaches a provider."""

from __future__ import annotations

import asyncio
import json
import textwrap
from collections import Counter
from collections.abc import Mapping
from typing import Any

import msgspec

from fluxvision.catalog import catalog, listing
from fluxvision.catalog.describe import destination, format_factors, format_offer_price, rule_notes
from fluxvision.catalog.normalize import strongest_mode
from fluxvision.catalog.params import describe_param
from fluxvision.catalog.rules import Model, Offer
from fluxvision.cli.dependencies import Dependencies
from fluxvision.cli.text import TIMES, format_columns, replace_with_flags
from fluxvision.core.load_settings import load_settings
from fluxvision.core.receipt_schemas import STRENGTH

OPENAIS = frozenset({"object", "created", "owned_by", "title"})
"""Fields of a model that only OpenAI's clients need."""
LEGEND = (
    "Modes: passthrough is sent unchanged, renamed under the provider's word, converted by a formula, "
    "emulated by this program."
)
WIDTH = 100


def describe_models(dependencies: Dependencies, name: str | None, *, as_json: bool) -> str:
    """Return all models, or one with its parameters; raises `ModelNotFound`."""
    known, ready = asyncio.run(_ask_gateway(dependencies))
    if name is None:
        return (
            json.dumps([_model_facts(model, ready, model.offers) for model in known])
            if as_json
            else _models_table(known, ready)
        )
    model, pin = catalog.find_model(name, known)
    offers = [offer for offer in model.offers if pin in {None, offer.provider}]
    return json.dumps(_model_facts(model, ready, offers)) if as_json else _model_page(model, offers)


async def _ask_gateway(dependencies: Dependencies) -> tuple[tuple[Model, ...], Mapping[str, bool]]:
    gateway = dependencies.create_gateway(load_settings())
    try:
        return gateway.models, await gateway.ping()
    finally:
        await gateway.aclose()


def _models_table(known: tuple[Model, ...], ready: Mapping[str, bool]) -> str:
    rows = [("MODEL", "PROVIDER", "PRICE", "ENLARGES", "READY", "MODES OF ITS PARAMETERS")]
    for model in known:
        for offer in model.offers:
            modes = Counter(strongest_mode(rules) for rules in offer.rules.values())
            counts = ", ".join(f"{modes[mode]} {mode}" for mode in STRENGTH if modes[mode])
            state = {True: "yes", False: "no", None: "not configured"}[ready.get(offer.provider)]
            rows.append((model.id, offer.provider, format_offer_price(offer), _format_factors(offer), state, counts))
    return f"{format_columns(rows)}\n{LEGEND}\n`fluxvision models <model>` lists its parameters and engines."


def _model_page(model: Model, offers: list[Offer]) -> str:
    """Return the page of one model: its description, then for each offer a line per parameter."""
    names = ", ".join((*model.aliases, *model.b64_aliases))
    parts = [
        f"{model.id}: {model.name}",
        model.description,
        textwrap.fill(f"Also called {names}.", WIDTH),
    ]
    for offer in offers:
        parts.append(f"\n{offer.provider} ({format_offer_price(offer)}, {_format_factors(offer)})")
        rows = [("PARAMETER", "FLAG", "VALUES", "MODE", "BECOMES")]
        notes = []
        for param in catalog.model_params(model):
            rules = offer.rules[param.name]
            rows.append(
                (param.name, param.flag or "", describe_param(param), strongest_mode(rules), destination(rules))
            )
            notes += [f"  {param.name}: {replace_with_flags(words)}" for words in [rule_notes(rules)] if words]
        parts += [format_columns(rows), *(["Notes:", *notes] if notes else [])]
    return "\n".join([*parts, LEGEND])


def _format_factors(offer: Offer) -> str:
    return format_factors(offer) + ("" if offer.factors is None else TIMES)


def _model_facts(model: Model, ready: Mapping[str, bool], offers: list[Offer] | tuple[Offer, ...]) -> dict[str, Any]:
    told = {
        **msgspec.to_builtins(listing.describe_model(model, ready)),
        "offers": [
            {
                **msgspec.to_builtins(listing.describe_offer(offer, ready)),
                "ready": ready.get(offer.provider, False),
                **msgspec.to_builtins(listing.offer_modes(offer)),
            }
            for offer in offers
        ],
    }
    return {name: told[name] for name in told if name not in OPENAIS}
