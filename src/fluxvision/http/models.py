"""GET /models, /models/{id} and their llms.txt: the catalogue in OpenAI's format, and the JSON Schema of a model."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from fluxvision.catalog import catalog, describe, listing
from fluxvision.catalog.coerce import TRUE
from fluxvision.http.media import public_base
from fluxvision.http.parsing.fields import query_parameters
from fluxvision.http.state import AppState

MARKDOWN = "text/markdown; charset=utf-8"


async def list_models(state: AppState, scope: Scope, receive: Receive, send: Send) -> None:
    """Send the models that are to be had here, with `?all=true` the others too, and their aliases."""
    body = listing.describe_all(
        state.gateway.models,
        state.gateway.providers,
        aliases=state.settings.list_aliases,
        every=query_parameters(scope).get("all", "").lower() in TRUE,
    )
    await _json(body)(scope, receive, send)


async def show_model(state: AppState, scope: Scope, receive: Receive, send: Send) -> None:
    """Send one model by id, alias or provider/model; with `?schema=true` its parameters too."""
    model, pin, _ = state.gateway.find(scope["path_params"]["id"])
    body = listing.describe_model(model, state.gateway.providers)
    if query_parameters(scope).get("schema", "").lower() in TRUE:
        body = listing.ModelCard(
            **msgspec.structs.asdict(body),
            schema=describe.request_schema(model, catalog.model_params(model)),
            parameters=[listing.offer_modes(offer) for offer in model.offers if pin in {None, offer.provider}],
        )
    await _json(body)(scope, receive, send)


async def model_page(state: AppState, scope: Scope, receive: Receive, send: Send) -> None:
    """Send one model as llms.txt."""
    model, _, _ = state.gateway.find(scope["path_params"]["id"])
    text = describe.markdown_page(model, catalog.model_params(model), _api_base(state, scope))
    await Response(text, media_type=MARKDOWN)(scope, receive, send)


async def models_index(state: AppState, scope: Scope, receive: Receive, send: Send) -> None:
    """Send the catalogue as llms.txt."""
    await Response(describe.markdown_index(state.gateway.models, _api_base(state, scope)), media_type=MARKDOWN)(
        scope, receive, send
    )


def _api_base(state: AppState, scope: Scope) -> str:
    return public_base(state.settings.public_url, scope) + "/openai/v1"


def _json(body: Any) -> Response:
    return Response(msgspec.json.encode(body, enc_hook=str), media_type="application/json")
