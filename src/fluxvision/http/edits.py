"""The routes below /images, and how a request of any API becomes jobs and their response.

The module is long because a request's way, from its body to its response, is told in one place.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

from fluxvision.accounts.keys import check_model
from fluxvision.catalog.coerce import FALSE, TRUE
from fluxvision.core import tracing
from fluxvision.core.callbacks import JobCallbacks
from fluxvision.core.errors import Busy, CallerGone, InvalidRequest, ModelNotFound
from fluxvision.core.types import Job
from fluxvision.gateway.execution import LAST_SEED, PreparedJob, deadline_error
from fluxvision.http import stored_jobs, streaming, webhooks
from fluxvision.http.base64_stream import ChunkedBody, encode_base64
from fluxvision.http.client_api import DOCUMENT, EditRequest, bare_media_type
from fluxvision.http.error_response import send_error
from fluxvision.http.form_to_jobs import admit_jobs
from fluxvision.http.parsing import body, fields, json_body
from fluxvision.http.parsing.fields import query_parameters
from fluxvision.http.playground_limits import client_network, is_visitor
from fluxvision.http.responses import QuoteResponse
from fluxvision.http.result_body import deliver_images, join_images, join_quotes, quote_body
from fluxvision.http.run_job import run_jobs
from fluxvision.http.state import DEPLOYMENT, AppState, caller_of, record_of
from fluxvision.http.stored_jobs import StoredJobOptions
from fluxvision.http.upload_limits import VISITORS_PER_SECOND, Take

DRY_RUN = frozenset({"dryrun", "dry_run"})
OPENAI_CHATS = "gpt-"
"""How OpenAI's chat models are called, by which programs check a key; without a picture any answer will do."""
UNWATCHED = 0.25
"""Seconds of a request before checking for a disconnect begins, because checking takes as long as parsing."""


@dataclass(frozen=True, slots=True)
class RequestPhases:
    """Callbacks for the phases of a request."""

    on_received: Callable[[], None]
    """Called when all pictures have been received; those of a stored job, when it has been entered."""
    on_ready: Callable[[], None]
    """Called when only sending the response remains."""


class Generation(EditRequest):
    """A request to /images/generations, to which several clients also send a picture."""

    kind = "image_generation"
    missing = "This model enlarges a picture; send one as image to /v1/images/edits."


class Variation(EditRequest):
    """A request to /images/variations: the picture with another version of the invented detail."""

    async def read(self, media_type: str, chunks: AsyncIterator[bytes], folder: Path, take: Take) -> body.Form:
        """Return the form, with a seed of its own."""
        form = await super().read(media_type, chunks, folder, take)
        if form.fields.get("seed") is None:
            form.fields["seed"] = secrets.randbelow(LAST_SEED) | 1  # an odd one is never that of the default
        return form


async def create_edit(state: AppState, scope: Scope, receive: Receive, send: Send) -> None:
    """Enlarge the picture of a request to /images/edits."""
    await serve(state, scope, receive, send, EditRequest())


async def create_generation(state: AppState, scope: Scope, receive: Receive, send: Send) -> None:
    """Enlarge the picture of a request to /images/generations; without one, say where to send it."""
    await serve(state, scope, receive, send, Generation())


async def create_variation(state: AppState, scope: Scope, receive: Receive, send: Send) -> None:
    """Enlarge the picture of a request to /images/variations."""
    await serve(state, scope, receive, send, Variation())


async def serve(state: AppState, scope: Scope, receive: Receive, send: Send, request: EditRequest) -> None:
    """Read the request, run its jobs, send the response; the files are deleted in any case."""
    headers = Headers(scope=scope)
    query = query_parameters(scope)
    dry = _dry_run(query)
    _refuse_misplaced(query)
    visitor = client_network(scope) if is_visitor(scope) else None
    if visitor is not None:
        state.playground.count(visitor, state.now(), dry=dry)
    media_type = body.content_type(headers)
    limit, hint = state.settings.max_upload_bytes, ""
    if bare_media_type(media_type) == DOCUMENT:
        limit, hint = json_body.body_limit(limit)
    length = body.content_length(headers, limit, hint)
    with state.running.job() as on_ready, state.memory.share() as take:
        _check_room(state, scope)
        folder, whole = state.data_dir.folder(), False
        try:
            speed = body.BYTES_PER_SECOND if visitor is None else VISITORS_PER_SECOND
            with state.data_dir.watch(folder), state.uploads.place(caller_of(scope).id, visitor) as arrived:
                arriving = body.body_chunks(
                    receive, limit, state.settings.upload_timeout, hint, announced=length, speed=speed
                )
                form = await request.read(media_type, arriving, folder, take)
                if not form.fields.get("model") and DEPLOYMENT in scope:
                    form.fields["model"] = scope[DEPLOYMENT]
                phases = RequestPhases(arrived, on_ready)
                work = _Work(state, scope, send, request, folder, phases)
                await _wait_for_disconnect(receive, work.start(form, dry=dry))
            whole = True
        finally:
            # In the same turn, not in a thread: a cancelled task would not wait for the thread.
            state.data_dir.release(folder, whole=whole)


