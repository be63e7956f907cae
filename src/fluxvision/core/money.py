"""Converts, sums and formats money, which is always an integer number of micro-dollars (1e-6 USD)."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal, InvalidOperation
from typing import Literal

Currency = Literal["USD"]
CURRENCY: Currency = "USD"
MICROS_PER_DOLLAR = 1_000_000


def to_micros(dollars: str) -> int:
    """Return a price written in dollars ("0.10") as micro-dollars; raises ValueError for a finer or negative price."""
    message = f"not a price in whole micro-dollars: {dollars}"
    try:
        exact = Decimal(dollars) * MICROS_PER_DOLLAR
    except InvalidOperation:
        raise ValueError(message) from None
    if not exact.is_finite() or exact != exact.to_integral_value() or exact < 0:
        raise ValueError(message)
    return int(exact)


def to_dollars(amount: int) -> float:
    """Return micro-dollars as a JSON number of dollars."""
    return amount / MICROS_PER_DOLLAR


def floor_to_micros(limit: float) -> int:
    """Return a limit in dollars as micro-dollars, rounded down from its shortest decimal representation.

    Thus a price that was sent as a JSON number is within the same number as a limit.
    """
    return int(Decimal(repr(limit)) * MICROS_PER_DOLLAR)


def format_amount(micros: int) -> str:
    """Return micro-dollars as text in dollars, with as many digits as needed, at least cents unless it is zero."""
    if micros == 0:
        return "$0"
    whole, _, fraction = f"{to_dollars(micros):.6f}".rstrip("0").partition(".")
    return f"${whole}.{fraction:0<2}"


def sum_costs(amounts: Iterable[int | None]) -> int | None:
    """Return the sum of the amounts, None when one of them is unknown."""
    known = list(amounts)
    return None if None in known else sum(amount for amount in known if amount is not None)
