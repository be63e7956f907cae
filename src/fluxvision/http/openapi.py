"""GET /openapi.json: the OpenAPI 3.1 document, built from routes, parameters, models and errors."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from fluxvision import __version__
from fluxvision.accounts.keys import Keys
from fluxvision.catalog.listing import describe_all
from fluxvision.catalog.rules import Model
from fluxvision.core.errors import AuthenticationFailed, Error, Forbidden, InternalError
from fluxvision.core.settings import Settings
from fluxvision.http import openapi_errors, openapi_schemas
from fluxvision.http.middleware import FACTS, KEYED, OPEN_PATHS
from fluxvision.http.openapi_accounts import ACCOUNT_OPERATIONS
from fluxvision.http.openapi_batches import BATCH_OPERATIONS
from fluxvision.http.openapi_chat import CHAT_OPERATIONS, chat_schemas
from fluxvision.http.openapi_errors import ALWAYS
from fluxvision.http.openapi_operations import JSON, OPERATIONS, Operation
from fluxvision.http.openapi_schemas import TEXT, schema_ref
from fluxvision.http.openapi_webhooks import WEBHOOK_OPERATIONS
from fluxvision.http.state import AppState

EXAMPLES = Path(__file__).with_name("openapi_examples.json")
"""Recorded requests and the responses of a real server."""
DESCRIPTION = """Enlarges pictures 1-16x behind an OpenAI-compatible images API.

Every answer to an edit lists in `normalization` what became of each parameter. Errors have OpenAI's body; a wrong
address is a 404 `NOT_FOUND`, a wrong method a 405 `METHOD_NOT_ALLOWED`. A key may come in
Azure's header `api-key`, too."""
TAGS = {
    "Images": "Enlarging.",
    "Requests": "What was asked for before, and background jobs.",
    "Batches": "Many edits from one file.",
    "Webhooks": "Messages about the end of requests.",
    "Models": "The catalogue.",
    "Accounts": "API keys, budgets and usage.",
    "Files": "Results.",
    "Operation": "Running the server.",
}
HEADERS = (
    ("X-Request-ID", "The id of this request, also in the server's log.", True),
    ("X-Fluxvision-Request-ID", "The same id, kept by proxies that set their own X-Request-ID.", True),
    ("OpenAI-Processing-Ms", "Milliseconds until the answer began.", True),
    ("Location", "Where the request is found.", True),
    ("Preference-Applied", "`respond-async`.", True),
    ("X-Fluxvision-Model", "The id of the model that was asked.", False),
    ("X-Fluxvision-Provider", "Who made the pictures.", False),
    ("X-Should-Retry", "false where a retry is useless or costs money.", True),
    ("Retry-After", "Seconds after which a retry makes sense.", False),
    ("Retry-After-Ms", "The same in milliseconds.", False),
    ("X-RateLimit-Limit-Requests", "Requests per minute that the key may make, where it has such a limit.", False),
    ("X-RateLimit-Remaining-Requests", "How many more of them are accepted now.", False),
    ("X-RateLimit-Reset-Requests", "Time until all of them are accepted again, such as 6m0s.", False),
    ("WWW-Authenticate", "Bearer.", True),
    ("Allow", "The methods that this address takes.", True),
    ("Content-Range", "Which part of the file this is; the file's size where the range lies behind its end.", False),
)


async def send_document(state: AppState, scope: Scope, receive: Receive, send: Send) -> None:
    """Send the document, which is encoded once."""
    headers = {"cache-control": "public, max-age=300"}
    await Response(state.openapi, headers=headers, media_type=JSON)(scope, receive, send)


def encode_document(
    routes: Sequence[tuple[str, str, str]],
    models: Sequence[Model],
    configured: Collection[str],
    settings: Settings,
    keys: Keys,
) -> bytes:
    """Return the encoded document."""
    base = settings.public_url.rstrip("/")
    return msgspec.json.encode(build_document(routes, models, configured, base=base, keyed=keys.required))


def build_document(
    routes: Sequence[tuple[str, str, str]],
    models: Sequence[Model],
    configured: Collection[str],
    *,
    base: str = "",
    keyed: bool = True,
) -> dict[str, Any]:
    """Return the document for routes of method, prefix and path, at the address `base` (empty: where it was fetched).

    `configured` are the providers; `keyed` tells whether a key is needed, otherwise it is optional.
    """
    examples = msgspec.json.decode(EXAMPLES.read_bytes())
    catalogue = msgspec.to_builtins(describe_all(models, configured))
    operations = {**OPERATIONS, **CHAT_OPERATIONS, **ACCOUNT_OPERATIONS, **WEBHOOK_OPERATIONS, **BATCH_OPERATIONS}
    examples["answers"]["list_models"] = {JSON: {"catalogue": catalogue}}
    requests = openapi_schemas.request_schemas(models)
    paths: dict[str, dict[str, Any]] = {}
    for method, prefix, path in routes:
        place = paths.setdefault(re.sub(r"{(\w+):\w+}", r"{\1}", prefix + path), {})
        place[method.lower()] = _operation(operations[method, path], prefix, path, examples, keyed=keyed)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Flux Vision Upscaler",
            "version": __version__,
            "description": DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": base or "/"}],
        "tags": [{"name": name, "description": text} for name, text in TAGS.items()],
        "paths": paths,
        "components": {
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
            "schemas": requests
            | chat_schemas(requests["EditDocument"])
            | openapi_schemas.response_schemas()
            | {"ErrorCode": openapi_errors.error_codes()},
            "responses": openapi_errors.error_responses(examples["errors"]),
            "headers": {
                name: {"description": text, "required": needed, "schema": TEXT} for name, text, needed in HEADERS
            },
        },
    }


def _operation(row: Operation, prefix: str, path: str, examples: Mapping[str, Any], *, keyed: bool) -> dict[str, Any]:
    guarded = (prefix + path).startswith(KEYED) and path != FACTS
    errors: list[type[Error]] = [*row.errors, InternalError]
    errors += [AuthenticationFailed] if guarded else []
    errors += [] if path in OPEN_PATHS else [Forbidden]
    responses: dict[str, Any] = openapi_errors.operation_errors(errors)
    for status, (text, headers, content) in row.answers.items():
        responses[status] = {
            "description": text,
            "headers": {name: schema_ref(name, "headers") for name in (*ALWAYS, *headers)},
            "content": {kind: _content(kind, schema, row, examples["answers"]) for kind, schema in content.items()},
        }
    found: dict[str, Any] = {
        # The prefix of OpenAI's own addresses is the usual one; further prefixes are part of the name.
        "operationId": "_".join(filter(None, (*prefix.removesuffix("/v1").split("/"), row.id))),
        "tags": [row.tag],
        "summary": row.summary,
        "security": [{"bearer": []}, *([] if keyed else [{}])] if guarded else [],
        "parameters": list(row.parameters),
        "responses": dict(sorted(responses.items())),
    }
    if row.body is not None:
        asked = _named_examples(examples["requests"][row.id])
        content = {kind: {**body, "examples": asked} for kind, body in row.body.items()}
        found["requestBody"] = {"required": True, "content": content}
    return found


def _content(kind: str, schema: Mapping[str, Any], row: Operation, answers: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {"schema": schema}
    examples = answers.get(row.id, {}).get(kind)
    if examples is not None:
        found["examples"] = _named_examples(examples)
    return found


def _named_examples(examples: Mapping[str, Any]) -> dict[str, Any]:
    return {name: {"value": value} for name, value in examples.items()}
