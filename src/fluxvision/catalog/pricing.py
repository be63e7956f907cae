"""Computes what a provider charges for pictures, for quotes and for bills alike, in micro-dollars. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from fractions import Fraction
from math import ceil, isfinite

from fluxvision.catalog.rules import Price
from fluxvision.core.money import sum_costs
from fluxvision.core.system import cached_until_rest
from fluxvision.core.types import PriceComponent

MEGAPIXELS = {"input_megapixel": "input", "output_megapixel": "output"}


@cached_until_rest(128)
def image_price(
    price: Price, source: tuple[int, int], made: tuple[int, int], seconds: float | None = None
) -> PriceComponent:
    """Return the price component of one picture.

    `source` is the width and height of the picture that is sent, `made` of the one that the provider makes. `seconds`
    is the compute time that the provider reported, None while it is unknown; values that are negative or not finite
    count as unknown. The total is the billable quantity times the unit price, rounded once, half up, to whole
    micro-dollars. A started block counts as a whole one; a picture priced by a tier counts as one unit. The total is
    None without a unit price.
    """
    kind = "compute" if price.metric == "second" else MEGAPIXELS.get(price.metric, "output")
    if price.unit_price is None or (price.metric == "second" and not _is_duration(seconds)):
        return PriceComponent(kind, price.metric, None, None, price.unit_price, None)
    quantity = _billed_quantity(price, source, made, seconds)
    billable, unit_price = _round_quantity(price, quantity, price.unit_price)
    return PriceComponent(
        kind, price.metric, float(quantity), float(billable), unit_price, _to_micros(billable * unit_price)
    )


def multiply(line: PriceComponent, n: int) -> PriceComponent:
    """Return the price component of `n` pictures that cost the same; each one is rounded separately."""
    if n == 1 or line.total_cost is None or line.quantity is None or line.billable_quantity is None:
        return line
    return replace(
        line,
        quantity=line.quantity * n,
        billable_quantity=line.billable_quantity * n,
        total_cost=line.total_cost * n,
    )


def total_cost(lines: Iterable[PriceComponent]) -> int | None:
    """Return the sum of the components in micro-dollars, None when one of them is unknown."""
    return sum_costs(line.total_cost for line in lines)


def _is_duration(seconds: float | None) -> bool:
    return seconds is not None and isfinite(seconds) and seconds >= 0


def _billed_quantity(price: Price, source: tuple[int, int], made: tuple[int, int], seconds: float | None) -> Fraction:
    if price.metric == "image":
        return Fraction(1)
    if price.metric == "second":
        return Fraction(str(seconds))
    width, height = source if price.metric == "input_megapixel" else made
    return Fraction(width * height, price.unit)


def _round_quantity(price: Price, quantity: Fraction, unit_price: int) -> tuple[Fraction, int]:
    """Return the billable quantity and the price of one unit."""
    if price.tiers:
        reached = (tier.unit_price for tier in price.tiers if tier.upto is None or quantity <= Fraction(str(tier.upto)))
        return Fraction(1), next(reached)
    if price.rounding != "none":
        quantity = Fraction(max(ceil(quantity), 1 if price.rounding == "up_min_1" else 0))
    return (Fraction(ceil(quantity / price.block)) if price.block > 1 else quantity), unit_price


def _to_micros(exact: Fraction) -> int:
    """Return an exact amount rounded half up to whole micro-dollars."""
    return (2 * exact.numerator + exact.denominator) // (2 * exact.denominator)