@dataclass(frozen=True, slots=True)
class _Work:
    """The work for one request, whose body has been read."""

    state: AppState
    scope: Scope
    send: Send
    request: EditRequest
    folder: Path
    phases: RequestPhases

    async def start(self, form: body.Form, *, dry: bool) -> None:
        """Run the jobs of the form, or quote them, and send the response."""
        state, scope = self.state, self.scope
        if not form.pictures and await self._answer_plainly(form):
            return
        # `dry_run` in the body counts too; never charge for it.
        said = {name: form.fields.pop(name) for name in list(form.fields) if name.lower() in DRY_RUN}
        dry = dry or _dry_run({name: str(value) for name, value in said.items() if value is not None})
        background = stored_jobs.wants_background(Headers(scope=scope), form.fields)
        options = StoredJobOptions(background, await webhooks.take_webhook(state, scope, form.fields))
        with tracing.span("admit"):
            identity = record_of(scope).request_id
            missing = self.request.missing
            found = await admit_jobs(state, caller_of(scope), form, self.folder, identity, missing=missing)
        jobs = [replace(job, traceparent=tracing.traceparent()) for job in found]
        check_model(jobs[0].caller, jobs[0].model)
        record_of(scope).model = jobs[0].model
        if dry:
            self.phases.on_received()
            quoted = join_quotes([await self._quote(job) for job in jobs])
            self.phases.on_ready()
            await _send_body(self.send, encode_base64(quoted))
            return
        prepare = state.playground.reserve if is_visitor(scope) else state.gateway.prepare
        try:
            prepared = [prepare(job) for job in jobs]
            if any(stored_jobs.is_stored(scope, one, options) for one in prepared):
                await self._respond_stored(prepared, options)
            else:
                self.phases.on_received()
                await self._respond(prepared)
        finally:
            for job in jobs:
                state.playground.ended(job)

    async def _answer_plainly(self, form: body.Form) -> bool:
        """Answer a request without a picture where its API has an answer to that; return whether it has."""
        state, name = self.state, form.fields.get("model") or ""
        if not isinstance(name, str):
            return False
        try:
            model = state.gateway.parse(name, {}).model.id
        except ModelNotFound:
            if not name.startswith(OPENAI_CHATS):
                raise
            model = state.gateway.parse("", {}).model.id
        self.request.begin(record_of(self.scope).request_id, model, int(state.now()))
        plain = self.request.without_picture()
        if plain is None:
            return False
        check_model(caller_of(self.scope), model)
        self.phases.on_received()
        self.phases.on_ready()
        await _send_body(self.send, plain[1], plain[0])
        return True

    async def _respond_stored(self, jobs: list[PreparedJob], options: StoredJobOptions) -> None:
        """Store and start the jobs, or find those that this request repeats, and send their result.

        Unless they are to be cancelled, they go on when the caller disconnects.
        """
        state, scope, first = self.state, self.scope, jobs[0].job
        for one in jobs:
            await one.check_mask()
        if not options.background:
            _check_room(state, scope)
        elif len(jobs) > 1:
            message = "images_mode: a background job enlarges one picture; /batches enlarges many."
            raise InvalidRequest(message, param="images_mode")
        entries = [
            (await stored_jobs.enter_job(state, scope, one, options, number)).id for number, one in enumerate(jobs)
        ]
        self.phases.on_received()
        if options.background:
            self.phases.on_ready()
            await stored_jobs.send_accepted(state, scope, self.send, entries[0])
        elif first.values.get("stream"):
            events = streaming.ServerSentEvents(
                state, scope, self.send, first.model, request=self.request, on_ready=self.phases.on_ready
            )

            async def follow(callbacks: JobCallbacks) -> list[ChunkedBody]:
                seconds = stored_jobs.patience(state)
                follow_one = partial(
                    stored_jobs.stored_events, state, scope, callbacks=callbacks, request=self.request, seconds=seconds
                )
                return [event for entry in entries for event in await follow_one(entry)]

            await events.send(entries[0], follow, previews=bool(first.values.get("partial_images")))
        else:
            whole = self.request.embeds_files
            found = join_images(
                [await stored_jobs.stored_result(state, scope, entry, embeds_files=whole) for entry in entries]
            )
            self.phases.on_ready()
            await _send_body(self.send, self.request.response(found))

    async def _respond(self, prepared: list[PreparedJob]) -> None:
        """Run the jobs and send their result; one that is late is answered before it has ended."""
        state, scope, send = self.state, self.scope, self.send
        jobs = [(one, self._job_folder(number)) for number, one in enumerate(prepared)]
        if prepared[0].job.values.get("stream"):
            for one in prepared:
                await one.check_mask()  # what can be refused is refused with a status of its own
            _check_room(state, scope)
            await streaming.stream_results(state, scope, send, jobs, self.request, on_ready=self.phases.on_ready)
            return
        early: list[asyncio.Task[None]] = []

        def answer_late() -> None:
            early.append(asyncio.create_task(send_error(send, deadline_error(state.gateway.deadline))))

        try:
            results = await run_jobs(state, scope, jobs, JobCallbacks(), on_late=answer_late)
        finally:
            for answer in early:
                await answer
        whole = self.request.embeds_files
        found = join_images([(await deliver_images(state, scope, result, embeds_files=whole))[0] for result in results])
        self.phases.on_ready()
        await _send_body(send, self.request.response(found))

    def _job_folder(self, number: int) -> Path:
        """Return the folder for the files of a job; the first one's is that of the request."""
        if number == 0:
            return self.folder
        folder = self.folder / f"job.{number}"
        folder.mkdir()
        return folder

    async def _quote(self, job: Job) -> QuoteResponse:
        """Return the body of a dry run; without a key, also the offers that need one."""
        state = self.state
        prepared = state.gateway.prepare(job)
        if not is_visitor(self.scope):
            await prepared.check_mask()
            return quote_body(prepared.quote(), job)
        bounded = state.playground.prepare(job)
        await bounded.check_mask()
        found, keyed = state.playground.quotes(prepared, bounded)
        return quote_body(found, job, keyed)


