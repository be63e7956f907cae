"""CHAT_OPERATIONS: the rows of OPERATIONS for routes that answer as a language model does, and their bodies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fluxvision.http.openapi_operations import ERROR_EVENT, JSON, Operation, edit_operation
from fluxvision.http.openapi_schemas import REFERENCE, object_schema, schema_ref

CHAT_EVENTS = (
    object_schema(
        "A line `data` without an event's name, which is JSON; the last is `[DONE]`.",
        {"data": {"type": "string", "contentMediaType": JSON, "contentSchema": schema_ref("ChatChunk")}},
    ),
    ERROR_EVENT,
)
CHAT_OPERATIONS: Mapping[tuple[str, str], Operation] = {
    ("POST", "/chat/completions"): edit_operation(
        "create_chat_completion",
        "Enlarge the picture of a chat's newest message, and answer with a message",
        "ChatCompletion",
        CHAT_EVENTS,
        {JSON: {"schema": schema_ref("ChatDocument")}},
    ),
}


def chat_schemas(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the bodies of these routes; `document` is that of an edit, whose parameters stand beside the messages."""
    known = {name: one for name, one in document["properties"].items() if name not in {"image", "images"}}
    text = {"type": "string"}
    place = object_schema("Where it is.", {"url": {"type": "string", "pattern": REFERENCE}})
    picture = object_schema("A picture.", {"type": {"const": "image_url"}, "image_url": place})
    words = object_schema("Words.", {"type": {"const": "text"}, "text": text})
    content = {"anyOf": [text, {"type": "array", "items": {"anyOf": [words, picture]}}, {"type": "null"}]}
    message = object_schema("A message; those of a user count.", {"role": text}, {"content": content})
    return {
        "ChatDocument": object_schema(
            "The picture and the prompt are those of the newest message of a user; parameters stand beside messages. "
            "What concerns language models only, such as temperature, has no effect.",
            {"messages": {"type": "array", "items": message, "minItems": 1}},
            known,
        ),
    }
