"""Stored jobs over HTTP: how an edit becomes one, and GET, DELETE and events of /v1/requests.

The module is long because a stored job's whole life as its caller sees it is here.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import UNSET
from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

from fluxvision.catalog.coerce import TRUE
from fluxvision.core.callbacks import JobCallbacks
from fluxvision.core.concurrency import run_in_thread, run_to_the_end
from fluxvision.core.errors import InvalidRequest, NotFound
from fluxvision.core.job_status import ACTIVE, COMPLETED, STATUSES
from fluxvision.gateway.execution import PreparedJob, deadline_error
from fluxvision.http.base64_stream import ChunkedBody
from fluxvision.http.client_api import EditRequest
from fluxvision.http.error_response import error_body
from fluxvision.http.media import public_base
from fluxvision.http.parsing.fields import query_parameters
from fluxvision.http.playground_limits import is_visitor
from fluxvision.http.responses import ImagesResponse, RequestList, RequestObject, RequestProgress
from fluxvision.http.run_job import GRACE
from fluxvision.http.state import AppState, caller_of, record_of
from fluxvision.http.stored_response import load_response, stored_body, stored_error
from fluxvision.http.streaming import ServerSentEvents, completed_events
from fluxvision.jobs.job_files import fingerprint
from fluxvision.jobs.request_types import Entry, RequestFilter, RequestIdentity, Webhook, owner

if TYPE_CHECKING:
    from fluxvision.jobs.records import RequestRow

LONGEST_NUMBER = 9
"""Most digits of a whole number in a request."""
LONGEST_KEY = 255
"""Most characters of an idempotency key."""
PREFER, ASYNC = "prefer", "respond-async"
RETRIES = "x-stainless-retry-count"
"""How often the official SDKs say that they have sent this request before."""
MOST, USUAL = 100, 20
"""Requests on a page of the list."""


@dataclass(frozen=True, slots=True)
class StoredJobOptions:
    """What a caller wants of a stored job."""

    background: bool
    """Whether the answer is not waited for."""
    webhook: Webhook | None
    """Where its end is told."""


def idempotency_key(headers: Headers) -> str | None:
    """Return the caller's idempotency key; raises `InvalidRequest` for one that cannot be kept."""
    key = headers.get("idempotency-key")
    if key is not None and not (key.isprintable() and key.strip() and len(key) <= LONGEST_KEY):
        message = f"Idempotency-Key must have 1 to {LONGEST_KEY} printable characters."
        raise InvalidRequest(message, param="Idempotency-Key")
    return key


def is_retry(headers: Headers) -> bool:
    """Return whether an official SDK says that it has sent this request before."""
    return bool(_whole_number(headers.get(RETRIES, "0")))


def wants_background(headers: Headers, fields: dict[str, Any]) -> bool:
    """Return whether the answer shall not be waited for, and take `background=true` out of the fields.

    Other values of `background` are OpenAI's, and are about transparency.
    """
    asked = {word.strip().lower() for word in headers.get(PREFER, "").split(",")}
    if str(fields.get("background", "")).strip().lower() in TRUE:
        del fields["background"]
        return True
    return ASYNC in asked


def is_stored(scope: Scope, prepared: PreparedJob, options: StoredJobOptions) -> bool:
    """Return whether a job outlives its connection: a background job, or one that may cost, has a webhook or a key.

    The key is one for idempotency.

    Those of the page without a key do not; its budget is this process's alone.
    """
    if is_visitor(scope):
        return False
    is_asked = options.background or options.webhook is not None
    return is_asked or idempotency_key(Headers(scope=scope)) is not None or prepared.may_cost


