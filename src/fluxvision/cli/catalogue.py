"""What `fluxvision models` shows: who offers what at which price, and how each parameter reaches a provider."""

from __future__ import annotations

import asyncio
import json
import textwrap
from collections import Counter
from collections.abc import Mapping
from typing import Any

from fluxvision import catalog, config
from fluxvision.cli.ports import Gateway, Tools
from fluxvision.cli.words import TIMES, columns, in_flags, price
from fluxvision.money import CURRENCY, dollars
from fluxvision.normalize import STRENGTH, badge
from fluxvision.params import BY_NAME, PARAMS
from fluxvision.rules import Model, Offer, Passthrough, Rule

METRICS = {"image": "picture", "output_megapixel": "output megapixel"}
LEGEND = (
    "Modes: passthrough is sent unchanged, renamed under the provider's word, converted by a formula, "
    "emulated by this program."
)
WIDTH = 100


def told(tools: Tools, name: str | None, *, as_json: bool) -> str:
    """Return all models, or one with its parameters; raises `ModelNotFound`."""
    known, ready = asyncio.run(_ask(tools))
    if name is None:
        return json.dumps([_model(model, ready, model.offers) for model in known]) if as_json else _table(known, ready)
    model, pin = catalog.find(name, known)
    offers = [offer for offer in model.offers if pin in {None, offer.provider}]
    return json.dumps(_model(model, ready, offers)) if as_json else _page(model, offers)


async def _ask(tools: Tools) -> tuple[tuple[Model, ...], Mapping[str, bool]]:
    gateway: Gateway = tools.create_gateway(config.load())
    try:
        return gateway.models, await gateway.ping()
    finally:
        await gateway.aclose()


def _table(known: tuple[Model, ...], ready: Mapping[str, bool]) -> str:
    rows = [("MODEL", "PROVIDER", "PRICE", "ENLARGES", "READY", "MODES OF ITS PARAMETERS")]
    for model in known:
        for offer in model.offers:
            modes = Counter(badge(rules) for rules in offer.rules.values())
            counts = ", ".join(f"{modes[mode]} {mode}" for mode in STRENGTH if modes[mode])
            state = {True: "yes", False: "no", None: "not configured"}[ready.get(offer.provider)]
            rows.append((model.id, offer.provider, _price(offer), f"1 to {offer.max_factor:g}{TIMES}", state, counts))
    engines = ", ".join(BY_NAME["engine"].choices)
    return f"{columns(rows)}\nEngines: {engines}.\n{LEGEND}\n`fluxvision models <model>` lists the parameters."


def _page(model: Model, offers: list[Offer]) -> str:
    """Return everything about one model: its words, then for each offer a line per parameter."""
    names = ", ".join((*model.aliases, *model.b64_aliases))
    parts = [
        f"{model.id}: {model.name}",
        model.description,
        textwrap.fill(f"Also called {names}.", WIDTH),
    ]
    for offer in offers:
        parts.append(f"\n{offer.provider} ({_price(offer)}, up to {offer.max_factor:g}{TIMES})")
        rows = [("PARAMETER", "FLAG", "MODE", "BECOMES")]
        notes = []
        for param in PARAMS:
            rules = offer.rules.get(param.name, ())
            if not rules:
                continue
            rows.append((param.name, param.flag or "", badge(rules), _becomes(rules)))
            notes += [f"  {param.name}: {in_flags(note)}" for rule in rules if (note := getattr(rule, "note", ""))]
        parts += [columns(rows), *(["Notes:", *notes] if notes else [])]
    return "\n".join([*parts, LEGEND])


def _becomes(rules: tuple[Rule, ...]) -> str:
    """Return where a parameter ends: the provider's names, the gateway itself, or nowhere."""
    ends = []
    for rule in rules:
        if isinstance(rule, Passthrough):
            ends.append("the same" if rule.sent else "not sent")
        else:
            ends.append(str(getattr(rule, "to", "done here")))
    return ", ".join(dict.fromkeys(ends))


def _price(offer: Offer) -> str:
    amount = offer.price.unit_price
    return f"{price(amount)} per {METRICS.get(offer.price.metric, offer.price.metric)}" if amount else "$0"


def _model(model: Model, ready: Mapping[str, bool], offers: list[Offer] | tuple[Offer, ...]) -> dict[str, Any]:
    return {
        "id": model.id,
        "name": model.name,
        "description": model.description,
        "aliases": [*model.aliases, *model.b64_aliases],
        "offers": [
            {
                "provider": offer.provider,
                "upstream": offer.upstream,
                "ready": ready.get(offer.provider, False),
                "max_factor": offer.max_factor,
                "price": {
                    "metric": offer.price.metric,
                    "unit_price": dollars(offer.price.unit_price),
                    "currency": CURRENCY,
                },
                "parameters": {
                    name: {
                        "mode": badge(rules),
                        "becomes": _becomes(rules),
                        "note": " ".join(note for rule in rules if (note := getattr(rule, "note", ""))),
                    }
                    for name, rules in offer.rules.items()
                },
            }
            for offer in offers
        ],
    }
