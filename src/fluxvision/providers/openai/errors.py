"""Translates failures of a server with OpenAI's API to errors for the caller, by tables, without private text."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import aiohttp
import msgspec

from fluxvision.core.errors import (
    Cancelled,
    Error,
    InvalidRequest,
    Misconfigured,
    PolicyRefused,
    UpstreamBusy,
    UpstreamError,
    UpstreamRefused,
    UpstreamUnasked,
    UpstreamUnreachable,
)
from fluxvision.core.types import Call
from fluxvision.net import client
from fluxvision.net.client import read_body
from fluxvision.net.redaction import READ, WITHHELD, redact, repeats_private_text

LONGEST = 65_536
"""Most bytes of a response without a picture."""

POLICY = frozenset({"content_policy_violation", "moderation_blocked", "content_filter", "responsibleaipolicyviolation"})
MONEY = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_error", "insufficient_balance"})
MODEL = frozenset({"model_not_found", "model_disabled", "deploymentnotfound"})
KEY = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})
ASKED_WRONGLY = frozenset({400, 404, 413, 415, 422})
PAGES = frozenset({404, 405})
"""Statuses that a proxy also sends when the server is down, with a page instead of an API error."""
CLIENT_CLOSED = 499
EMPTY = "does no work for this server now: its balance is used up"
STRAY = "answered {} with something that is no answer of an images API"
UNREQUESTED_VALUE = (UpstreamUnasked, "refused the request for something that was not asked for")
PICTURES = {"image": "image", "images": "image"}
"""Maps the servers' names of the picture to ours."""
PRIVATE = ("prompt", "negative_prompt", "user")
"""Parameters whose values are never repeated in messages."""

AWAY = "cannot be reached"
"""For errors before anything was sent, so that nothing can have been charged."""
FOREIGN: tuple[tuple[type[Exception], type[UpstreamError], str], ...] = (
    (aiohttp.ClientConnectorError, UpstreamUnreachable, AWAY),
    (aiohttp.ConnectionTimeoutError, UpstreamUnreachable, AWAY),
    (TimeoutError, UpstreamUnreachable, "did not answer in time"),
    (aiohttp.ClientConnectionError, UpstreamUnreachable, "closed the connection before it answered"),
    (Exception, UpstreamError, "did not answer as a web server"),
)
"""Exceptions of the HTTP client without a response, subclasses first, with their messages."""


@dataclass(frozen=True, slots=True)
class ErrorResponse:
    """An error response of a server, parsed."""

    status: int
    message: str
    param: str
    codes: frozenset[str]
    """The error's code and type."""
    wait: float | None
    """Seconds of Retry-After."""
    is_api_error: bool = False
    """Whether it has the format of the API's errors, so that it does not come from a proxy."""
    may_have_cost: bool = False
    """Whether another fluxvision reports that its failed attempts have, or may have, cost something."""

    @property
    def has_details(self) -> bool:
        """Whether this is an API error: it has a message, a code or a parameter."""
        return bool(self.message or self.param) or any(self.codes)

    @property
    def is_blocking_page(self) -> bool:
        """Whether this is a page of a proxy or firewall that blocks the request."""
        barred = self.status == HTTPStatus.FORBIDDEN or (self.status in ASKED_WRONGLY and not self.is_api_error)
        return barred and not self.has_details

    @property
    def blames_request(self) -> bool:
        """Whether the server blames the request."""
        return HTTPStatus.BAD_REQUEST <= self.status < HTTPStatus.INTERNAL_SERVER_ERROR

    @property
    def is_unknown_target(self) -> bool:
        """Whether the address or model does not exist."""
        route = self.status == HTTPStatus.NOT_FOUND and not self.param
        model = self.blames_request and (self.param == "model" or bool(self.codes & MODEL))
        return route or model or self.status == HTTPStatus.METHOD_NOT_ALLOWED


REFUSALS: tuple[tuple[Callable[[ErrorResponse], bool], type[Error], str], ...] = (
    (
        lambda error: error.blames_request and bool(error.codes & POLICY),
        PolicyRefused,
        "will not make this by its policy",
    ),
    (lambda error: error.status == HTTPStatus.PAYMENT_REQUIRED, UpstreamRefused, EMPTY),
    (lambda error: error.blames_request and bool(error.codes & MONEY), UpstreamRefused, EMPTY),
    (lambda error: error.status == HTTPStatus.TOO_MANY_REQUESTS, UpstreamBusy, "has no room for this work now"),
    (lambda error: error.status == CLIENT_CLOSED, Cancelled, "was stopped"),
    (lambda error: error.status in PAGES and not error.has_details, UpstreamError, STRAY),
    (lambda error: error.is_blocking_page, UpstreamRefused, STRAY),
    (lambda error: error.status in KEY, Misconfigured, "refuses this server's key"),
    (
        lambda error: error.is_unknown_target,
        Misconfigured,
        "does not know the address or the model that is configured for it",
    ),
    (lambda error: error.status in ASKED_WRONGLY, InvalidRequest, "refused the request"),
    (lambda error: 300 <= error.status < 400, UpstreamError, "answered with a redirect, which is not followed"),  # noqa: PLR2004
    (lambda _said: True, UpstreamError, "answered {}"),
)
"""Meanings of error responses; the first row that matches is used."""


