"""POST /chat/completions: the picture of a chat's newest message is enlarged, and the answer is a message with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from starlette.types import Receive, Scope, Send

from fluxvision.core.formats import FORMATS
from fluxvision.http.base64_stream import ChunkedBody, DataUri, encode_base64
from fluxvision.http.chat_responses import (
    ChatChoice,
    ChatChunk,
    ChatChunkChoice,
    ChatCompletion,
    ChatDelta,
    ChatImage,
    ChatImageUrl,
    ChatMessage,
    ChatUsage,
)
from fluxvision.http.client_api import DOCUMENT
from fluxvision.http.edits import serve
from fluxvision.http.message_request import EVENTS, MessageRequest
from fluxvision.http.parsing import json_body
from fluxvision.http.parsing.body import Form
from fluxvision.http.responses import ImagesResponse
from fluxvision.http.result_body import join_images
from fluxvision.http.result_text import WITHOUT_PICTURE, describe_result
from fluxvision.http.state import AppState

MIMES: Mapping[str, str] = {row.name: row.mime for row in FORMATS}
DONE = ChunkedBody((b"data: [DONE]\n\n",))


async def create_completion(state: AppState, scope: Scope, receive: Receive, send: Send) -> None:
    """Enlarge the picture of a chat; without one, say in a message what to send."""
    await serve(state, scope, receive, send, ChatRequest())


class ChatRequest(MessageRequest):
    """A request to /chat/completions.

    Unless the caller chooses a `response_format`, the message has a link in its text and the file as a data URI in its
    images: some clients show one, some the other.
    """

    shows_previews = False

    def __init__(self) -> None:
        """Know nothing yet."""
        super().__init__()
        self._sends_usage = False
        self._inline = True
        self._found: list[ImagesResponse] = []
        self._sent = 0

    def without_picture(self) -> tuple[str, ChunkedBody]:
        """Return a message that says what to send."""
        if not self.streams:
            return DOCUMENT, encode_base64(self._completion(WITHOUT_PICTURE))
        events = (*self.opening_events(), self._chunk(ChatDelta(content=WITHOUT_PICTURE)), *self.closing_events())
        return EVENTS, ChunkedBody(tuple(part for event in events for part in event.parts))

    def response(self, found: ImagesResponse) -> ChunkedBody:
        """Return the message with the pictures."""
        text = describe_result(found, inline=self._inline)
        self.begin(found.id, found.metadata["model"], found.created)
        answer = self._completion(text)
        files = [None if entry.b64_json is msgspec.UNSET else entry.b64_json for entry in found.data]
        answer.choices[0].message.images = self._images(found, files)
        answer.metadata, answer.warnings = found.metadata, found.warnings
        return encode_base64(answer)

    def opening_events(self) -> Sequence[ChunkedBody]:
        """Return the chunk with the role."""
        return [self._chunk(ChatDelta(role="assistant", content=""))]

    def final_events(
        self, found: ImagesResponse, metadata: Sequence[dict[str, Any]], files: Sequence[Any]
    ) -> Sequence[ChunkedBody]:
        """Return the chunks of the text and of each picture."""
        gap = "\n\n" if self._sent else ""
        self._found.append(found)
        text = ChatDelta(content=gap + describe_result(found, metadata, inline=self._inline))
        images = self._images(found, files)
        return [self._chunk(text), *(self._chunk(ChatDelta(images=[image])) for image in images)]

    def closing_events(self) -> Sequence[ChunkedBody]:
        """Return the chunk that ends the message, that of the usage if it is asked for, and the end of the stream."""
        end = self._new_chunk([ChatChunkChoice(finish_reason="stop")])
        if self._found:
            whole = join_images(self._found)
            end.metadata, end.warnings = whole.metadata, whole.warnings
        events = [_data_event(end)]
        if self._sends_usage:
            usage = self._new_chunk([])
            usage.usage = ChatUsage()
            events.append(_data_event(usage))
        return [*events, DONE]

    def to_form(self, given: Mapping[str, msgspec.Raw]) -> Form:
        """Return the form, which asks for links unless the caller chooses the format."""
        form = super().to_form(given)
        options = _decode(given, "stream_options")
        self._sends_usage = isinstance(options, dict) and options.get("include_usage") is True
        modalities = _decode(given, "modalities")
        # A client that asks for pictures shows those of `images`; it would show a link's as well, which is the same.
        self._inline = not (isinstance(modalities, list) and "image" in modalities)
        if not form.fields.get("response_format"):
            form.fields["response_format"] = "url"
            self.embeds_files = True
        return form

    def _completion(self, text: str) -> ChatCompletion:
        choice = ChatChoice(message=ChatMessage(content=text))
        return ChatCompletion(id=self.id, created=self.created, model=self.model, choices=[choice])

    def _images(self, found: ImagesResponse, files: Sequence[Any]) -> list[ChatImage]:
        """Return the pictures as data URIs, or as links where there is no file."""
        mime = MIMES[found.output_format]
        urls = [DataUri(mime, file) if file else entry.url for entry, file in zip(found.data, files, strict=True)]
        self._sent += len(urls)
        first = self._sent - len(urls)
        return [ChatImage(index=first + number, image_url=ChatImageUrl(url=url)) for number, url in enumerate(urls)]

    def _chunk(self, delta: ChatDelta) -> ChunkedBody:
        return _data_event(self._new_chunk([ChatChunkChoice(delta=delta)]))

    def _new_chunk(self, choices: list[ChatChunkChoice]) -> ChatChunk:
        return ChatChunk(id=self.id, created=self.created, model=self.model, choices=choices)


def _decode(given: Mapping[str, msgspec.Raw], name: str) -> Any:
    raw = json_body.given_value(given, name)
    return None if raw is None else json_body.to_field(name, raw)


def _data_event(chunk: ChatChunk) -> ChunkedBody:
    return encode_base64(chunk, before=b"data: ", after=b"\n\n")
