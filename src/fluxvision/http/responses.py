"""What goes out: a delivery as OpenAI's images response, a quote as the dry run's, an error as the one error body."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fluxvision.core.errors import AuthenticationFailed, Error, InternalError, MethodNotAllowed, RangeNotSatisfiable
from fluxvision.core.money import CURRENCY, sum_costs, to_dollars
from fluxvision.core.system import resource_error
from fluxvision.core.types import Attempt, JobResult, Quote, ReceiptEntry, ResultImage

# Clients that check the response strictly know no other values; the true size is always in the metadata.
OPENAI_SIZES = frozenset({"1024x1024", "1024x1536", "1536x1024"})


def images_body(delivery: JobResult, data: Sequence[Mapping[str, Any]], created: int) -> dict[str, Any]:
    """Return the body of a finished request; `data` holds one link or file per picture."""
    body: dict[str, Any] = {
        "id": delivery.job.id,
        "created": created,
        "output_format": delivery.pictures[0].format,
        "data": list(data),
        "metadata": result_metadata(delivery),
    }
    if openai_size(delivery.pictures[0]) in OPENAI_SIZES:
        body["size"] = openai_size(delivery.pictures[0])
    return body


def image_entry(picture: ResultImage, **where: Any) -> dict[str, Any]:
    """Return one entry of `data`."""
    return where if picture.revised_prompt is None else {**where, "revised_prompt": picture.revised_prompt}


def result_metadata(delivery: JobResult, number: int = 0) -> dict[str, Any]:
    """Return who made the pictures, at what cost, how well, and what became of every parameter.

    Size, fidelity, warnings and seed are those of the picture with this `number`.
    """
    shown = delivery.pictures[number]
    ours: dict[str, Any] = {
        "model": delivery.job.model,
        "executed_model": f"{delivery.provider}/{delivery.upstream}",
        "provider": delivery.provider,
        "provider_name": delivery.provider_name,
        "cost": dollars_or_none(delivery.cost),
        "cost_currency": CURRENCY,
        "degraded": delivery.degraded,
        "size": openai_size(shown),
        "attempts": attempt_entries(delivery.attempts),
        "excluded": [dataclasses.asdict(one) for one in delivery.excluded],
        "normalization": receipt_entries(delivery.receipt),
        "failures": [dataclasses.asdict(failure) for failure in delivery.failures],
        "fidelity": fidelity_entry(shown),
        "seed": shown.seed,
        "timings": {name: round(seconds, 4) for name, seconds in delivery.timings.items()},
    }
    if shown.warnings:
        ours["warnings"] = list(shown.warnings)
    if delivery.plan.n > 1:
        ours["index"] = _version_numbers(delivery)[number]
        ours["seeds"] = [picture.seed for picture in delivery.pictures]
        ours["fidelities"] = [fidelity_entry(picture) for picture in delivery.pictures]
    return {**delivery.details, **ours}


def _version_numbers(delivery: JobResult) -> list[int]:
    """Return which of the n versions the delivered pictures are."""
    failed = {failure.index for failure in delivery.failures}
    return [number for number in range(delivery.plan.n) if number not in failed]


def fidelity_entry(picture: ResultImage) -> dict[str, Any] | None:
    """Return how well a picture agrees with its source, None where nobody measured."""
    return None if picture.fidelity is None else dataclasses.asdict(picture.fidelity)


def attempt_entries(attempts: Iterable[Attempt]) -> list[dict[str, Any]]:
    """Return what each try at a provider came to; costs in dollars."""
    return [
        {
            "provider": attempt.provider,
            "outcome": attempt.outcome,
            "duration": round(attempt.duration, 3),
            "cost": dollars_or_none(attempt.cost),
            **({"cost_at_most": dollars_or_none(attempt.most)} if attempt.cost is None else {}),
            **({} if attempt.upstream_id is None else {"upstream_id": attempt.upstream_id}),
            **({} if attempt.message is None else {"message": attempt.message}),
        }
        for attempt in attempts
    ]


def dollars_or_none(micros: int | None) -> float | None:
    """Return dollars, None where nobody told."""
    return None if micros is None else to_dollars(micros)


def receipt_entries(lines: Iterable[ReceiptEntry]) -> list[dict[str, Any]]:
    """Return the receipt: one entry per parameter."""
    return [
        {
            "parameter": line.parameter,
            "mode": line.mode,
            "from": line.sent,
            "to": line.became,
            "note": line.note,
            "honoured": line.honoured,
        }
        for line in lines
    ]


def quote_body(found: Quote, request_id: str) -> dict[str, Any]:
    """Return the body of a dry run; money in micro-dollars."""
    return {
        "id": request_id,
        "estimated": True,
        "model": found.model,
        "provider": found.provider,
        "total_cost_micros": found.total,
        "currency": CURRENCY,
        "size": f"{found.width}x{found.height}",
        "components": [dataclasses.asdict(part) for part in found.components],
        "normalization": receipt_entries(found.receipt),
        "alternatives": quote_totals(found.others),
        "excluded": [dataclasses.asdict(one) for one in found.excluded],
    }


def quote_totals(quotes: Iterable[Quote]) -> list[dict[str, Any]]:
    """Return what each of several offers would cost; money in micro-dollars."""
    return [{"provider": one.provider, "total_cost_micros": one.total} for one in quotes]


def error_body(error: Error, attempts: Sequence[Attempt] = ()) -> dict[str, Any]:
    """Return OpenAI's error body; where providers were tried, with what each try came to and cost beside it."""
    body: dict[str, Any] = {
        "error": {"message": error.message, "type": error.type, "param": error.param, "code": error.code}
    }
    if attempts:
        total = sum_costs(attempt.cost for attempt in attempts)
        body["metadata"] = {
            "attempts": attempt_entries(attempts),
            "cost": dollars_or_none(total),
            "cost_currency": CURRENCY,
        }
    return body


def error_for_client(error: Exception) -> Error:
    """Return the error that the caller sees: one of ours as it is, else no more than whose fault it is."""
    found = error if isinstance(error, Error) else resource_error(error)
    return found or InternalError("Something went wrong on this server.")


def error_headers(error: Error, attempts: Sequence[Attempt] = (), allow: str = "") -> dict[str, str]:
    """Return the headers that tell a client whether and when to try again, after what its attempts may have cost."""
    headers = {"content-type": "application/json", "cache-control": "no-store"}
    if not error.retryable or any(attempt.bound != 0 for attempt in attempts):  # a retry may pay again
        headers["x-should-retry"] = "false"
    if error.retry_after is not None:
        headers["retry-after"] = str(max(1, math.ceil(error.retry_after)))
        headers["retry-after-ms"] = str(max(1, math.ceil(error.retry_after * 1000)))
    if isinstance(error, AuthenticationFailed):
        headers["www-authenticate"] = "Bearer"
    if isinstance(error, MethodNotAllowed) and allow:
        headers["allow"] = allow
    if isinstance(error, RangeNotSatisfiable) and error.size is not None:
        headers["content-range"] = f"bytes */{error.size}"
    return headers


def openai_size(picture: ResultImage) -> str:
    """Return a picture's size in OpenAI's notation."""
    return f"{picture.width}x{picture.height}"