async def enter_job(
    state: AppState, scope: Scope, prepared: PreparedJob, options: StoredJobOptions, number: int = 0
) -> Entry:
    """Enter a job, or find the one that this request repeats; a caller that goes away meanwhile does not stop it.

    Of a request with several jobs, each has its `number`, from 0, in its idempotency key.
    """
    headers = Headers(scope=scope)
    key, repeats = idempotency_key(headers), is_retry(headers)
    if key is not None and number:
        key = f"{key}\n{number}"  # no caller's key has a line break

    async def enter() -> Entry:
        webhook = options.webhook
        url = None if webhook is None else webhook.url
        digest = await run_in_thread(fingerprint, prepared.job, url)
        identity = RequestIdentity(digest, key, is_retry=repeats, received_at=record_of(scope).received_at)
        return await (await state.jobs.get()).enter(prepared, identity, background=options.background, webhook=webhook)

    entry = await run_to_the_end(enter())
    record_of(scope).replayed, record_of(scope).rate = not entry.is_new, entry.rate
    return entry


def patience(state: AppState) -> float:
    """Return the seconds that a caller waits for a stored job at most."""
    return state.gateway.deadline + GRACE


async def wait_for_row(
    state: AppState, scope: Scope, request_id: str, callbacks: JobCallbacks, seconds: float | None = None
) -> RequestRow:
    """Wait for a stored job, note its facts for headers, log and metrics, and return its row; raises its error.

    Raises `DeadlineExceeded` after `seconds`, with the job going on.
    """
    service = await state.jobs.get()
    try:
        async with asyncio.timeout(seconds):
            row = await service.wait(request_id, callbacks)
    except TimeoutError:
        raise deadline_error(state.gateway.deadline) from None
    found = record_of(scope)
    found.provider = row.provider
    if row.error is not None:
        error, attempts = stored_error(row.error)
        if not found.replayed:
            found.attempts, found.cost = attempts, row.cost
        raise error
    if not found.replayed:
        found.cost = row.cost
    return row


async def stored_result(
    state: AppState, scope: Scope, request_id: str, *, embeds_files: bool = False
) -> ImagesResponse:
    """Wait for a stored job and return its body, as `stored_body` does; raises its error."""
    row = await wait_for_row(state, scope, request_id, JobCallbacks(), patience(state))
    return await stored_body(state, scope, await load_response(state, row.response), embeds_files=embeds_files)


async def stored_events(
    state: AppState,
    scope: Scope,
    request_id: str,
    callbacks: JobCallbacks,
    request: EditRequest,
    *,
    seconds: float | None = None,
) -> Sequence[ChunkedBody]:
    """Wait for a stored job, at most `seconds`, and return the events of its pictures; raises its error."""
    row = await wait_for_row(state, scope, request_id, callbacks, seconds)
    return await completed_events(state, scope, await load_response(state, row.response), request)


async def send_accepted(state: AppState, scope: Scope, send: Send, request_id: str) -> None:
    """Answer that a background job was entered, and where it is found."""
    row = await (await state.jobs.get()).find(request_id)
    place = f"{public_base(state.settings.public_url, scope)}/v1/requests/{request_id}"
    headers = [(b"location", place.encode()), (b"preference-applied", ASYNC.encode())]
    await send_json(send, await request_object(state, scope, row), status=202, headers=headers)


async def list_requests(state: AppState, scope: Scope, _receive: Receive, send: Send) -> None:
    """Send a page of the caller's requests, the newest first."""
    service, query = await state.jobs.get(), query_parameters(scope)
    key_id = owner(caller_of(scope))
    limit, status = page_limit(query), choice(query, "status", STATUSES)
    cursor = query.get("cursor")
    last = await service.find(cursor, key_id) if cursor else None
    wanted = RequestFilter(
        key_id,
        statuses=(status,) if status else (),
        created_after=_time(query, "created_after"),
        before=None if last is None else (last.created_at, last.id),
        limit=limit,
    )
    rows = await service.list(wanted)
    shown = [await request_object(state, scope, row, whole=False) for row in rows[:limit]]
    more = len(rows) > limit
    await send_json(send, RequestList(data=shown, has_more=more, next_cursor=shown[-1].id if more else None))


