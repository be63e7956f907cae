"""Middleware: authentication, and errors, request ids, common headers, log line and metrics of every request."""

from __future__ import annotations

import asyncio
import ipaddress
import secrets
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from fluxvision.accounts.keys import Keys, find_credentials
from fluxvision.accounts.rate_limit import rate_limit_headers
from fluxvision.core import tracing
from fluxvision.core.errors import (
    AuthenticationFailed,
    CallerGone,
    Error,
    Forbidden,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
)
from fluxvision.core.settings import Settings
from fluxvision.core.types import Caller
from fluxvision.http import site
from fluxvision.http.cors import NO_CORS, CorsPolicy
from fluxvision.http.error_response import error_for_client, send_error
from fluxvision.http.framing import RawHeaders, RequestBody, ResponseSender, check_headers
from fluxvision.http.job_tracker import draining_error
from fluxvision.http.observability import Metrics, RequestRecord, format_trace
from fluxvision.http.playground_limits import VISITOR, is_keyless_page_request
from fluxvision.http.state import CALLER, RECORD

METHODS = frozenset({"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"})
"""Methods that spans name; OpenTelemetry's conventions have `_OTHER` for those that a caller made up."""
OPEN_PATHS = frozenset({"/healthz", "/health", "/readyz"})
FACTS = "/v1/page"
"""The path that the page requests before it knows whether a key is needed."""
VISITED = frozenset({("POST", "/v1/images/edits"), ("GET", "/v1/models"), ("HEAD", "/v1/models")})
VISITED_BELOW = "/v1/models/"
KEYED = ("/v1/", "/openai/v1/", "/metrics", "/mcp", "/sdapi/")
BASIC_AUTH = "/sdapi/"
"""Paths below which a key may come as the password of basic authentication, which their clients know only."""
DEFAULT_PORTS = {"http": 80, "https": 443}
VISITORS_WEIGHT = 0.25
"""Weight of all requests without a key together, relative to one key."""
LOCAL_NAMES = frozenset({"localhost", "ip6-localhost", "host.docker.internal"})
LOCAL_ENDINGS = (".localhost", ".local", ".internal", ".lan", ".home.arpa")


class AuthMiddleware:
    """Checks the key and the origin of a request before its body is read; raises an error or passes it on."""

    def __init__(self, app: ASGIApp, keys: Keys, settings: Settings, cors: CorsPolicy = NO_CORS) -> None:
        """Wrap `app`; the websites of `cors` are no foreign ones, and their preflights are answered here."""
        self._app = app
        self._cors = cors
        self._keys = keys
        self._open: bool = settings.playground
        self._wide = not is_loopback(settings.host)
        self._visitors = Caller("visitors", VISITORS_WEIGHT, settings.playground_pixels)
        self._public = urlsplit(settings.public_url).netloc.lower()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check one request and pass it on."""
        granted = self._cors.preflight_headers(scope)
        if granted is not None:  # a browser sends no key with it
            await send({"type": "http.response.start", "status": 204, "headers": granted})
            await send({"type": "http.response.body"})
            return
        headers = Headers(scope=scope)
        path = scope["path"]
        if path not in OPEN_PATHS:
            await self._keys.update()
        if not self._keys.required and path not in OPEN_PATHS:
            self._check_names(headers, self._cors)
        if path != FACTS and path.startswith(KEYED) and not self._visits(scope, headers):
            scope[CALLER] = await self._keys.check(
                find_credentials(scope["headers"], basic=path.startswith(BASIC_AUTH))
            )
        await self._app(scope, receive, send)

    def _visits(self, scope: Scope, headers: Headers) -> bool:
        """Return whether the page may make this request without a key; raises an error for a foreign origin."""
        path, method = scope["path"], scope["method"]
        below = method in {"GET", "HEAD"} and path.startswith(VISITED_BELOW)
        if not is_keyless_page_request(headers) or (
            self._keys.required and not below and (method, path) not in VISITED
        ):
            return False
        if not self._open:
            raise AuthenticationFailed("On this server the page needs a key.")
        self._check_names(headers, NO_CORS)
        if headers.get("sec-fetch-site", "same-origin") != "same-origin":
            raise Forbidden("Without a key this server does not answer requests that other websites make.")
        scope[VISITOR] = True
        if self._keys.required:  # otherwise the page is as good as everybody else
            scope[CALLER] = self._visitors
        return True

    def _check_names(self, headers: Headers, cors: CorsPolicy) -> None:
        """Raise `Forbidden` for a foreign host name, or an origin that is neither this server's nor one of `cors`."""
        host = headers.get("host", "").lower()
        origin = headers.get("origin")
        if not (host and (host == self._public or _is_local_host(host, wide=self._wide))):
            raise Forbidden("Without a key this server answers local host names only; set public_url to its address.")
        if (
            origin is not None
            and not cors.allows(origin)
            and not _is_same_origin(origin.lower(), host)
            and not _is_same_origin(origin.lower(), self._public)
        ):
            raise Forbidden("Without a key this server does not answer requests that other websites make.")


