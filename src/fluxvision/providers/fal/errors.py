"""Translates fal.ai's error responses to errors for the caller, by tables of statuses and error types."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Any

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
)
from fluxvision.net import client
from fluxvision.net.redaction import READ, WITHHELD, redact, repeats_private_text
from fluxvision.providers.fal.client import FORBIDDEN, GONE, UNPAID, FalResponse

PICTURE = {"image_url": "image"}
"""Maps fal.ai's name of the picture to ours."""
POLICY = "content_policy_violation"
THEIRS = frozenset(
    {
        "downstream_service_error",
        "downstream_service_unavailable",
        "file_download_error",
        "generation_timeout",
        "internal_server_error",
        "no_media_generated",
    }
)
"""Types of refusals that are not caused by the request."""
STATUS_OF = {"bad_request": 400, "client_cancelled": 499, "client_disconnected": 499}
"""Statuses for error types of a completed job; other types are fal.ai's own failures."""
REFUSALS = {400: None, 413: "image", 422: None}
"""Statuses that are caused by the request, and the parameter that they concern."""
FAILURES: Mapping[int, tuple[type[Error], str]] = {
    200: (UpstreamError, "fal.ai's answer makes no sense."),
    202: (UpstreamError, "fal.ai's answer makes no sense."),
    401: (Misconfigured, "fal.ai refuses this server's key: the operator of this server has to mend it."),
    402: (UpstreamRefused, "fal.ai does no more work for this server's account: its balance is used up, or locked."),
    403: (
        Misconfigured,
        "fal.ai forbids this server's key what was asked: the operator of this server has to mend it.",
    ),
    404: (Misconfigured, "fal.ai does not know the model that this server asks for: its operator has to mend it."),
    429: (UpstreamBusy, "fal.ai has no room for this request now."),
    499: (Cancelled, "fal.ai was asked to stop this work."),
}


def error_from_response(answer: FalResponse, secrets: tuple[str, ...], parameter_names: Mapping[str, str]) -> Error:
    """Return the error for a response; its message has no key, prompt or address.

    `parameter_names` maps fal.ai's names to the caller's parameters. Any other name is not the caller's fault.
    """
    detail = (answer.body or {}).get("detail")
    first = detail[0] if isinstance(detail, list) and detail and isinstance(detail[0], dict) else {}
    kind = first["type"] if isinstance(first.get("type"), str) else answer.error_type
    words = next((text for text in (first.get("msg"), detail) if isinstance(text, str)), "")
    reason = redact(words, *secrets).rstrip(".")
    told = f": {reason}." if reason else "."
    said = WITHHELD if repeats_private_text(words[:READ], secrets) else told
    if POLICY in {kind, answer.error_type}:
        return PolicyRefused(f"fal.ai's content policy forbids this request{said}")
    if answer.status in REFUSALS and kind not in THEIRS:
        places, known = _error_places(first.get("loc")), {**parameter_names, **PICTURE}
        param = next((known[name] for name in places if name in known), REFUSALS[answer.status])
        if places and param is None:
            return UpstreamUnasked(f"fal.ai refuses something that was not asked for{said}")
        return InvalidRequest(f"{param or 'request'}: fal.ai refuses it{said}", param=param)
    unpaid = answer.status == FORBIDDEN and re.search("balance|locked|exhausted", words, re.IGNORECASE)
    row = FAILURES.get(UNPAID if unpaid else answer.status)
    kind_of, message = row or (UpstreamError, f"fal.ai failed with {answer.status}{said}")
    wait = client.parse_retry_after(answer.headers, time.time()) if answer.is_retryable else None
    return kind_of(message, retry_after=wait)


def lost_job_error(answer: FalResponse, secrets: tuple[str, ...], parameter_names: Mapping[str, str]) -> Error:
    """Return the error for a response about a job that fal.ai had accepted."""
    gone = answer.status == GONE
    return (
        UpstreamError("fal.ai no longer knows the job.")
        if gone
        else error_from_response(answer, secrets, parameter_names)
    )


def failure_response(status: Mapping[str, Any]) -> FalResponse | None:
    """Return the failure of a completed job as a response, None when it did not fail."""
    error, kind = status.get("error"), status.get("error_type")
    if not error and not kind:
        return None
    known = kind if isinstance(kind, str) else ""
    return FalResponse(STATUS_OF.get(known, 502), {}, {"detail": error, "error_type": known})


def _error_places(location: Any) -> list[str]:
    """Return fal.ai's names of the parameters that a refusal concerns, the outermost first; none for the whole body."""
    names = [part for part in location if isinstance(part, str)] if isinstance(location, list) else []
    return names[1:] if names[:1] == ["body"] else names