async def show_request(state: AppState, scope: Scope, _receive: Receive, send: Send) -> None:
    """Send one request, with its response or error when it has ended."""
    await send_json(send, await request_object(state, scope, await _own_row(state, scope)))


async def cancel_request(state: AppState, scope: Scope, _receive: Receive, send: Send) -> None:
    """Cancel a request, and send how it is now; one that has ended stays as it is."""
    row = await _own_row(state, scope)
    await (await state.jobs.get()).cancel(row.id)
    await send_json(send, await request_object(state, scope, await _own_row(state, scope)))


async def purge_request(state: AppState, scope: Scope, _receive: Receive, send: Send) -> None:
    """Delete what a request asked for and was answered, pictures included."""
    row = await _own_row(state, scope)
    await (await state.jobs.get()).purge(row.id)
    await send_json(send, await request_object(state, scope, await _own_row(state, scope)))


async def follow_request(state: AppState, scope: Scope, _receive: Receive, send: Send) -> None:
    """Send the events of a request from now on: its progress, and its pictures or error."""
    row = await _own_row(state, scope)
    request = EditRequest()
    events = ServerSentEvents(state, scope, send, row.model, request=request)
    record_of(scope).replayed = True  # following costs nothing
    await events.send(row.id, lambda callbacks: stored_events(state, scope, row.id, callbacks, request))


async def _own_row(state: AppState, scope: Scope) -> RequestRow:
    return await (await state.jobs.get()).find(scope["path_params"]["id"], owner(caller_of(scope)))


async def request_object(state: AppState, scope: Scope, row: RequestRow, *, whole: bool = True) -> RequestObject:
    """Return a request as it is shown; `whole` includes its response."""
    shown = RequestObject(
        id=row.id,
        status=row.status,
        model=row.model,
        provider=row.provider,
        background=row.background,
        created_at=int(row.created_at),
        ended_at=None if row.ended_at is None else int(row.ended_at),
        cost_micros=row.cost,
        has_response=row.response is not None,
        batch_id=UNSET if row.batch_id is None else row.batch_id,
        custom_id=UNSET if row.custom_id is None else row.custom_id,
    )
    if row.status in ACTIVE and state.jobs.opened is not None:
        done, total = state.jobs.opened.progress(row.id)
        shown.progress = RequestProgress(done=done, total=total)
    if row.error is not None:
        shown.error = error_body(*stored_error(row.error)).error
    if whole and row.status == COMPLETED and row.response is not None:
        try:
            stored = await load_response(state, row.response)
        except NotFound as gone:
            shown.error = error_body(gone).error
        else:
            stored.response_format = "url"  # a link is shorter, and signed for as long as this answer is of use
            shown.response = await stored_body(state, scope, stored)
    return shown


def page_limit(query: Mapping[str, str]) -> int:
    """Return how many entries a page of a list has at most."""
    found = _whole_number(query.get("limit", str(USUAL)))
    if found is None or not 1 <= found <= MOST:
        message = f"limit must be a whole number of 1 to {MOST}."
        raise InvalidRequest(message, param="limit")
    return found


def _whole_number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= LONGEST_NUMBER else None


def choice(query: Mapping[str, str], name: str, choices: Sequence[str]) -> str | None:
    """Return a query parameter that is one of some words, None where it is absent."""
    found = query.get(name)
    if found is not None and found not in choices:
        message = f"{name} must be one of {', '.join(choices)}."
        raise InvalidRequest(message, param=name)
    return found


def _time(query: Mapping[str, str], name: str) -> float | None:
    text = query.get(name)
    if text is None:
        return None
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not math.isfinite(found):
        message = f"{name} must be a Unix time in seconds."
        raise InvalidRequest(message, param=name)
    return found


async def send_json(
    send: Send, value: Any, status: int = 200, headers: list[tuple[bytes, bytes]] | None = None
) -> None:
    """Send a struct as JSON."""
    body = msgspec.json.encode(value)
    plain = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": [*plain, *(headers or [])]})
    await send({"type": "http.response.body", "body": body})
