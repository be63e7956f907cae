"""POST /responses: the picture of the input is enlarged, as a call of the tool image_generation and a message."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from starlette.types import Receive, Scope, Send

from fluxvision.core.errors import InvalidRequest
from fluxvision.http.base64_stream import ChunkedBody, InMemoryFile, encode_base64
from fluxvision.http.client_api import DOCUMENT, HEAD, named_event
from fluxvision.http.edits import serve
from fluxvision.http.message_request import EVENTS, MessageRequest
from fluxvision.http.model_responses import (
    ImageCall,
    ModelEvent,
    ModelResponse,
    ModelUsage,
    OutputMessage,
    OutputText,
)
from fluxvision.http.parsing.body import Form
from fluxvision.http.parsing.json_body import begins_with, given_value, list_items, object_members
from fluxvision.http.responses import OPENAI_SIZES, ErrorBody, ImageEntry, ImagesResponse
from fluxvision.http.result_body import join_images
from fluxvision.http.result_text import WITHOUT_PICTURE, describe_result
from fluxvision.http.state import AppState
from fluxvision.imaging import sniff_format

TOOL = msgspec.Raw(b'"image_generation"')
NOT_KEPT = ("previous_response_id", "conversation")
NOT_A_PARAMETER = frozenset({"type", "action", "name"})
"""Members of the tool that are no parameters of a picture."""
CALL = "response.image_generation_call"


async def create_response(state: AppState, scope: Scope, receive: Receive, send: Send) -> None:
    """Enlarge the picture of the input; without one, say in a message what to send."""
    await serve(state, scope, receive, send, ResponsesRequest())


class ResponsesRequest(MessageRequest):
    """A request to /responses. Pictures are always in base64, as clients of this API read nothing else."""

    messages = "input"

    def __init__(self) -> None:
        """Know nothing yet."""
        super().__init__()
        self._output: list[ImageCall | OutputMessage] = []
        self._texts: list[str] = []
        self._found: list[ImagesResponse] = []
        self._number = 0

    def to_form(self, given: Mapping[str, msgspec.Raw]) -> Form:
        """Return the form; the members of the tool are parameters, unless they are beside the input as well."""
        for name in NOT_KEPT:
            if given_value(given, name) is not None:
                message = f"{name}: responses are not kept here; send the picture in input."
                raise InvalidRequest(message, param=name)
        tool = _tool_parameters(given_value(given, "tools"))
        members = {**tool, **given, **({"model": tool["model"]} if "model" in tool else {})}
        if members.get("background") == msgspec.Raw(b"false"):  # it is no background job
            del members["background"]
        sent = given_value(given, "model")
        form = super().to_form(members)
        if sent is not None and begins_with(sent, b'"'):
            self._sent_model = msgspec.json.decode(sent, type=str)
        if form.fields.get("response_format") not in {None, "", "b64_json"}:
            message = "response_format: /responses sends b64_json only."
            raise InvalidRequest(message, param="response_format")
        form.fields["response_format"] = "b64_json"
        return form

    def without_picture(self) -> tuple[str, ChunkedBody]:
        """Return a message that says what to send."""
        self._texts.append(WITHOUT_PICTURE)
        if not self.streams:
            self._output.append(self._message())
            return DOCUMENT, encode_base64(self._response())
        events = (*self._first_events(), *self.closing_events())
        return EVENTS, ChunkedBody(tuple(part for event in events for part in event.parts))

    def response(self, found: ImagesResponse) -> ChunkedBody:
        """Return the calls that made the pictures, and a message about them."""
        self.begin(found.id, found.metadata["model"], found.created)
        self._found.append(found)
        known = found.metadata.get("pictures") or [found.metadata] * len(found.data)
        self._texts.append(describe_result(found))
        for entry, facts in zip(found.data, known, strict=True):
            self._output.append(self._call(found, entry, facts, entry.b64_json))
        self._output.append(self._message())
        return encode_base64(self._response())

    def opening_events(self) -> Sequence[ChunkedBody]:
        """Return the events of the response and of the first call, which begin."""
        return [*self._first_events(), *self._call_begins()]

    def preview_event(self, content: bytes, number: int, created: int) -> ChunkedBody:  # noqa: ARG002 - no date in it
        """Return the event of a preview of the first call."""
        found = sniff_format(content[:HEAD])
        return self._event(
            f"{CALL}.partial_image",
            item_id=self._call_id(),
            output_index=0,
            partial_image_index=number,
            partial_image_b64=InMemoryFile(content),
            output_format=found.name if found else "png",
        )

    def final_events(
        self, found: ImagesResponse, metadata: Sequence[dict[str, Any]], files: Sequence[Any]
    ) -> Sequence[ChunkedBody]:
        """Return the events of the calls that made the pictures of a job."""
        self._found.append(found)
        self._texts.append(describe_result(found, metadata))
        events = list[ChunkedBody]()
        for entry, facts, file in zip(found.data, metadata, files, strict=True):
            if self._output:
                events += self._call_begins()
            index, item = len(self._output), self._call(found, entry, facts, file)
            events.append(self._event(f"{CALL}.completed", item_id=item.id, output_index=index))
            events.append(self._event("response.output_item.done", output_index=index, item=item))
            self._output.append(item)
        return events

    def closing_events(self) -> Sequence[ChunkedBody]:
        """Return the events of the message, and the whole response."""
        index, item = len(self._output), self._message()
        part = item.content[0]
        place = {"item_id": item.id, "output_index": index, "content_index": 0}
        begun = msgspec.structs.replace(item, status="in_progress", content=[])
        self._output.append(item)
        return [
            self._event("response.output_item.added", output_index=index, item=begun),
            self._event("response.content_part.added", **place, part=OutputText(text="")),
            self._event("response.output_text.delta", **place, delta=part.text, logprobs=[]),
            self._event("response.output_text.done", **place, text=part.text, logprobs=[]),
            self._event("response.content_part.done", **place, part=part),
            self._event("response.output_item.done", output_index=index, item=item),
            self._event("response.completed", response=self._response()),
        ]

    def error_event(self, body: ErrorBody) -> ChunkedBody:
        """Return the event of an error with a type and a number, as all events of this API have them."""
        return self._event("error", error=body.error)

    def _first_events(self) -> list[ChunkedBody]:
        begun = self._response()
        begun.status, begun.usage = "in_progress", None
        return [self._event(f"response.{name}", response=begun) for name in ("created", "in_progress")]

    def _call_begins(self) -> list[ChunkedBody]:
        item = ImageCall(id=self._call_id(), status="in_progress")
        place = {"item_id": item.id, "output_index": len(self._output)}
        return [
            self._event("response.output_item.added", output_index=len(self._output), item=item),
            self._event(f"{CALL}.in_progress", **place),
            self._event(f"{CALL}.generating", **place),
        ]

    def _call_id(self) -> str:
        return f"ig_{self.id}_{len(self._output)}"

    def _call(self, found: ImagesResponse, entry: ImageEntry, facts: Mapping[str, Any], file: Any) -> ImageCall:
        return ImageCall(
            id=self._call_id(),
            output_format=found.output_format,
            size=OPENAI_SIZES.get(facts["size"], msgspec.UNSET),
            revised_prompt=entry.revised_prompt,
            result=file,
        )

    def _message(self) -> OutputMessage:
        return OutputMessage(id=f"msg_{self.id}", content=[OutputText(text="\n\n".join(self._texts))])

    def _response(self) -> ModelResponse:
        """Return the response with the output so far."""
        whole = ModelResponse(
            id=self.id, created_at=self.created, model=self.model, output=[*self._output], usage=ModelUsage()
        )
        if self._found:
            joined = join_images(self._found)
            whole.result_metadata, whole.warnings = joined.metadata, joined.warnings
        return whole

    def _event(self, kind: str, **members: Any) -> ChunkedBody:
        self._number += 1
        return named_event(kind, ModelEvent(type=kind, sequence_number=self._number - 1, **members))


def _tool_parameters(tools: msgspec.Raw | None) -> dict[str, msgspec.Raw]:
    """Return the parameters of the tool image_generation, whose model is the one that makes the picture."""
    for tool in list_items(tools) if tools is not None and begins_with(tools, b"[") else []:
        members = object_members(tool) if begins_with(tool, b"{") else {}
        if members.get("type") == TOOL:
            mask = members.pop("input_image_mask", None)
            found = {name: raw for name, raw in members.items() if name not in NOT_A_PARAMETER}
            return found if mask is None else {**found, "mask": mask}
    return {}
