"""The schemas of request and response bodies in the OpenAPI document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from inspect import cleandoc
from typing import Any

import msgspec

from fluxvision.accounts.schemas import BalanceResponse, CreatedKey, KeyChange, KeyList, KeyRequest, UsageResponse
from fluxvision.catalog.describe import param_schemas
from fluxvision.catalog.listing import ModelCard, ModelEntry, ModelList
from fluxvision.catalog.params import PARAMS
from fluxvision.catalog.rules import Model
from fluxvision.http.batch_responses import (
    Batch,
    BatchList,
    BatchRequest,
    FileDeleted,
    FileList,
    FileObject,
    LineResult,
)
from fluxvision.http.chat_responses import ChatChunk, ChatCompletion
from fluxvision.http.model_responses import ImageCall, ModelEvent, ModelResponse, OutputMessage
from fluxvision.http.parsing.fields import MAX_IMAGES
from fluxvision.http.responses import (
    SCHEMA_REF,
    Alive,
    CompletedEvent,
    ErrorBody,
    ImagesResponse,
    PageFacts,
    PartialImageEvent,
    QuoteResponse,
    ReadinessBody,
    RequestList,
    RequestObject,
    ResultMetadata,
)
from fluxvision.http.webhook_responses import WebhookDeliveryList, WebhookEvent, WebhookSecret
from fluxvision.net.ssrf_guard import MAX_URL

SENT = (
    ImagesResponse,
    ResultMetadata,
    PartialImageEvent,
    CompletedEvent,
    ChatCompletion,
    ChatChunk,
    ModelResponse,
    ModelEvent,
    ImageCall,
    OutputMessage,
    QuoteResponse,
    ErrorBody,
    ModelList,
    ModelEntry,
    ModelCard,
    PageFacts,
    Alive,
    ReadinessBody,
    KeyRequest,
    KeyChange,
    KeyList,
    CreatedKey,
    BalanceResponse,
    UsageResponse,
    RequestObject,
    RequestList,
    WebhookEvent,
    WebhookSecret,
    WebhookDeliveryList,
    FileObject,
    FileList,
    FileDeleted,
    BatchRequest,
    Batch,
    BatchList,
    LineResult,
)
TEXT = {"type": "string"}
WEBHOOK_URL = {
    **TEXT,
    "format": "uri",
    "maxLength": MAX_URL,
    "description": "An https address that is told the end of the request, see the webhook requestEnded.",
    "x-group": "Request",
}
REFERENCE = r"^(?:https?://|data:[^,]{0,256};base64,|[A-Za-z0-9+/]{64})"


def schema_ref(name: str, kind: str = "schemas") -> dict[str, Any]:
    """Return a reference to a component."""
    return {"$ref": f"#/components/{kind}/{name}"}


def object_schema(text: str, required: Mapping[str, Any], optional: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the schema of an object; further properties are allowed, because later versions may add some."""
    properties = {**required, **(optional or {})}
    return {"type": "object", "description": text, "required": [*required], "properties": properties}


def request_schemas(models: Sequence[Model]) -> dict[str, Any]:
    """Return the two bodies of an edit, a form and a JSON document, with all public parameters."""
    names = {
        "type": "string",
        "description": f"A model's id, alias, or provider/id; absent: {models[0].id}.",
        "examples": [models[0].id],
    }
    known = {"model": names, **param_schemas(PARAMS), "webhook_url": WEBHOOK_URL}
    picture, mask = known["image"], known["mask"]
    reference = schema_ref("PictureReference")
    listed = {"type": "array", "items": reference, "minItems": 1, "maxItems": MAX_IMAGES}
    taken = "Numbers and booleans may be written as text; null or an empty text means that a parameter is absent."
    form = object_schema(
        f"Every parameter is a part. A picture is a file, or a URL as text. {taken}", {}, {"model": names, **known}
    )
    form["properties"]["image[]"] = {
        "type": "array",
        "items": {"type": "string", "format": "binary"},
        "minItems": 1,
        "maxItems": MAX_IMAGES,
        "description": "The same as image, in the notation that OpenAI's SDKs use for lists; see images_mode.",
    }
    form["oneOf"] = [{"required": ["image"]}, {"required": ["image[]"]}]
    document = object_schema(f"Pictures are given by reference. {taken}", {}, {"model": names, **known})
    document["properties"] |= {
        "image": {"anyOf": [reference, listed], "description": picture["description"], "x-group": picture["x-group"]},
        "images": {**listed, "description": "The same as image, in OpenAI's notation for JSON; see images_mode."},
        "mask": {"anyOf": [reference], "description": mask["description"], "x-group": mask["x-group"]},
    }
    document["oneOf"] = [{"required": ["image"]}, {"required": ["images"]}]
    url = {"type": "string", "pattern": REFERENCE, "description": "An http(s) URL, a base64 data URI, or base64 alone."}
    return {
        "EditForm": form,
        "EditDocument": document,
        "PictureReference": {
            "anyOf": [
                url,
                object_schema("OpenAI's image reference.", {"image_url": url}),
                object_schema("A picture that was uploaded to /files.", {"file_id": TEXT}),
            ]
        },
    }


def response_schemas() -> dict[str, Any]:
    """Return the schemas of the response structs."""
    _, found = msgspec.json.schema_components(SENT, ref_template=SCHEMA_REF)
    return {name: {**one, "description": cleandoc(one["description"])} for name, one in found.items()}
