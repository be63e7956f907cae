"""JSON bodies of /chat/completions: an answer whose message has the pictures, and the chunks of a stream."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from fluxvision.http.responses import Metadata, Warnings

PictureUrl = Annotated[
    Any, Meta(description="A data URI with the picture's file, or a link.", extra_json_schema={"type": "string"})
]
"""A link, or a `DataUri`, which `encode_base64` replaces by its text."""


class ChatUsage(Struct, kw_only=True):
    """Zeros: there are no token counts here."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0


class ChatImageUrl(Struct, kw_only=True):
    """Where a picture is."""

    url: PictureUrl


class ChatImage(Struct, kw_only=True):
    """A finished picture, in OpenRouter's notation."""

    index: int
    type: Literal["image_url"] = "image_url"
    image_url: ChatImageUrl


class ChatMessage(Struct, kw_only=True):
    """The message of the assistant."""

    role: Literal["assistant"] = "assistant"
    content: Annotated[str, Meta(description="Markdown: a sentence, the links of the pictures, and the warnings.")]
    refusal: None = None
    images: list[ChatImage] | UnsetType = UNSET


class ChatChoice(Struct, kw_only=True):
    """The only choice."""

    index: Literal[0] = 0
    message: ChatMessage
    logprobs: None = None
    finish_reason: Literal["stop"] = "stop"


class ChatCompletion(Struct, kw_only=True):
    """The answer to a chat."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: Annotated[str, Meta(description="As it was sent.")]
    choices: list[ChatChoice]
    usage: ChatUsage = msgspec.field(default_factory=ChatUsage)
    metadata: Metadata | UnsetType = UNSET
    warnings: Warnings | UnsetType = UNSET


class ChatDelta(Struct, kw_only=True):
    """What a chunk adds to the message."""

    role: Literal["assistant"] | UnsetType = UNSET
    content: str | UnsetType = UNSET
    images: list[ChatImage] | UnsetType = UNSET


class ChatChunkChoice(Struct, kw_only=True):
    """The only choice of a chunk."""

    index: Literal[0] = 0
    delta: ChatDelta = msgspec.field(default_factory=ChatDelta)
    logprobs: None = None
    finish_reason: Literal["stop"] | None = None


class ChatChunk(Struct, kw_only=True):
    """A chunk of a stream, which ends with `data: [DONE]`."""

    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int
    model: str
    choices: Annotated[list[ChatChunkChoice], Meta(description="None in the chunk that has the usage.")]
    usage: ChatUsage | UnsetType = UNSET
    metadata: Metadata | UnsetType = UNSET
    warnings: Warnings | UnsetType = UNSET