async def read_refusal(response: aiohttp.ClientResponse) -> ErrorResponse:
    """Read and parse an error response, as far as possible."""
    wait = client.parse_retry_after(response.headers, time.time())
    try:
        return parse_error_response(msgspec.json.decode(await read_body(response, LONGEST)), response.status, wait)
    except (aiohttp.ClientError, TimeoutError, UpstreamError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return parse_error_response(None, response.status, wait)


def parse_error_response(found: Any, status: int = 0, wait: float | None = None) -> ErrorResponse:
    """Parse the body of an error response; missing texts are empty."""
    own, spent = _is_api_error(found), _has_spent(found)
    if isinstance(found, dict):
        found = found.get("error") or found
    if not isinstance(found, dict):
        found = {"message": found}
    found = {**_read_detail(found.get("detail")), **found}
    texts = {name: found.get(name) for name in ("message", "type", "param", "code")}
    found_texts = {name: text if isinstance(text, str) else "" for name, text in texts.items()}
    codes = frozenset({found_texts["code"].lower(), found_texts["type"].lower()})
    return ErrorResponse(
        status, found_texts["message"], found_texts["param"].partition("[")[0], codes, wait, own, spent
    )


def _is_api_error(found: Any) -> bool:
    """Return whether a body is an API error: an object under `error`, or only `error` or `detail`."""
    if not isinstance(found, dict):
        return False
    return isinstance(found.get("error"), dict) or found.keys() in ({"error"}, {"detail"})


def _has_spent(found: Any) -> bool:
    told = found.get("metadata") if isinstance(found, dict) else None
    return isinstance(told, dict) and bool(told.get("attempts")) and told.get("cost") != 0


def _read_detail(detail: Any) -> Mapping[str, Any]:
    """Return the message and parameter of an error in FastAPI's format: a text, or a list of errors."""
    if not (isinstance(detail, list) and detail and isinstance(detail[0], dict)):
        return {"message": detail}
    place = detail[0].get("loc")
    names = [part for part in place if isinstance(part, str)] if isinstance(place, list) else []
    return {"message": detail[0].get("msg"), "param": names[-1] if names and names[-1] != "body" else None}


@dataclass(frozen=True, slots=True)
class ErrorTranslator:
    """Translates one server's failures to errors for the caller."""

    title: str
    """The server's name in messages."""
    secrets: tuple[str, ...] = field(repr=False)
    """Texts that are removed from messages."""

    def translate(self, response: ErrorResponse, call: Call) -> Error:
        """Return the error for an error response; after a proxy's timeout the billing is unknown."""
        kind, sentence = next((kind, sentence) for holds, kind, sentence in REFUSALS if holds(response))
        asked = PICTURES | ({"mask": "mask"} if call.mask is not None else {}) | dict(call.parameter_names)
        wordy = kind in {InvalidRequest, PolicyRefused}
        if kind is InvalidRequest and response.param and response.param not in asked:
            kind, sentence = UNREQUESTED_VALUE
        words = self._words(response, call) if wordy else "."
        message = f"{self.title} {sentence.format(response.status)}{words}"
        billed = (
            None
            if response.may_have_cost or (response.status in client.BETWEEN and not response.is_api_error)
            else False
        )
        param = asked.get(response.param) if kind is InvalidRequest else None
        return kind(message, param=param, retry_after=response.wait, billed=billed)

    def no_answer_error(self, error: Exception) -> UpstreamError:
        """Return the error for an exception of the HTTP client, when there is no response."""
        ours, reason = next((ours, reason) for kind, ours, reason in FOREIGN if isinstance(error, kind))
        return ours(f"{self.title} {reason}.", billed=False if reason == AWAY else None)

    def failure(self, error: Any, call: Call) -> UpstreamError:
        """Return the error for an error object inside a successful response."""
        return UpstreamError(f"{self.title} failed{self._words(parse_error_response(error), call)}")

    def missing_picture_error(self) -> UpstreamError:
        """Return the error for a successful response without a picture."""
        return UpstreamError(f"{self.title} answered without a picture.", billed=True)

    def _words(self, response: ErrorResponse, call: Call) -> str:
        """Return the end of a sentence: the server's own message, without private text."""
        if repeats_private_text(response.message[:READ], (str(call.body.get(name, "")) for name in PRIVATE)):
            return WITHHELD
        words = redact(response.message, *self.secrets).rstrip(".")
        return f": {words}." if words else "."
