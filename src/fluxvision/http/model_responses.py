"""JSON bodies of /responses: the call of the tool image_generation that made a picture, a message, and the events."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from fluxvision.http.responses import SCHEMA_REF, Base64, Format, Metadata, OpenAISize, Warnings

ITEM = {"anyOf": [{"$ref": SCHEMA_REF.format(name=name)} for name in ("ImageCall", "OutputMessage")]}
State = Literal["in_progress", "completed"]


class ImageCall(Struct, kw_only=True):
    """The call that makes a picture."""

    id: str
    type: Literal["image_generation_call"] = "image_generation_call"
    status: State = "completed"
    action: Literal["edit"] = "edit"
    background: Literal["auto"] = "auto"
    quality: Literal["auto"] = "auto"
    output_format: Format | UnsetType = UNSET
    size: (
        Annotated[OpenAISize, Meta(description="Only where OpenAI knows it; result_metadata.size always is.")]
        | UnsetType
    ) = UNSET
    revised_prompt: str | UnsetType = UNSET
    result: Base64 | UnsetType = UNSET


class OutputText(Struct, kw_only=True):
    """A text in Markdown."""

    type: Literal["output_text"] = "output_text"
    text: str
    annotations: list[Any] = msgspec.field(default_factory=list)
    logprobs: list[Any] = msgspec.field(default_factory=list)


class OutputMessage(Struct, kw_only=True):
    """A message with a sentence about the pictures and the warnings, or about what to send."""

    id: str
    type: Literal["message"] = "message"
    status: State = "completed"
    role: Literal["assistant"] = "assistant"
    content: list[OutputText]


class CachedTokens(Struct, kw_only=True):
    """Zeros."""

    cached_tokens: int = 0


class ReasoningTokens(Struct, kw_only=True):
    """Zeros."""

    reasoning_tokens: int = 0


class ModelUsage(Struct, kw_only=True):
    """Zeros: there are no token counts here."""

    input_tokens: int = 0
    input_tokens_details: CachedTokens = msgspec.field(default_factory=CachedTokens)
    output_tokens: int = 0
    output_tokens_details: ReasoningTokens = msgspec.field(default_factory=ReasoningTokens)
    total_tokens: int = 0


class ModelResponse(Struct, kw_only=True):
    """The response, which is not kept under its id."""

    id: str
    object: Literal["response"] = "response"
    created_at: int
    status: State = "completed"
    model: Annotated[str, Meta(description="As it was sent.")]
    output: list[Annotated[Any, Meta(extra_json_schema=ITEM)]]
    usage: ModelUsage | None = None
    error: None = None
    incomplete_details: None = None
    instructions: None = None
    metadata: dict[str, str] = msgspec.field(default_factory=dict)
    parallel_tool_calls: Literal[False] = False
    previous_response_id: None = None
    store: Literal[False] = False
    temperature: None = None
    tool_choice: Literal["auto"] = "auto"
    tools: list[Any] = msgspec.field(default_factory=list)
    top_p: None = None
    result_metadata: Metadata | UnsetType = UNSET
    warnings: Warnings | UnsetType = UNSET


class ModelEvent(Struct, kw_only=True):
    """An event of a stream; which members it has depends on its type, as in OpenAI's API."""

    type: Annotated[str, Meta(description="Such as response.created or response.image_generation_call.partial_image.")]
    sequence_number: int
    response: ModelResponse | UnsetType = UNSET
    output_index: int | UnsetType = UNSET
    item_id: str | UnsetType = UNSET
    item: Any | UnsetType = UNSET
    partial_image_index: int | UnsetType = UNSET
    partial_image_b64: Base64 | UnsetType = UNSET
    output_format: Format | UnsetType = UNSET
    content_index: int | UnsetType = UNSET
    part: OutputText | UnsetType = UNSET
    delta: str | UnsetType = UNSET
    text: str | UnsetType = UNSET
    logprobs: list[Any] | UnsetType = UNSET
    error: Annotated[Any, Meta(description="That of an event of the type error.")] | UnsetType = UNSET
