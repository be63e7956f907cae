"""POST /chat/completions: the picture of a chat's newest message is enlarged, and the answer is a message with it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from starlette.types import Receive, Scope, Send

from fluxvision.catalog.coerce import TRUE
from fluxvision.core.errors import UnsupportedMediaType
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
from fluxvision.http.edit_request import DOCUMENT, EditRequest, bare_media_type
from fluxvision.http.edits import serve
from fluxvision.http.parsing import json_body
from fluxvision.http.parsing.body import Form
from fluxvision.http.parsing.messages import read_chat
from fluxvision.http.responses import ImagesResponse
from fluxvision.http.result_text import WITHOUT_PICTURE, describe_result
from fluxvision.http.state import AppState
from fluxvision.http.upload_limits import Take

EVENTS = "text/event-stream; charset=utf-8"
MIMES: Mapping[str, str] = {row.name: row.mime for row in FORMATS}
DONE = ChunkedBody((b"data: [DONE]\n\n",))


async def create_completion(state: AppState, scope: Scope, receive: Receive, send: Send) -> None:
    """Enlarge the picture of a chat; without one, say in a message what to send."""
    await serve(state, scope, receive, send, ChatRequest())


class ChatRequest(EditRequest):
    """A request to /chat/completions.

    Unless the caller chooses a `response_format`, the message has a link in its text and the file as a data URI in its
    images: some clients show one, some the other.
    """

    shows_previews = False

    def __init__(self) -> None:
        """Know nothing yet."""
        self._sent_model = ""
        self._streams = False
        self._sends_usage = False
        self._inline = True
        self._last: ImagesResponse | None = None
        self._sent = 0

    async def read(self, media_type: str, chunks: AsyncIterator[bytes], folder: Path, take: Take) -> Form:
        """Return the form of a JSON body with messages."""
        if bare_media_type(media_type) != DOCUMENT:
            message = f"The body must be {DOCUMENT}."
            raise UnsupportedMediaType(message)
        return await json_body.read_json(chunks, folder, take, self._to_form)

    def begin(self, request_id: str, model: str, created: int) -> None:
        """Keep the model's name as it was sent."""
        super().begin(request_id, self._sent_model or model, created)

    def without_picture(self) -> tuple[str, ChunkedBody]:
        """Return a message that says what to send."""
        if not self._streams:
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
        self._last = found
        text = ChatDelta(content=gap + describe_result(found, metadata, inline=self._inline))
        images = self._images(found, files)
        return [self._chunk(text), *(self._chunk(ChatDelta(images=[image])) for image in images)]

    def closing_events(self) -> Sequence[ChunkedBody]:
        """Return the chunk that ends the message, that of the usage if it is asked for, and the end of the stream."""
        end = self._new_chunk([ChatChunkChoice(finish_reason="stop")])
        if self._last is not None:
            end.metadata, end.warnings = self._last.metadata, self._last.warnings
        events = [_data_event(end)]
        if self._sends_usage:
            usage = self._new_chunk([])
            usage.usage = ChatUsage()
            events.append(_data_event(usage))
        return [*events, DONE]

    def _to_form(self, given: Mapping[str, msgspec.Raw]) -> Form:
        form = read_chat(given, "messages")
        options = _decode(given, "stream_options")
        self._sends_usage = isinstance(options, dict) and options.get("include_usage") is True
        self._streams = str(form.fields.get("stream")).strip().lower() in TRUE
        modalities = _decode(given, "modalities")
        # A client that asks for pictures shows those of `images`; it would show a link's as well, which is the same.
        self._inline = not (isinstance(modalities, list) and "image" in modalities)
        model = form.fields.get("model")
        self._sent_model = model if isinstance(model, str) else ""
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
