"""GET /models, /models/{id} and their llms.txt: the catalogue in OpenAI's shape, and one model's compiled schema."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import msgspec
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from fluxvision.catalog import catalog, describe
from fluxvision.catalog.coerce import TRUE
from fluxvision.catalog.rules import Model
from fluxvision.http.media import base
from fluxvision.http.requests.fields import parameters
from fluxvision.http.state import Edge

MARKDOWN = "text/markdown; charset=utf-8"


async def listing(edge: Edge, scope: Scope, receive: Receive, send: Send) -> None:
    """Send every model."""
    await _json(describe_all(edge.gateway.models, edge.gateway.providers))(scope, receive, send)


async def one(edge: Edge, scope: Scope, receive: Receive, send: Send) -> None:
    """Send one model by id, alias or provider/model; with `?schema=true` its parameters too."""
    model, pin, _ = edge.gateway.find(scope["path_params"]["id"])
    body = describe.model(model, edge.gateway.providers)
    if parameters(scope).get("schema", "").lower() in TRUE:
        body["schema"] = describe.schema(model, catalog.rows(model))
        body["parameters"] = [describe.modes(offer) for offer in model.offers if pin in {None, offer.provider}]
    await _json(body)(scope, receive, send)


async def page(edge: Edge, scope: Scope, receive: Receive, send: Send) -> None:
    """Send one model as llms.txt."""
    model, _, _ = edge.gateway.find(scope["path_params"]["id"])
    text = describe.page(model, catalog.rows(model), _base(edge, scope))
    await Response(text, media_type=MARKDOWN)(scope, receive, send)


async def index(edge: Edge, scope: Scope, receive: Receive, send: Send) -> None:
    """Send the catalogue as llms.txt."""
    await Response(describe.index(edge.gateway.models, _base(edge, scope)), media_type=MARKDOWN)(scope, receive, send)


def describe_all(models: Iterable[Model], configured: Collection[str]) -> dict[str, Any]:
    """Return OpenAI's list of models."""
    return {"object": "list", "data": [describe.model(model, configured) for model in models]}


def _base(edge: Edge, scope: Scope) -> str:
    return base(edge.settings.public_url, scope) + "/openai/v1"


def _json(body: Any) -> Response:
    return Response(msgspec.json.encode(body, enc_hook=str), media_type="application/json")
