"""MessageRequest: an edit whose picture comes in a message, as programs send it that talk to language models."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import msgspec

from fluxvision.catalog.coerce import TRUE
from fluxvision.core.errors import UnsupportedMediaType
from fluxvision.http.client_api import DOCUMENT, EditRequest, bare_media_type
from fluxvision.http.parsing import json_body
from fluxvision.http.parsing.body import Form
from fluxvision.http.parsing.messages import read_chat
from fluxvision.http.upload_limits import Take

EVENTS = "text/event-stream; charset=utf-8"


class MessageRequest(EditRequest):
    """A request with messages in JSON."""

    messages = "messages"
    """The member that has them."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self.streams = False
        """Whether events are asked for."""
        self._sent_model = ""

    async def read(self, media_type: str, chunks: AsyncIterator[bytes], folder: Path, take: Take) -> Form:
        """Return the form of a JSON body with messages."""
        if bare_media_type(media_type) != DOCUMENT:
            message = f"The body must be {DOCUMENT}."
            raise UnsupportedMediaType(message)
        return await json_body.read_json(chunks, folder, take, self.to_form)

    def to_form(self, given: Mapping[str, msgspec.Raw]) -> Form:
        """Return the form of the body's members, and keep what the response needs."""
        form = read_chat(given, self.messages)
        self.streams = str(form.fields.get("stream")).strip().lower() in TRUE
        model = form.fields.get("model")
        self._sent_model = model if isinstance(model, str) else ""
        return form

    def begin(self, request_id: str, model: str, created: int) -> None:
        """Keep the model's name as it was sent."""
        super().begin(request_id, self._sent_model or model, created)
