"""EditRequest: how a client API is read and answered. That of /images/edits is here; the others derive from it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, Literal

from fluxvision.core.errors import UnsupportedMediaType
from fluxvision.http.base64_stream import ChunkedBody, InMemoryFile, encode_base64
from fluxvision.http.parsing import json_body, multipart
from fluxvision.http.parsing.body import Form
from fluxvision.http.responses import (
    OPENAI_SIZES,
    USAGE,
    CompletedEvent,
    ErrorBody,
    ImageEntry,
    ImagesResponse,
    PartialImageEvent,
)
from fluxvision.http.upload_limits import Take
from fluxvision.imaging import sniff_format

FORM, DOCUMENT = "multipart/form-data", "application/json"
HEAD = 64
"""Bytes that tell a picture's format."""


class EditRequest:
    """One request of a client: reads its body into a form, and makes its response of the finished pictures.

    An object is made for each request, and may keep of `read` what its response needs.
    """

    kind: Literal["image_edit", "image_generation"] = "image_edit"
    """What the types of its events begin with."""
    missing = "image is required: send the picture to enlarge."
    """What is said where there is no picture."""
    embeds_files = False
    """Whether the response needs a picture's file also where it has a link."""
    shows_previews = True
    """Whether a stream has events for previews."""
    id, model, created = "", "", 0
    """What `begin` keeps."""

    async def read(self, media_type: str, chunks: AsyncIterator[bytes], folder: Path, take: Take) -> Form:
        """Return the form of a body of this media type; its files are in `folder`, or in memory that `take` grants.

        Raises `UnsupportedMediaType`, or `InvalidRequest` naming the parameter.
        """
        kind = bare_media_type(media_type)
        if kind == FORM:
            return await multipart.read_multipart(media_type, chunks, folder, take)
        if kind == DOCUMENT:
            return await json_body.read_json(chunks, folder, take)
        message = f"The body must be {FORM} or {DOCUMENT}."
        raise UnsupportedMediaType(message)

    def begin(self, request_id: str, model: str, created: int) -> None:
        """Keep what every part of a response tells, before the first of them is made."""
        self.id, self.model, self.created = request_id, model, created

    def without_picture(self) -> tuple[str, ChunkedBody] | None:
        """Return the media type and body of the response to a request without a picture, None where it is refused."""
        return None

    def response(self, found: ImagesResponse) -> ChunkedBody:
        """Return the response of the finished pictures; files in base64 are placeholders for `encode_base64`."""
        return encode_base64(found)

    def opening_events(self) -> Sequence[ChunkedBody]:
        """Return the events with which a stream begins."""
        return ()

    def preview_event(self, content: bytes, number: int, created: int) -> ChunkedBody:
        """Return the event of a preview's file, the `number`-th from 0."""
        found = sniff_format(content[:HEAD])
        event = PartialImageEvent(
            background="auto",
            quality="auto",
            type=f"{self.kind}.partial_image",  # type: ignore[arg-type] # of both kinds
            b64_json=InMemoryFile(content),
            created_at=created,
            size="auto",
            output_format=found.name if found else "png",
            partial_image_index=number,
        )
        return named_event(event.type, event)

    def final_events(
        self, found: ImagesResponse, metadata: Sequence[dict[str, Any]], files: Sequence[Any]
    ) -> Sequence[ChunkedBody]:
        """Return the events of the finished pictures of a job, given the metadata and the file of each.

        A file is a placeholder for `encode_base64`, or empty for a caller who asked for links.
        """
        return [
            named_event(event.type, event)
            for entry, facts, file in zip(found.data, metadata, files, strict=True)
            if (event := self._completed(found, entry, facts, file))
        ]

    def closing_events(self) -> Sequence[ChunkedBody]:
        """Return the events with which a stream ends, after those of the last picture."""
        return ()

    def error_event(self, body: ErrorBody) -> ChunkedBody:
        """Return the event of an error, which ends a stream."""
        return named_event("error", body)

    def _completed(self, found: ImagesResponse, entry: ImageEntry, facts: dict[str, Any], file: Any) -> CompletedEvent:
        return CompletedEvent(
            background="auto",
            quality="auto",
            b64_json=file,
            revised_prompt=entry.revised_prompt,
            type=f"{self.kind}.completed",  # type: ignore[arg-type] # of both kinds
            id=found.id,
            created_at=found.created,
            size=OPENAI_SIZES.get(facts["size"], "auto"),
            output_format=found.output_format,
            usage=USAGE,
            metadata=facts,
            warnings=found.warnings,
            url=entry.url,
        )


def bare_media_type(text: str) -> str:
    """Return a Content-Type without its parameters, in lower case."""
    return text.partition(";")[0].strip().lower()


def named_event(name: str, event: Any) -> ChunkedBody:
    """Return a server-sent event with a name, and JSON as its data."""
    return encode_base64(event, before=f"event: {name}\ndata: ".encode(), after=b"\n\n")
