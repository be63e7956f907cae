"""OPERATIONS: a row per route of the API, for the OpenAPI document.

The module is long because the table is: a row per route.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fluxvision.core.errors import (
    Busy,
    Cancelled,
    DeadlineExceeded,
    Error,
    Exhausted,
    IdempotencyConflict,
    ImageRequired,
    InsufficientBalance,
    InvalidRequest,
    Misconfigured,
    ModelNotFound,
    NotFound,
    PayloadTooLarge,
    PolicyRefused,
    RangeNotSatisfiable,
    TooMany,
    Unavailable,
    UnsupportedMediaType,
    UploadTooSlow,
    UpstreamBusy,
    UpstreamError,
    UpstreamRefused,
    UpstreamUnreachable,
)
from fluxvision.core.job_status import STATUSES
from fluxvision.http.openapi_errors import RATE_LIMITS
from fluxvision.http.openapi_schemas import object_schema, schema_ref
from fluxvision.imaging.deep_zoom import STEM
from fluxvision.storage.media_folder import EXTENSIONS

JSON = "application/json"
MARKDOWN = "text/markdown"
FILE = {"type": "string", "format": "binary"}
MADE = ("X-Fluxvision-Model", "X-Fluxvision-Provider", *RATE_LIMITS)


@dataclass(frozen=True, slots=True)
class Operation:
    """A route in the document. `answers` has a text, headers, and schemas by content type for each status."""

    id: str
    tag: str
    summary: str
    answers: Mapping[str, tuple[str, tuple[str, ...], Mapping[str, Any]]]
    parameters: tuple[Mapping[str, Any], ...] = ()
    errors: tuple[type[Error], ...] = ()
    body: Mapping[str, Any] | None = None


def parameter(name: str, where: str, text: str, schema: Mapping[str, Any], *, needed: bool = False) -> dict[str, Any]:
    """Return a parameter of an operation."""
    return {"name": name, "in": where, "description": text, "required": needed or where == "path", "schema": schema}


def json_response(name: str, text: str) -> dict[str, tuple[str, tuple[str, ...], Mapping[str, Any]]]:
    """Return the response of an operation that sends a JSON body."""
    return {"200": (text, (), {JSON: schema_ref(name)})}


def event_schema(name: str, data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema of a server-sent event."""
    text = {"type": "string", "contentMediaType": JSON, "contentSchema": data}
    return object_schema("A line `event` and a line `data`, which is JSON.", {"event": {"const": name}, "data": text})


def edit_events(kind: str = "image_edit") -> list[dict[str, Any]]:
    """Return the schemas of a stream's events; `kind` is what their types begin with."""
    return [
        event_schema(f"{kind}.partial_image", schema_ref("PartialImageEvent")),
        event_schema(f"{kind}.completed", schema_ref("CompletedEvent")),
        ERROR_EVENT,
    ]


ERROR_EVENT = event_schema("error", schema_ref("ErrorBody"))
EDIT_EVENTS = edit_events()
WORD, FLAG = {"type": "string"}, {"type": "boolean", "default": False}
EDIT = {
    "multipart/form-data": {
        "schema": schema_ref("EditForm"),
        "encoding": {name: {"contentType": "image/*, text/plain"} for name in ("image", "image[]", "mask")},
    },
    JSON: {"schema": schema_ref("EditDocument")},
}
PICTURES = dict.fromkeys(EXTENSIONS, FILE)
ZOOM = f"/media/{{name}}/{{expires}}/{{signature}}/{STEM}"
SIGNED = (
    parameter("name", "path", "As in the link.", WORD),
    parameter("expires", "path", "As in the link.", {**WORD, "pattern": r"^[0-9]{1,12}$"}),
    parameter("signature", "path", "As in the link.", {**WORD, "pattern": r"^[0-9a-f]{64}$"}),
)
IDEMPOTENCY = (
    "The same key within 24 hours gets the same answer without further work or cost, and waits while that goes on."
)
IDEMPOTENCY_KEY = parameter("Idempotency-Key", "header", IDEMPOTENCY, {"type": "string", "maxLength": 255})
REQUEST_ID = parameter("id", "path", "The id of the request.", WORD)
LIMIT = {"type": "integer", "minimum": 1, "maximum": 100}


