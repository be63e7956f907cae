"""POST /images/edits: reads the request, runs the job, and sends the response.

The module is long because a request's way, from its body to its response, is told in one place.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

from fluxvision import imaging
from fluxvision.accounts.keys import check_model
from fluxvision.catalog.coerce import FALSE, TRUE
from fluxvision.core import tracing
from fluxvision.core.callbacks import JobCallbacks
from fluxvision.core.concurrency import run_in_thread
from fluxvision.core.errors import Busy, CallerGone, InvalidRequest, UnsupportedMediaType
from fluxvision.core.images import InputImage
from fluxvision.core.types import Job, JobResult
from fluxvision.gateway.execution import PreparedJob, deadline_error
from fluxvision.http import base64_stream, media, stored_jobs, streaming, webhooks
from fluxvision.http.base64_stream import ChunkedBody, encode_base64
from fluxvision.http.error_response import send_error
from fluxvision.http.media import media_link
from fluxvision.http.parsing import body, fields, json_body, multipart
from fluxvision.http.parsing.fields import query_parameters
from fluxvision.http.playground_limits import client_network, is_visitor
from fluxvision.http.responses import ImageEntry, QuoteResponse
from fluxvision.http.result_body import images_body, quote_body, revised_prompt
from fluxvision.http.run_job import run_job
from fluxvision.http.state import DEPLOYMENT, AppState, caller_of, record_of
from fluxvision.http.stored_jobs import StoredJobOptions
from fluxvision.http.upload_limits import VISITORS_PER_SECOND, Take
from fluxvision.net import fetch

DRY_RUN = frozenset({"dryrun", "dry_run"})
FORM, DOCUMENT = "multipart/form-data", "application/json"
UNWATCHED = 0.25
"""Seconds of a request before checking for a disconnect begins, because checking takes as long as parsing."""


@dataclass(frozen=True, slots=True)
class RequestPhases:
    """Callbacks for the phases of a request."""

    on_received: Callable[[], None]
    """Called when all pictures have been received."""
    on_ready: Callable[[], None]
    """Called when only sending the response remains."""


async def create_edit(state: AppState, scope: Scope, receive: Receive, send: Send) -> None:
    """Read the request, run the job, send the response; the files are deleted in any case."""
    headers = Headers(scope=scope)
    query = query_parameters(scope)
    dry = _dry_run(query)
    _refuse_misplaced(query)
    visitor = client_network(scope) if is_visitor(scope) else None
    if visitor is not None:
        state.playground.count(visitor, state.now(), dry=dry)
    media_type = body.content_type(headers)
    limit, hint = state.settings.max_upload_bytes, ""
    if _body_kind(media_type) == DOCUMENT:
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
                form = await _read_form(media_type, arriving, folder, take)
                if form.fields.get("model") in (None, "") and DEPLOYMENT in scope:
                    form.fields["model"] = scope[DEPLOYMENT]
                phases = RequestPhases(arrived, on_ready)
                await _wait_for_disconnect(
                    receive, _start_work(state, scope, send, form, folder, dry=dry, phases=phases)
                )
            whole = True
        finally:
            # In the same turn, not in a thread: a cancelled task would not wait for the thread.
            state.data_dir.release(folder, whole=whole)


async def _start_work(
    state: AppState, scope: Scope, send: Send, form: body.Form, folder: Path, *, dry: bool, phases: RequestPhases
) -> None:
    """Run the job of the form, or quote it, and send the response."""
    # `dry_run` in the body counts too; never charge for it.
    said = {name: form.fields.pop(name) for name in list(form.fields) if name.lower() in DRY_RUN}
    dry = dry or _dry_run({name: str(value) for name, value in said.items() if value is not None})
    background = stored_jobs.wants_background(Headers(scope=scope), form.fields)
    options = StoredJobOptions(background, await webhooks.take_webhook(state, scope, form.fields))
    with tracing.span("admit"):
        job = await admit_job(state, form, folder, record_of(scope).request_id)
    job = replace(job, caller=caller_of(scope), traceparent=tracing.traceparent())
    check_model(job.caller, job.model)
    phases.on_received()
    record_of(scope).model = job.model
    if dry:
        body = await _quote(state, scope, job)
        phases.on_ready()
        await _send_body(send, encode_base64(body))
        return
    prepare = state.playground.reserve if is_visitor(scope) else state.gateway.prepare
    try:
        prepared = prepare(job)
        if stored_jobs.is_stored(scope, prepared, options):
            await _respond_stored(state, scope, send, prepared, options=options, on_ready=phases.on_ready)
        else:
            await _respond(state, scope, send, prepared, folder, on_ready=phases.on_ready)
    finally:
        state.playground.ended(job)


async def _respond_stored(
    state: AppState,
    scope: Scope,
    send: Send,
    prepared: PreparedJob,
    *,
    options: StoredJobOptions,
    on_ready: Callable[[], None],
) -> None:
    """Store and start the job, or find the one that this request repeats, and send its result.

    Unless it is to be cancelled, the job goes on when the caller disconnects.
    """
    await prepared.check_mask()
    if not options.background:
        _check_room(state, scope)
    entry = await stored_jobs.enter_job(state, scope, prepared, options)
    if options.background:
        on_ready()
        await stored_jobs.send_accepted(state, scope, send, entry.id)
    elif prepared.job.values.get("stream"):
        events = streaming.ServerSentEvents(state, scope, send, prepared.job.model, on_ready)
        previews = bool(prepared.job.values.get("partial_images"))
        work = partial(stored_jobs.stored_events, state, scope, entry.id, seconds=stored_jobs.patience(state))
        await events.send(entry.id, work, previews=previews)
    else:
        body = await stored_jobs.stored_result(state, scope, entry.id)
        on_ready()
        await _send_body(send, body)


async def _respond(
    state: AppState, scope: Scope, send: Send, prepared: PreparedJob, folder: Path, *, on_ready: Callable[[], None]
) -> None:
    """Run the job and send its result; one that is late is answered before it has ended."""
    if prepared.job.values.get("stream"):
        await prepared.check_mask()  # what can be refused is refused with a status of its own
        _check_room(state, scope)
        await streaming.stream_result(state, scope, send, prepared, folder, on_ready=on_ready)
        return
    early: list[asyncio.Task[None]] = []

    def answer_late() -> None:
        early.append(asyncio.create_task(send_error(send, deadline_error(state.gateway.deadline))))

    try:
        delivery = await run_job(state, scope, prepared, JobCallbacks(), folder, on_late=answer_late)
    finally:
        for answer in early:
            await answer
    images = await _encode_pictures(state, scope, delivery)
    on_ready()
    await _send_body(send, images)


async def _quote(state: AppState, scope: Scope, job: Job) -> QuoteResponse:
    """Return the body of a dry run; without a key, also the offers that need one."""
    prepared = state.gateway.prepare(job)
    if not is_visitor(scope):
        await prepared.check_mask()
        return quote_body(prepared.quote(), job.id)
    bounded = state.playground.prepare(job)
    await bounded.check_mask()
    found, keyed = state.playground.quotes(prepared, bounded)
    return quote_body(found, job.id, keyed)


async def _encode_pictures(state: AppState, scope: Scope, delivery: JobResult) -> ChunkedBody:
    now = state.media_clock()
    data: list[ImageEntry] = []
    zooms: list[str | None] = []
    for picture in delivery.pictures:
        entry = ImageEntry(revised_prompt=revised_prompt(picture))
        data.append(entry)
        if delivery.plan.response_format == "b64_json":
            entry.b64_json = base64_stream.base64_file(picture)
        else:
            name = await state.media.put(picture.path, picture.mime, now)
            entry.url = await media_link(state, scope, name, now)
            zooms.append(media.deep_zoom_link(state, scope, picture.width * picture.height, name, now))
    return encode_base64(images_body(delivery, data, int(state.now()), zooms))


async def admit_job(state: AppState, form: body.Form, folder: Path, request_id: str) -> Job:
    """Fetch the pictures of a form into `folder`, check everything and return the job."""
    if "image" not in form.pictures:
        raise InvalidRequest("image is missing: send the picture to enlarge.", param="image")
    model = form.fields.pop("model", None)
    if not isinstance(model, str) or not model.strip():
        reason = "is missing" if model is None or isinstance(model, str) else "must be a text"
        message = f"model {reason}: name the model to use."
        raise InvalidRequest(message, param="model")
    sources: dict[str, InputImage] = {}
    for name, picture in form.pictures.items():
        if isinstance(picture, Path):
            path = picture
        else:
            path = folder / f"{name}.fetched"
            await fetch.resolve(
                picture,
                path,
                name,
                guard=state.guard,
                limit=state.settings.max_upload_bytes,
                patience=state.settings.fetch_timeout,
            )
        content = form.contents.get(name)
        if imaging.is_quick_to_read(path.stat().st_size if content is None else len(content), content):
            sources[name] = state.probe(path, name, content)
        else:
            sources[name] = await run_in_thread(state.probe, path, name, content)
    return state.gateway.admit(model, form.fields, sources["image"], sources.get("mask"), request_id)


async def _read_form(media_type: str, chunks: AsyncIterator[bytes], folder: Path, take: Take) -> body.Form:
    kind = _body_kind(media_type)
    if kind == FORM:
        return await multipart.read_multipart(media_type, chunks, folder, take)
    if kind == DOCUMENT:
        return await json_body.read_json(chunks, folder, take)
    message = f"The body must be {FORM} or {DOCUMENT}."
    raise UnsupportedMediaType(message)


def _body_kind(media_type: str) -> str:
    return media_type.partition(";")[0].strip().lower()


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


async def _send_body(send: Send, content: ChunkedBody) -> None:
    left = content.length
    headers = [
        (b"content-type", b"application/json"),
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
