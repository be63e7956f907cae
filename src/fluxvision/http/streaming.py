"""stream=true: OpenAI's typed events, with progress as comments that SDKs do not see."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import UNSET, UnsetType
from starlette.types import Scope, Send

from fluxvision.core.callbacks import JobCallbacks
from fluxvision.core.errors import CallerGone, Error
from fluxvision.core.types import Attempt, JobResult
from fluxvision.gateway.execution import PreparedJob, deadline_error
from fluxvision.http import base64_stream, media
from fluxvision.http.base64_stream import ChunkedBody, encode_base64
from fluxvision.http.error_response import error_body, error_for_client
from fluxvision.http.job_tracker import draining_error
from fluxvision.http.media import media_link
from fluxvision.http.observability import format_trace
from fluxvision.http.responses import OPENAI_SIZES, USAGE, CompletedEvent, ImageEvent, PartialImageEvent
from fluxvision.http.result_body import picture_size, result_metadata, revised_prompt
from fluxvision.http.run_job import run_job
from fluxvision.http.state import AppState, record_of
from fluxvision.http.stored_response import StoredResponse, stored_body
from fluxvision.imaging import sniff_format

KEEP_ALIVE = 10.0
LAST_WORD = 0.5
END = {"type": "http.response.body", "body": b""}
PARTIAL: Final = "image_edit.partial_image"
COMPLETED: Final = "image_edit.completed"
HEAD = 64
HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache, no-store"),
    (b"x-accel-buffering", b"no"),
]


class ProgressBuffer:
    """The unsent previews and the newest `done/total`; set from any thread, awaited in the event loop."""

    def __init__(self) -> None:
        """Use the running event loop."""
        self._loop = asyncio.get_running_loop()
        self._previews: deque[bytes] = deque()
        self._text = ""
        self._told = ""
        self._shown = 0
        self.changed = asyncio.Event()
        self.is_late = False
        """Whether the work is over its deadline, and has not ended."""

    def progress(self, done: int, total: int) -> None:
        """Store the progress."""
        self._text = f"progress {done}/{total}"
        self._tell()

    def preview(self, path: Path) -> None:
        """Store a preview, a small file which goes with the job's folder."""
        self._previews.append(path.read_bytes())
        self._tell()

    def end_late(self) -> None:
        """Note that the work is over its deadline."""
        self.is_late = True
        self.changed.set()

    async def send(self, state: AppState, send: Send) -> None:
        """Send what is new, previews in their order."""
        self.changed.clear()
        while self._previews:
            await _send(send, _partial_event(state, self._previews.popleft(), self._shown))
            self._shown += 1
        text = self._text
        if text != self._told:
            self._told = text
            await _progress_comment(send, text)

    def _tell(self) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self.changed.set)


Work = Callable[[JobCallbacks], Awaitable[Sequence[ChunkedBody]]]
"""Makes the events of the finished pictures, and tells progress meanwhile."""


class ServerSentEvents:
    """The events of one response."""

    def __init__(
        self, state: AppState, scope: Scope, send: Send, model: str, on_ready: Callable[[], None] = lambda: None
    ) -> None:
        """Send them with `send`; `on_ready` is called when only the result remains to be sent."""
        self._state = state
        self._record = record_of(scope)
        self._send = send
        self._model = model
        self._on_ready = on_ready
        self._news = ProgressBuffer()
        self.end_late = self._news.end_late

    async def send(self, request_id: str, work: Work, *, previews: bool = False) -> None:
        """Start the work and send its events; an error after the first byte becomes an event.

        Returns when the work has ended; the response may have ended before.
        """
        news, send = self._news, self._send
        callbacks = JobCallbacks(progress=news.progress, preview=news.preview if previews else None)
        task = asyncio.ensure_future(work(callbacks))
        task.add_done_callback(lambda _task: self._on_ready())
        try:
            headers = [
                *HEADERS,
                (b"x-fluxvision-model", self._model.encode()),
            ]  # the last event tells whose picture it is
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await _progress_comment(send, "started")
            while not task.done():
                await _wait_for_event(task, news.changed)
                if news.is_late:
                    raise deadline_error(self._state.gateway.deadline)  # noqa: TRY301, it becomes an event, as others do
                if news.changed.is_set():
                    await news.send(self._state, send)
                elif not task.done():
                    await _progress_comment(send, "keep-alive")
            events = task.result()
            await news.send(self._state, send)  # what came in the same turn as the end
            for event in events:
                await _send(send, event)
            await send(END)
        except asyncio.CancelledError:
            if self._state.running.draining:
                with suppress(TimeoutError):  # a caller that does not read holds up no end
                    async with asyncio.timeout(LAST_WORD):
                        task.cancel()  # then what the work may have cost is known
                        await asyncio.wait({task}, timeout=LAST_WORD / 2)
                        await _send(send, _error_event(draining_error(), self._record.attempts))
                        await send(END)
            raise
        except CallerGone:  # nobody reads any more
            raise
        except Exception as error:  # noqa: BLE001 - the status line is sent, only an event can tell
            if not isinstance(error, Error):
                self._state.log.error("unexpected", request_id=request_id, trace=format_trace(error))  # noqa: TRY400 - its text stays unsaid
            await _send(send, _error_event(error_for_client(error), self._record.attempts))
            await send(END)
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await task
            del task  # its error holds this frame by its traceback


