"""JSON structs of a job's attempts and receipt, used by the HTTP responses and the command line alike."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType, field

from fluxvision.core.money import to_dollars
from fluxvision.core.types import Attempt, ReceiptEntry

STRENGTH = ("passthrough", "renamed", "converted", "emulated")
"""The modes of a parameter, the weakest first."""
Mode = Annotated[str, Meta(extra_json_schema={"enum": [*STRENGTH]})]
Dollars = Annotated[float | None, Meta(description="In dollars; null where a provider did not tell.")]


class AttemptEntry(Struct, kw_only=True):
    """One attempt at one provider."""

    provider: str
    outcome: Annotated[str, Meta(description="ok, or the code of the error.")]
    duration: Annotated[float, Meta(description="Seconds.")]
    cost: Dollars
    cost_at_most: (
        Annotated[float | None, Meta(description="Only where cost is null: what it can have come to, if known.")]
        | UnsetType
    ) = UNSET
    upstream_id: Annotated[str, Meta(description="The provider's own id of it.")] | UnsetType = UNSET
    message: str | UnsetType = UNSET


class ReceiptLine(Struct, kw_only=True):
    """How one parameter was handled."""

    parameter: str
    mode: Mode
    sent: Annotated[Any, Meta(description="The value as it was given, null for a default.")] = field(name="from")
    became: Annotated[Any, Meta(description="What the provider or the gateway made of it.")] = field(name="to")
    note: str
    honoured: Annotated[bool, Meta(description="Whether the value had the effect that was asked for.")]


def dollars_or_none(micros: int | None) -> float | None:
    """Return micro-dollars as dollars, None when unknown."""
    return None if micros is None else to_dollars(micros)


def attempt_entries(attempts: Iterable[Attempt]) -> list[AttemptEntry]:
    """Return the JSON structs of the attempts."""
    return [
        AttemptEntry(
            provider=attempt.provider,
            outcome=attempt.outcome,
            duration=round(attempt.duration, 3),
            cost=dollars_or_none(attempt.cost),
            cost_at_most=dollars_or_none(attempt.cost_at_most) if attempt.cost is None else UNSET,
            upstream_id=UNSET if attempt.upstream_id is None else attempt.upstream_id,
            message=UNSET if attempt.message is None else attempt.message,
        )
        for attempt in attempts
    ]


def receipt_lines(receipt: Iterable[ReceiptEntry]) -> list[ReceiptLine]:
    """Return the JSON structs of the receipt, one per parameter."""
    return [
        ReceiptLine(
            parameter=one.parameter,
            mode=one.mode,
            sent=one.sent,
            became=one.became,
            note=one.note,
            honoured=one.honoured,
        )
        for one in receipt
    ]
