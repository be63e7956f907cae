"""The outermost layer: request ids, common headers, the one error body, a log line and numbers for every request."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import msgspec
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from fluxvision.core.errors import CallerGone, Error, InvalidRequest, MethodNotAllowed, NotFound
from fluxvision.http import site
from fluxvision.http.framing import RawHeaders, RequestBody, ResponseSender, check_headers
from fluxvision.http.metrics import Metrics
from fluxvision.http.observability import Record, trace
from fluxvision.http.responses import error_body, error_headers, told
from fluxvision.http.state import RECORD, draining

NO_ROUTE = "(none)"


def request_id(milliseconds: int) -> str:
    """Return a new id that sorts by time: a UUID of version 7 behind `req_`."""
    value = milliseconds << 80 | secrets.randbits(80)
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return f"req_{value:032x}"


class Frame:
    """Wraps the whole application; nothing below it has to know that a request can fail."""

    def __init__(self, app: ASGIApp, log: Any, metrics: Metrics, patience: float) -> None:
        """Wrap `app`; a caller who takes nothing of an answer for `patience` seconds is given up."""
        self._app = app
        self._patience = patience
        self._log = log
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request to its end, whatever happens."""
        if scope["type"] != "http":
            return
        started = time.perf_counter()
        record = scope[RECORD] = Record(request_id(time.time_ns() // 1_000_000))
        body = RequestBody(scope, receive)

        def headers(sent: RawHeaders) -> RawHeaders:
            yield from _common(sent, record, started)
            if body.ends_connection:
                yield b"connection", b"close"

        framed = ResponseSender(scope, send, self._patience, headers)
        gone = 0
        try:
            check_headers(scope)
            await self._app(scope, body, framed)
            framed.check_complete()
        except asyncio.CancelledError:
            # The drain's patience is over. The task ends here, so the cancellation has served its purpose.
            await _answer(framed, draining(record.attempts), "")
        except CallerGone as error:
            gone = error.status
        except Exception as error:  # noqa: BLE001 - the last line of defence
            # In a frame of its own: kept here, the error and its traceback would hold each other and the connection.
            await self._answer_error(scope, body, framed, error)
        status = framed.status or gone
        seconds = time.perf_counter() - started
        route = getattr(scope.get("route"), "path", NO_ROUTE)
        self._metrics.request(route, status, seconds)
        self._log.info(
            "request",
            method=scope["method"],
            route=route,
            status=status,
            ms=round(seconds * 1000, 1),
            request_id=record.request_id,
            model=record.model,
            provider=record.provider,
            cost_micros=record.cost,
        )
        if body.lingers:
            await body.drain()

    async def _answer_error(self, scope: Scope, receive: Receive, send: ResponseSender, error: Exception) -> None:
        """Log what nobody expected, and answer."""
        record: Record = scope[RECORD]
        failure, allow = _translate(error, scope["path"], record)
        if not isinstance(error, Error | HTTPException):
            self._log.error("unexpected", request_id=record.request_id, trace=trace(error))
        if not send.status and isinstance(failure, NotFound) and site.for_people(scope):
            await site.nowhere(scope, receive, send)
        await _answer(send, failure, allow)


def _common(sent: RawHeaders, record: Record, started: float) -> Iterator[tuple[bytes, bytes]]:
    """Yield the headers that every answer has beside those that are `sent`."""
    identity = record.request_id.encode()
    yield b"x-request-id", identity
    yield b"x-fluxvision-request-id", identity
    yield b"openai-processing-ms", b"%d" % round((time.perf_counter() - started) * 1000)
    if not any(name == b"x-content-type-options" for name, _ in sent):
        yield b"x-content-type-options", b"nosniff"
    if record.provider is not None:
        yield b"x-fluxvision-provider", record.provider.encode("latin-1", "replace")
    if record.model is not None:
        yield b"x-fluxvision-model", record.model.encode("latin-1", "replace")


def _translate(error: Exception, path: str, record: Record) -> tuple[Error, str]:
    """Return the error that the caller sees, and the methods that the address takes where that is the point."""
    if isinstance(error, HTTPException):
        if error.status_code == NotFound.status:
            hint = " Pictures are enlarged by /images/edits." if "/images/" in path else ""
            return NotFound(f"There is nothing at this address.{hint}"), ""
        if error.status_code == MethodNotAllowed.status:
            allow = (error.headers or {}).get("Allow", "")
            return MethodNotAllowed(f"This address takes {allow} only."), allow
        return InvalidRequest("The request cannot be understood."), ""
    return told(error, record.attempts), ""


async def _answer(send: ResponseSender, error: Error, allow: str) -> None:
    """Send an error as the whole response, unless one has begun."""
    if send.status:
        return
    body = msgspec.json.encode(error_body(error))
    headers = {**error_headers(error, allow), "content-length": str(len(body))}
    raw = [(name.encode("latin-1"), value.encode("latin-1", "replace")) for name, value in headers.items()]
    with suppress(CallerGone):  # nobody reads it
        await send({"type": "http.response.start", "status": error.status, "headers": raw})
        await send({"type": "http.response.body", "body": body})