def is_loopback(host: str) -> bool:
    """Return whether a name or address is that of this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _is_local_host(netloc: str, *, wide: bool) -> bool:
    """Return whether no foreign DNS server can have resolved a Host header to this machine.

    Beyond loopback (`wide`) that includes addresses, names without a dot, and the endings reserved for local networks.
    """
    try:
        host = urlsplit("//" + netloc).hostname or ""
    except ValueError:
        return False
    if is_loopback(host) or host in LOCAL_NAMES:
        return True
    if not wide or not host:
        return False
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return "." not in host or host.endswith(LOCAL_ENDINGS)
    return True


def _is_same_origin(origin: str, netloc: str) -> bool:
    """Return whether a page of `origin` is served by `netloc`; the default port may be left out."""
    try:
        found, ours = urlsplit(origin), urlsplit("//" + netloc)
        default = DEFAULT_PORTS.get(found.scheme)
        return (
            bool(found.hostname)
            and default is not None
            and found.hostname == ours.hostname
            and (found.port or default) == (ours.port or default)
        )
    except ValueError:
        return False


NO_ROUTE = "(none)"


def request_id(milliseconds: int) -> str:
    """Return a new id that sorts by time: `req_` and a UUID of version 7."""
    value = milliseconds << 80 | secrets.randbits(80)
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return f"req_{value:032x}"


class ErrorMiddleware:
    """Wraps the whole application, converts exceptions to responses, and writes log line and metrics."""

    def __init__(self, app: ASGIApp, log: Any, metrics: Metrics, patience: float, cors: CorsPolicy = NO_CORS) -> None:
        """Wrap `app`, and add the headers of `cors` to every response.

        The connection is closed when the caller accepts nothing for `patience` seconds.
        """
        self._app = app
        self._patience = patience
        self._log = log
        self._metrics = metrics
        self._cors = cors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request to its end."""
        if scope["type"] != "http":
            return
        if scope["path"] in OPEN_PATHS:  # probes would be most of all traces
            await self._serve(scope, receive, send, tracing.NO_SPAN)
            return
        parent = Headers(scope=scope).get("traceparent", "") if tracing.is_traced() else ""
        with tracing.span("request", "server", parent) as span:
            await self._serve(scope, receive, send, span)

    async def _serve(self, scope: Scope, receive: Receive, send: Send, span: tracing.Span) -> None:
        started = time.perf_counter()
        milliseconds = time.time_ns() // 1_000_000
        record = scope[RECORD] = RequestRecord(request_id(milliseconds), received_at=milliseconds / 1000)
        body = RequestBody(scope, receive)

        def headers(sent: RawHeaders) -> RawHeaders:
            yield from _common_headers(sent, record, started)
            yield from self._cors.response_headers(scope)
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
            if not framed.status:
                await send_error(framed, draining_error(), record.attempts)
        except CallerGone as error:
            gone = error.status
        except Exception as error:  # noqa: BLE001 - the last line of defence
            # In a frame of its own: kept here, the error and its traceback would hold each other and the connection.
            await self._answer_error(scope, body, framed, error)
        status = framed.status or gone
        seconds = (framed.ended_at or time.perf_counter()) - started
        route = getattr(scope.get("route"), "path", NO_ROUTE)
        self._metrics.request(route, status, seconds)
        is_known = scope["method"] in METHODS
        span.rename(f"{scope['method'] if is_known else 'HTTP'} {route}")
        span.set("http.request.method", scope["method"] if is_known else "_OTHER")
        span.set("http.route", route)
        span.set("http.response.status_code", status)
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
        """Log an unexpected error, and send a response."""
        record: RequestRecord = scope[RECORD]
        failure, allow = _translate_error(error)
        if not isinstance(error, Error | HTTPException):
            self._log.error("unexpected", request_id=record.request_id, trace=format_trace(error))
        if not send.status and isinstance(failure, NotFound) and site.wants_html(scope):
            await site.not_found_page(scope, receive, send)
        if not send.status:
            await send_error(send, failure, record.attempts, allow)


def _common_headers(sent: RawHeaders, record: RequestRecord, started: float) -> Iterator[tuple[bytes, bytes]]:
    """Yield the headers of every response that are not among those `sent`."""
    identity = record.request_id.encode()
    yield b"x-request-id", identity
    yield b"x-fluxvision-request-id", identity
    yield b"openai-processing-ms", b"%d" % round((time.perf_counter() - started) * 1000)
    if not any(name == b"x-content-type-options" for name, _ in sent):
        yield b"x-content-type-options", b"nosniff"
    if record.rate is not None and not any(name.startswith(b"x-ratelimit-") for name, _ in sent):
        yield from ((name.encode(), value.encode()) for name, value in rate_limit_headers(record.rate).items())
    if record.replayed:
        yield b"idempotent-replayed", b"true"
    if record.provider is not None:
        yield b"x-fluxvision-provider", record.provider.encode("latin-1", "replace")
    if record.model is not None:
        yield b"x-fluxvision-model", record.model.encode("latin-1", "replace")


def _translate_error(error: Exception) -> tuple[Error, str]:
    """Return the error for the caller, and for a 405 the methods that the address supports."""
    if isinstance(error, HTTPException):
        if error.status_code == NotFound.status:
            return NotFound("There is nothing at this address."), ""
        if error.status_code == MethodNotAllowed.status:
            allow = (error.headers or {}).get("Allow", "")
            return MethodNotAllowed(f"This address takes {allow} only."), allow
        return InvalidRequest("The request cannot be understood."), ""
    return error_for_client(error), ""
