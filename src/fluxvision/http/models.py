"""GET /models, /models/{id} and their llms.txt: the catalogue in OpenAI's format, and the JSON Schema of a model."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from fluxvision.catalog import catalog, describe, listing
from fluxvision.catalog.coerce import TRUE
from fluxvision.http.media import public_base
from fluxvision.http.requests.fields import query_parameters
from fluxvision.http.state import AppState

MARKDOWN = "text/markdown; charset=utf-8"


async def list_models(edge: AppState, scope: Scope, receive: Receive, send: Send) -> None:
    """Send all models."""
    await _json(listing.describe_all(edge.gateway.models, edge.gateway.providers))(scope, receive, send)


async def show_model(edge: AppState, scope: Scope, receive: Receive, send: Send) -> None:
    """Send one model by id, alias or provider/model; with `?schema=true` its parameters too."""
    model, pin, _ = edge.gateway.find(scope["path_params"]["id"])
    body = listing.describe_model(model, edge.gateway.providers)
    if query_parameters(scope).get("schema", "").lower() in TRUE:
        body = listing.ModelCard(
            **msgspec.structs.asdict(body),
            schema=describe.request_schema(model, catalog.model_params(model)),
            parameters=[listing.offer_modes(offer) for offer in model.offers if pin in {None, offer.provider}],
        )
    await _json(body)(scope, receive, send)


async def model_page(edge: AppState, scope: Scope, receive: Receive, send: Send) -> None:
    """Send one model as llms.txt."""
    model, _, _ = edge.gateway.find(scope["path_params"]["id"])
    text = describe.markdown_page(model, catalog.model_params(model), _api_base(edge, scope))
    await Response(text, media_type=MARKDOWN)(scope, receive, send)


async def models_index(edge: AppState, scope: Scope, receive: Receive, send: Send) -> None:
    """Send the catalogue as llms.txt."""
    await Response(describe.markdown_index(edge.gateway.models, _api_base(edge, scope)), media_type=MARKDOWN)(
        scope, receive, send
    )


def _api_base(edge: AppState, scope: Scope) -> str:
    return public_base(edge.settings.public_url, scope) + "/openai/v1"


def _json(body: Any) -> Response:
    return Response(msgspec.json.encode(body, enc_hook=str), media_type="application/json")