def edit_operation(
    operation_id: str,
    summary: str,
    response: str = "ImagesResponse",
    events: Sequence[Mapping[str, Any]] = EDIT_EVENTS,
    body: Mapping[str, Any] = EDIT,
) -> Operation:
    """Return a route that enlarges a picture: the name of its response's schema, and the schemas of its events."""
    return Operation(
        operation_id,
        "Images",
        summary,
        {
            "200": (
                "The pictures; with `dryRun=true` the price; with `stream=true` events, and progress as comments.",
                MADE,
                {
                    JSON: {"anyOf": [schema_ref(response), schema_ref("QuoteResponse")]},
                    "text/event-stream": {"oneOf": list(events)},
                },
            ),
            "202": (
                "A background job was entered: where it is found, and how it stands.",
                ("Location", "Preference-Applied"),
                {JSON: schema_ref("RequestObject")},
            ),
        },
        (
            parameter("dryRun", "query", "Check and price the request, and start nothing.", FLAG),
            IDEMPOTENCY_KEY,
            parameter("Prefer", "header", "`respond-async`: answer 202 at once, and run it in the background.", WORD),
        ),
        (
            InvalidRequest,
            ImageRequired,
            IdempotencyConflict,
            PolicyRefused,
            InsufficientBalance,
            NotFound,
            ModelNotFound,
            UploadTooSlow,
            PayloadTooLarge,
            UnsupportedMediaType,
            Busy,
            TooMany,
            UpstreamBusy,
            Cancelled,
            Misconfigured,
            UpstreamError,
            UpstreamUnreachable,
            UpstreamRefused,
            Exhausted,
            Unavailable,
            DeadlineExceeded,
        ),
        body,
    )