async def _wait_for_disconnect(receive: Receive, work: Coroutine[Any, Any, None]) -> None:
    """Await the work; when the caller disconnects, cancel it and raise `CallerGone`.

    The current task does the work, and is cancelled as by `asyncio.timeout`: most requests end before the first check,
    and need no second task.
    """
    task = cast("asyncio.Task[Any]", asyncio.current_task())
    gone = False
    watching: list[asyncio.Task[None]] = []

    async def watch() -> None:
        nonlocal gone
        with suppress(Exception):  # who cannot be asked is not there
            while (await receive())["type"] != "http.disconnect":
                pass
        gone = True
        task.cancel()

    later = asyncio.get_running_loop().call_later(UNWATCHED, lambda: watching.append(asyncio.create_task(watch())))
    try:
        await work
    except BaseException:
        if gone:
            task.uncancel()
            raise CallerGone("The caller went away.") from None
        raise
    finally:
        later.cancel()
        for each in watching:
            each.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await each


async def _send_body(send: Send, content: ChunkedBody, media_type: str = DOCUMENT) -> None:
    left = content.length
    headers = [
        (b"content-type", media_type.encode()),
        (b"content-length", str(left).encode()),
        (b"cache-control", b"no-store"),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for chunk in content.chunks():
        left -= len(chunk)
        await send({"type": "http.response.body", "body": chunk, "more_body": left > 0})


def _check_room(state: AppState, scope: Scope) -> None:
    wait = state.gateway.full(caller_of(scope))
    if wait is not None:
        raise Busy("The queue is full; try again in a moment.", retry_after=wait)


def _refuse_misplaced(query: Mapping[str, str]) -> None:
    """Raise `InvalidRequest` for a parameter of the body in the query, where it would have no effect."""
    for name in query:
        if fields.is_known_field(name):
            message = f"{name} belongs in the body of the request, not in its address."
            raise InvalidRequest(message, param=name)


def _dry_run(query: Mapping[str, str]) -> bool:
    """Return whether the query, or the same names in the body, request a dry run; `?dryRun` without a value does."""
    word = next((value.strip().lower() for name, value in query.items() if name.lower() in DRY_RUN), "false")
    if word not in TRUE | FALSE | {""}:
        raise InvalidRequest("dryRun must be true or false.", param="dryRun")
    return word not in FALSE
