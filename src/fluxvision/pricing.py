"""What a job costs: one pure function quotes and bills. Integer micro-dollars."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal

from fluxvision.rules import Price
from fluxvision.types import Component

MEGAPIXEL = 1_000_000


def components(price: Price, width: int, height: int, n: int) -> tuple[Component, ...]:
    """Return the lines of a bill for `n` results of `width` × `height` pixels made by a provider."""
    if price.metric == "image":
        return (Component("output", "image", n, n, price.unit_price, price.unit_price * n),)
    megapixels = Decimal(width * height * n) / MEGAPIXEL
    total = int((megapixels * price.unit_price).to_integral_value(ROUND_HALF_UP))
    return (Component("output", price.metric, float(megapixels), float(megapixels), price.unit_price, total),)


def total(lines: tuple[Component, ...]) -> int:
    """Return the sum of a bill."""
    return sum(line.total_cost for line in lines)
