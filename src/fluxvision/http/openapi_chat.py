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
MODEL_EVENTS = (
    object_schema(
        "A line `event`, which is the type of the line `data`, which is JSON.",
        {
            "event": {"type": "string"},
            "data": {"type": "string", "contentMediaType": JSON, "contentSchema": schema_ref("ModelEvent")},
        },
    ),
)
CHAT_OPERATIONS: Mapping[tuple[str, str], Operation] = {
    ("POST", "/chat/completions"): edit_operation(
        "create_chat_completion",
        "Enlarge the picture of a chat's newest message, and answer with a message",
        "ChatCompletion",
        CHAT_EVENTS,
        {JSON: {"schema": schema_ref("ChatDocument")}},
    ),
    ("POST", "/responses"): edit_operation(
        "create_response",
        "Enlarge the picture of the input, and answer with an image_generation_call and a message",
        "ModelResponse",
        MODEL_EVENTS,
        {JSON: {"schema": schema_ref("ModelDocument")}},
    ),
}


def chat_schemas(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the bodies of these routes; `document` is that of an edit, whose parameters stand beside the messages."""
    known = {name: one for name, one in document["properties"].items() if name not in {"image", "images"}}
    text = {"type": "string"}
    place = object_schema("Where it is.", {"url": {"type": "string", "pattern": REFERENCE}})
    picture = object_schema("A picture.", {"type": {"const": "image_url"}, "image_url": place})
    source = {"image_url": {"type": "string", "pattern": REFERENCE}, "file_id": text}
    given = object_schema("A picture.", {"type": {"const": "input_image"}}, source)
    told = object_schema("Words.", {"type": {"const": "input_text"}, "text": text})
    parts = {"anyOf": [text, {"type": "array", "items": {"anyOf": [told, given]}}]}
    item = object_schema("A message.", {"role": text, "content": parts})
    tool = object_schema("The tool image_generation may have any parameter.", {"type": text})
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
        "ModelDocument": object_schema(
            "The picture and the prompt are those of the newest message of a user; parameters stand beside input or in "
            "the tool image_generation. What concerns language models only has no effect. Responses are not kept.",
            {"input": {"anyOf": [text, {"type": "array", "items": item, "minItems": 1}]}},
            {**known, "tools": {"type": "array", "items": tool}},
        ),
    }
