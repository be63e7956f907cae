"""Builds the response of an error: OpenAI's body, and the headers for retries."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress

import msgspec
from msgspec import UNSET
from starlette.types import Send

from fluxvision.accounts.rate_limit import rate_limit_headers
from fluxvision.core.errors import (
    AuthenticationFailed,
    CallerGone,
    Error,
    InternalError,
    InvalidRequest,
    MethodNotAllowed,
    RangeNotSatisfiable,
    TooMany,
)
from fluxvision.core.money import CURRENCY, sum_costs
from fluxvision.core.receipt_schemas import attempt_entries, dollars_or_none
from fluxvision.core.system import resource_error
from fluxvision.core.types import Attempt
from fluxvision.http.responses import ErrorBody, ErrorDetail, ErrorMetadata, ParameterError


def error_body(error: Error, attempts: Sequence[Attempt] = ()) -> ErrorBody:
    """Return OpenAI's error body, with the outcome and cost of each attempt if there were any."""
    tried = ErrorMetadata(
        attempts=attempt_entries(attempts),
        cost=dollars_or_none(sum_costs(attempt.cost for attempt in attempts)),
        cost_currency=CURRENCY,
    )
    several = error.errors if isinstance(error, InvalidRequest) else ()
    detail = ErrorDetail(message=error.message, type=error.type, param=error.param, code=error.code)
    if several:
        detail.errors = [ParameterError(message=one.message, param=one.param, code=one.code) for one in several]
    return ErrorBody(
        error=detail,
        metadata=tried if attempts else UNSET,
    )


def error_for_client(error: Exception) -> Error:
    """Return the error that the caller gets: an `Error` as it is, for any other exception a generic one."""
    found = error if isinstance(error, Error) else resource_error(error)
    return found or InternalError("Something went wrong on this server.")


def error_headers(error: Error, attempts: Sequence[Attempt] = (), allow: str = "") -> dict[str, str]:
    """Return the headers that tell a client whether and when to retry, given the cost of its attempts."""
    headers = {"content-type": "application/json", "cache-control": "no-store"}
    if not error.retryable or any(attempt.cost_bound != 0 for attempt in attempts):  # a retry may pay again
        headers["x-should-retry"] = "false"
    if error.retry_after is not None:
        headers["retry-after"] = str(max(1, math.ceil(error.retry_after)))
        headers["retry-after-ms"] = str(max(1, math.ceil(error.retry_after * 1000)))
    if isinstance(error, TooMany) and error.rate is not None:
        headers |= rate_limit_headers(error.rate)
    if isinstance(error, AuthenticationFailed):
        headers["www-authenticate"] = "Bearer"
    if isinstance(error, MethodNotAllowed) and allow:
        headers["allow"] = allow
    if isinstance(error, RangeNotSatisfiable) and error.size is not None:
        headers["content-range"] = f"bytes */{error.size}"
    return headers


async def send_error(send: Send, error: Error, attempts: Sequence[Attempt] = (), allow: str = "") -> None:
    """Send an error as the whole response, to a caller that may have gone."""
    body = msgspec.json.encode(error_body(error, attempts))
    headers = {**error_headers(error, attempts, allow), "content-length": str(len(body))}
    raw = [(name.encode("latin-1"), value.encode("latin-1", "replace")) for name, value in headers.items()]
    with suppress(CallerGone):
        await send({"type": "http.response.start", "status": error.status, "headers": raw})
        await send({"type": "http.response.body", "body": body})