async def stream_result(
    state: AppState, scope: Scope, send: Send, prepared: PreparedJob, work: Path, *, on_ready: Callable[[], None]
) -> None:
    """Run the job and send its events. `on_ready` is called when only the result remains to be sent."""
    job = prepared.job

    async def run(callbacks: JobCallbacks) -> list[ChunkedBody]:
        delivery = await run_job(state, scope, prepared, callbacks, work, on_late=events.end_late)
        return [await _result_event(state, scope, delivery, number) for number in range(len(delivery.pictures))]

    events = ServerSentEvents(state, scope, send, job.model, on_ready)
    await events.send(job.id, run, previews=bool(job.values.get("partial_images")))


async def _wait_for_event(task: asyncio.Future[Any], changed: asyncio.Event) -> None:
    """Return when the task is done, progress was made, or a keep-alive is due."""
    news = asyncio.ensure_future(changed.wait())
    try:
        waiting: set[asyncio.Future[Any]] = {task, news}
        await asyncio.wait(waiting, timeout=KEEP_ALIVE, return_when=asyncio.FIRST_COMPLETED)
    finally:
        news.cancel()


def _partial_event(state: AppState, content: bytes, number: int) -> ChunkedBody:
    found = sniff_format(content[:HEAD])
    event = PartialImageEvent(
        background="auto",
        quality="auto",
        type=PARTIAL,
        b64_json=base64_stream.InMemoryFile(content),
        created_at=int(state.now()),
        size="auto",
        output_format=found.name if found else "png",
        partial_image_index=number,
    )
    return _event(PARTIAL, event)


async def completed_events(state: AppState, scope: Scope, stored: StoredResponse) -> list[ChunkedBody]:
    """Return an event for each picture of a stored response."""
    asked_link = stored.response_format == "url"
    body, now = await stored_body(state, scope, stored), state.media_clock()
    zooms = body.metadata.pop("deep_zooms", None) or [body.metadata.get("deep_zoom")] * len(body.data)
    found = []
    for entry, picture, zoom in zip(body.data, stored.pictures, zooms, strict=True):
        # Only a caller who asked for a link is sure to read it; the others get the bytes as well.
        file: Any = "" if asked_link and stored.is_format_asked else await state.media.fetch(picture.name, now)
        metadata = {**body.metadata, **picture.metadata} | ({} if zoom is None else {"deep_zoom": zoom})
        event = CompletedEvent(
            background="auto",
            quality="auto",
            b64_json=file,
            revised_prompt=entry.revised_prompt,
            type=COMPLETED,
            id=body.id,
            created_at=int(state.now()),
            size=OPENAI_SIZES.get(metadata["size"], "auto"),
            output_format=body.output_format,
            usage=USAGE,
            metadata=metadata,
            url=entry.url,
        )
        found.append(_event(COMPLETED, event))
    return found


async def _result_event(state: AppState, scope: Scope, delivery: JobResult, number: int) -> ChunkedBody:
    picture = delivery.pictures[number]
    now = state.media_clock()
    file: Any = base64_stream.base64_file(picture)
    url: str | UnsetType = UNSET
    zooms: list[str | None] = []
    if delivery.plan.response_format == "url":
        name = await state.media.put(picture.path, picture.mime, now)
        # Only a caller who asked for a link is sure to read it; the others get the bytes as well.
        file = "" if "response_format" in delivery.job.values else await state.media.fetch(name, now)
        url = await media_link(state, scope, name, now)
        zooms = [media.deep_zoom_link(state, scope, picture.width * picture.height, name, now)]
    event = CompletedEvent(
        background="auto",
        quality="auto",
        b64_json=file,
        revised_prompt=revised_prompt(picture),
        type=COMPLETED,
        id=delivery.job.id,
        created_at=int(state.now()),
        size=OPENAI_SIZES.get(picture_size(picture), "auto"),
        output_format=picture.format,
        usage=USAGE,
        metadata=result_metadata(delivery, number, zooms),
        url=url,
    )
    return _event(COMPLETED, event)


def _event(name: str, event: ImageEvent) -> ChunkedBody:
    return encode_base64(event, before=f"event: {name}\ndata: ".encode(), after=b"\n\n")


def _error_event(error: Error, attempts: Sequence[Attempt]) -> ChunkedBody:
    body = msgspec.json.encode(error_body(error, attempts))
    return ChunkedBody((b"event: error\ndata: " + body + b"\n\n",))


async def _progress_comment(send: Send, text: str) -> None:
    await send({"type": "http.response.body", "body": f": {text}\n\n".encode(), "more_body": True})


async def _send(send: Send, event: ChunkedBody) -> None:
    for chunk in event.chunks():
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