OPERATIONS: Mapping[tuple[str, str], Operation] = {
    ("POST", "/images/edits"): edit_operation("edit_image", "Enlarge a picture"),
    ("POST", "/images/generations"): edit_operation(
        "generate_image",
        "Enlarge a picture, for clients that send it here; without one 400",
        events=edit_events("image_generation"),
    ),
    ("POST", "/images/variations"): edit_operation("vary_image", "Enlarge a picture with another seed"),
    ("GET", "/requests"): Operation(
        "list_requests",
        "Requests",
        "List the caller's requests, the newest first",
        json_response("RequestList", "A page of requests."),
        (
            parameter("status", "query", "Only those in this state.", {"enum": [*STATUSES]}),
            parameter("created_after", "query", "Only those after this Unix time.", {"type": "number"}),
            parameter("limit", "query", "Most requests on the page; 20 without.", LIMIT),
            parameter("cursor", "query", "`next_cursor` of the page before.", WORD),
        ),
        (InvalidRequest, NotFound, Unavailable),
    ),
    ("GET", "/requests/{id}"): Operation(
        "get_request",
        "Requests",
        "Show a request, with its response when it has ended",
        json_response("RequestObject", "The request."),
        (REQUEST_ID,),
        (NotFound, Unavailable),
    ),
    ("DELETE", "/requests/{id}"): Operation(
        "cancel_request",
        "Requests",
        "Cancel a request; one that has ended stays as it is",
        json_response("RequestObject", "The request."),
        (REQUEST_ID,),
        (NotFound, Unavailable),
    ),
    ("GET", "/requests/{id}/events"): Operation(
        "follow_request",
        "Requests",
        "Follow a request from now on: its progress as comments, its pictures as events",
        {
            "200": (
                "The events.",
                (),
                {"text/event-stream": {"oneOf": EDIT_EVENTS}},
            )
        },
        (REQUEST_ID,),
        (NotFound, Unavailable),
    ),
    ("DELETE", "/requests/{id}/payloads"): Operation(
        "purge_request",
        "Requests",
        "Delete what a request asked for and was answered, pictures included",
        json_response("RequestObject", "What is left of it."),
        (REQUEST_ID,),
        (InvalidRequest, NotFound, Unavailable),
    ),
    ("GET", "/models"): Operation(
        "list_models",
        "Models",
        "List the models that a provider here has, and their aliases",
        json_response("ModelList", "The catalogue."),
        (parameter("all", "query", "Add the models that no provider here has.", FLAG),),
    ),
    ("GET", "/models/{id:path}"): Operation(
        "get_model",
        "Models",
        "Describe a model",
        {"200": ("The model.", (), {JSON: {"anyOf": [schema_ref("ModelCard"), schema_ref("ModelEntry")]}})},
        (
            parameter("id", "path", "Its id, alias, or provider/id; slashes may stay as they are.", WORD),
            parameter("schema", "query", "Add the JSON Schema of a request and the modes.", FLAG),
        ),
        (InvalidRequest, ModelNotFound),
    ),
    ("GET", "/models/{id:path}/llms.txt"): Operation(
        "get_model_text",
        "Models",
        "Describe a model as Markdown",
        {"200": ("The model.", (), {MARKDOWN: WORD})},
        (parameter("id", "path", "Its id, alias, or provider/id; slashes may stay as they are.", WORD),),
        (InvalidRequest, ModelNotFound),
    ),
    ("GET", "/llms.txt"): Operation(
        "get_text", "Models", "Describe the server as Markdown", {"200": ("The catalogue.", (), {MARKDOWN: WORD})}
    ),
    ("GET", "/media/{name}"): Operation(
        "get_media",
        "Files",
        "Fetch a result",
        {
            "200": ("The file.", (), PICTURES),
            "206": ("A part of the file.", ("Content-Range",), {**PICTURES, "multipart/byteranges": FILE}),
        },
        (
            parameter("name", "path", "As in the link.", WORD),
            parameter("expires", "query", "As in the link.", WORD, needed=True),
            parameter("signature", "query", "As in the link.", WORD, needed=True),
            parameter("Range", "header", "Which bytes to send.", WORD),
        ),
        (InvalidRequest, NotFound, RangeNotSatisfiable),
    ),
    ("GET", f"{ZOOM}.dzi"): Operation(
        "get_deep_zoom",
        "Files",
        "Fetch the Deep Zoom document of a large result",
        {"200": ("The document; its tiles are made when it is first asked for.", (), {"application/xml": WORD})},
        SIGNED,
        (NotFound,),
    ),
    ("GET", f"{ZOOM}_files/{{level}}/{{tile}}"): Operation(
        "get_deep_zoom_tile",
        "Files",
        "Fetch a tile of a large result",
        {"200": ("The tile.", (), {"image/jpeg": FILE, "image/webp": FILE})},
        (
            *SIGNED,
            parameter("level", "path", "The level, 0 the smallest.", WORD),
            parameter("tile", "path", "Column, row and format: 0_0.jpeg.", WORD),
        ),
        (NotFound,),
    ),
    ("GET", "/healthz"): Operation(
        "is_alive", "Operation", "Tell whether the process answers", json_response("Alive", "It does.")
    ),
    ("GET", "/health"): Operation(
        "is_healthy",
        "Operation",
        "Tell the same as /healthz",
        json_response("Alive", "It does."),
    ),
    ("GET", "/readyz"): Operation(
        "is_ready",
        "Operation",
        "Tell whether work is taken",
        {**json_response("ReadinessBody", "It is."), "503": ("It is not.", (), {JSON: schema_ref("ReadinessBody")})},
    ),
    ("GET", "/metrics"): Operation(
        "get_metrics", "Operation", "Fetch the numbers", {"200": ("Prometheus' text format.", (), {"text/plain": WORD})}
    ),
    ("GET", "/v1/page"): Operation(
        "get_page_facts",
        "Operation",
        "Tell the page its limits",
        json_response("PageFacts", "They hold without a key."),
    ),
    ("GET", "/openapi.json"): Operation(
        "get_openapi", "Operation", "Fetch this document", {"200": ("It.", (), {JSON: {"type": "object"}})}
    ),
}
"""A row per method and path; building the application fails for a route without one."""
