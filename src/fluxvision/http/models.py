"""GET /models and /models/{id}: the catalogue in OpenAI's shape, and the compiled schema of one model."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from fluxvision.http.edge import Edge
from fluxvision.http.query import parameters
from fluxvision.money import CURRENCY, dollars
from fluxvision.normalize import badge
from fluxvision.params import PARAMS, TRUE, Param
from fluxvision.rules import Model, Offer, Rule

KINDS = {"integer": "integer", "number": "number", "boolean": "boolean"}
MODALITIES = {"input": ["image", "text"], "output": ["image"]}


async def listing(edge: Edge, scope: Scope, receive: Receive, send: Send) -> None:
    """Send every model."""
    await _json(describe_all(edge.gateway.models))(scope, receive, send)


async def one(edge: Edge, scope: Scope, receive: Receive, send: Send) -> None:
    """Send one model by id, alias or provider/model; with `?schema=true` its parameters too."""
    model, pin, _ = edge.gateway.find(scope["path_params"]["id"])
    body = describe(model)
    if parameters(scope).get("schema", "").lower() in TRUE:
        body["schema"] = schema(model)
        body["parameters"] = [_offer(offer) for offer in model.offers if pin in {None, offer.provider}]
    await _json(body)(scope, receive, send)


def describe_all(models: Iterable[Model]) -> dict[str, Any]:
    """Return OpenAI's list of models."""
    return {"object": "list", "data": [describe(model) for model in models]}


def describe(model: Model) -> dict[str, Any]:
    """Return OpenAI's model object with what a person wants to know beside it."""
    return {
        "id": model.id,
        "object": "model",
        "created": model.created,
        "owned_by": model.creator,
        "name": model.name,
        "description": model.description,
        "tags": list(model.tags),
        "aliases": [*model.aliases, *model.b64_aliases],
        "providers": [
            {
                "provider": offer.provider,
                "upstream": offer.upstream,
                "max_factor": offer.max_factor,
                "price": {
                    "metric": offer.price.metric,
                    "unit_price": dollars(offer.price.unit_price),
                    "currency": CURRENCY,
                },
                "note": offer.note,
            }
            for offer in model.offers
        ],
        "modalities": MODALITIES,
    }


def schema(model: Model) -> dict[str, Any]:
    """Return the JSON Schema of a request body for this model."""
    name = {"type": "string", "const": model.id, "description": "The model's id."}
    return {
        "type": "object",
        "properties": {"model": name, **properties()},
        "required": ["model", *(param.name for param in PARAMS if param.required)],
        "additionalProperties": True,
    }


def properties() -> dict[str, Any]:
    """Return the JSON Schema of every public parameter, by name."""
    return {param.name: _property(param) for param in PARAMS}


def _property(param: Param) -> dict[str, Any]:
    found: dict[str, Any] = {"type": KINDS.get(param.kind, "string"), "description": param.help, "x-group": param.group}
    if param.kind == "picture":
        found["format"] = "binary"
    if param.default is not None:
        found["default"] = param.default
    if param.choices:
        found["enum"] = list(param.choices)
    if param.pattern is not None:
        found["pattern"] = f"^{param.pattern.pattern}$"
    low, high = ("minLength", "maxLength") if param.kind == "string" else ("minimum", "maximum")
    if param.low is not None and (param.low or param.kind != "string"):
        found[low] = param.low
    if param.high is not None:
        found[high] = param.high
    return found


def _offer(offer: Offer) -> dict[str, Any]:
    parameters = {name: _badge(rules) for name, rules in offer.rules.items() if rules}
    return {"provider": offer.provider, "upstream": offer.upstream, "parameters": parameters}


def _badge(rules: tuple[Rule, ...]) -> dict[str, Any]:
    """Return the strongest mode of a parameter's rules, with all their words."""
    names = [name for rule in rules if (name := getattr(rule, "to", None))]
    notes = [note for rule in rules if (note := getattr(rule, "note", ""))]
    sent = any(getattr(rule, "sent", rule.mode != "emulated") for rule in rules)
    return {"mode": badge(rules), "upstream_names": names, "sent": sent, "note": " ".join(notes)}


def _json(body: Any) -> Response:
    return Response(msgspec.json.encode(body, enc_hook=str), media_type="application/json")
