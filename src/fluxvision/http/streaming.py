"""stream=true: OpenAI's typed events, with progress as comments that SDKs do not see."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from starlette.types import Scope, Send

from fluxvision.core.callbacks import JobCallbacks
from fluxvision.core.errors import CallerGone, Error
from fluxvision.core.types import JobResult
from fluxvision.gateway.execution import PreparedJob, deadline_error
from fluxvision.http.base64_stream import ChunkedBody, base64_file
from fluxvision.http.client_api import EditRequest
from fluxvision.http.error_response import error_body, error_for_client
from fluxvision.http.job_tracker import draining_error
from fluxvision.http.observability import format_trace
from fluxvision.http.result_body import deliver_images, result_metadata
from fluxvision.http.run_job import run_jobs
from fluxvision.http.state import AppState, record_of
from fluxvision.http.stored_response import StoredResponse, stored_body

KEEP_ALIVE = 10.0
LAST_WORD = 0.5
END = {"type": "http.response.body", "body": b""}
HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache, no-store"),
    (b"x-accel-buffering", b"no"),
]


class ProgressBuffer:
    """The unsent previews and the newest `done/total`; set from any thread, awaited in the event loop."""

    def __init__(self, request: EditRequest) -> None:
        """Use the running event loop; `request` makes the events of previews."""
        self._request = request
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
            event = self._request.preview_event(self._previews.popleft(), self._shown, int(state.now()))
            await _send(send, event)
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
        self,
        state: AppState,
        scope: Scope,
        send: Send,
        model: str,
        *,
        request: EditRequest,
        on_ready: Callable[[], None] = lambda: None,
    ) -> None:
        """Send them with `send`; `on_ready` is called when only the result remains to be sent."""
        self._state = state
        self._record = record_of(scope)
        self._send = send
        self._model = model
        self._request = request
        self._on_ready = on_ready
        self._news = ProgressBuffer(request)
        self.end_late = self._news.end_late

    async def send(self, request_id: str, work: Work, *, previews: bool = False) -> None:
        """Start the work and send its events; an error after the first byte becomes an event.

        Returns when the work has ended; the response may have ended before.
        """
        news, send = self._news, self._send
        shown = previews and self._request.shows_previews
        callbacks = JobCallbacks(progress=news.progress, preview=news.preview if shown else None)
        task = asyncio.ensure_future(work(callbacks))
        task.add_done_callback(lambda _task: self._on_ready())
        try:
            headers = [
                *HEADERS,
                (b"x-fluxvision-model", self._model.encode()),
            ]  # the last event tells whose picture it is
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            self._request.begin(request_id, self._model, int(self._state.now()))
            for event in self._request.opening_events():
                await _send(send, event)
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
            for event in (*events, *self._request.closing_events()):
                await _send(send, event)
            await send(END)
        except asyncio.CancelledError:
            if self._state.running.draining:
                with suppress(TimeoutError):  # a caller that does not read holds up no end
                    async with asyncio.timeout(LAST_WORD):
                        task.cancel()  # then what the work may have cost is known
                        await asyncio.wait({task}, timeout=LAST_WORD / 2)
                        await _send(send, self._error_event(draining_error()))
                        await send(END)
            raise
        except CallerGone:  # nobody reads any more
            raise
        except Exception as error:  # noqa: BLE001 - the status line is sent, only an event can tell
            if not isinstance(error, Error):
                self._state.log.error("unexpected", request_id=request_id, trace=format_trace(error))  # noqa: TRY400 - its text stays unsaid
            await _send(send, self._error_event(error_for_client(error)))
            await send(END)
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await task
            del task  # its error holds this frame by its traceback

    def _error_event(self, error: Error) -> ChunkedBody:
        return self._request.error_event(error_body(error, self._record.attempts))


async def stream_results(
    state: AppState,
    scope: Scope,
    send: Send,
    jobs: Sequence[tuple[PreparedJob, Path]],
    request: EditRequest,
    *,
    on_ready: Callable[[], None],
) -> None:
    """Run the jobs, each with its folder, and send their events.

    `on_ready` is called when only the result remains to be sent.
    """
    first = jobs[0][0].job

    async def run(callbacks: JobCallbacks) -> list[ChunkedBody]:
        found: list[ChunkedBody] = []
        for delivery in await run_jobs(state, scope, jobs, callbacks, on_late=events.end_late):
            found += await _final_events(state, scope, delivery, request)
        return found

    events = ServerSentEvents(state, scope, send, first.model, request=request, on_ready=on_ready)
    await events.send(first.id, run, previews=bool(first.values.get("partial_images")))


async def _wait_for_event(task: asyncio.Future[Any], changed: asyncio.Event) -> None:
    """Return when the task is done, progress was made, or a keep-alive is due."""
    news = asyncio.ensure_future(changed.wait())
    try:
        waiting: set[asyncio.Future[Any]] = {task, news}
        await asyncio.wait(waiting, timeout=KEEP_ALIVE, return_when=asyncio.FIRST_COMPLETED)
    finally:
        news.cancel()


async def completed_events(
    state: AppState, scope: Scope, stored: StoredResponse, request: EditRequest
) -> Sequence[ChunkedBody]:
    """Return the events of a stored response."""
    asked_link = stored.response_format == "url"
    body, now = await stored_body(state, scope, stored), state.media_clock()
    zooms = body.metadata.pop("deep_zooms", None) or [body.metadata.get("deep_zoom")] * len(body.data)
    facts = [
        {**body.metadata, **picture.metadata} | ({} if zoom is None else {"deep_zoom": zoom})
        for picture, zoom in zip(stored.pictures, zooms, strict=True)
    ]
    # Only a caller who asked for a link is sure to read it; the others get the bytes as well.
    linked = asked_link and stored.is_format_asked and not request.embeds_files
    files = ["" if linked else await state.media.fetch(picture.name, now) for picture in stored.pictures]
    return request.final_events(body, facts, files)


async def _final_events(
    state: AppState, scope: Scope, delivery: JobResult, request: EditRequest
) -> Sequence[ChunkedBody]:
    linked = delivery.plan.response_format == "url"
    is_asked = "response_format" in delivery.job.values and not request.embeds_files
    body, names = await deliver_images(state, scope, delivery)
    if linked:  # only a caller who asked for a link is sure to read it; the others get the bytes as well
        files: list[Any] = ["" if is_asked else await state.media.fetch(name, state.media_clock()) for name in names]
    else:
        files = [base64_file(picture) for picture in delivery.pictures]
    zooms = body.metadata.pop("deep_zooms", None) or [body.metadata.get("deep_zoom")] * len(body.data)
    facts = [result_metadata(delivery, number, [zoom]) for number, zoom in enumerate(zooms)]
    return request.final_events(body, facts, files)


async def _progress_comment(send: Send, text: str) -> None:
    await send({"type": "http.response.body", "body": f": {text}\n\n".encode(), "more_body": True})


async def _send(send: Send, event: ChunkedBody) -> None:
    for chunk in event.chunks():
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
