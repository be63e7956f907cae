"""A bill in whole micro-dollars, quoted and charged by one function."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as some

from fluxvision.catalog.pricing import image_price, multiply, total_cost
from fluxvision.catalog.rules import Price, Tier
from fluxvision.core.types import PriceComponent

SMALL = (500, 400)
FAL = Price("output_megapixel", 100_000)
BINARY = Price("output_megapixel", 100_000, unit=1_048_576)
TOPAZ = Price("output_megapixel", 80_000, rounding="up", block=24)
SECOND = Price("second", 1_110)
TIERS = Price(
    "output_megapixel", 50_000, tiers=(Tier(4, 50_000), Tier(8, 100_000), Tier(16.5, 200_000), Tier(None, 400_000))
)

BILLS = [
    # price, source, made, (quantity, billable, unit price, total)
    (Price("image", 0), SMALL, (4000, 4000), (1, 1, 0, 0)),
    (Price("image", 4_000), SMALL, (4000, 4000), (1, 1, 4_000, 4_000)),
    (FAL, SMALL, (1000, 1000), (1, 1, 100_000, 100_000)),
    (FAL, (1024, 1024), (2048, 2048), (4.194304, 4.194304, 100_000, 419_430)),
    (FAL, SMALL, (1, 4), (4e-6, 4e-6, 100_000, 0)),
    (FAL, SMALL, (1, 5), (5e-6, 5e-6, 100_000, 1)),
    (FAL, SMALL, (5, 1), (5e-6, 5e-6, 100_000, 1)),
    (FAL, SMALL, (1, 15), (15e-6, 15e-6, 100_000, 2)),
    (FAL, SMALL, (1, 25), (25e-6, 25e-6, 100_000, 3)),
    (BINARY, SMALL, (2048, 2048), (4, 4, 100_000, 400_000)),
    (replace(FAL, rounding="up"), SMALL, (1000, 1000), (1, 1, 100_000, 100_000)),
    (replace(FAL, rounding="up"), SMALL, (1000, 1001), (1.001, 2, 100_000, 200_000)),
    (replace(FAL, rounding="up"), SMALL, (100, 100), (0.01, 1, 100_000, 100_000)),
    (replace(FAL, rounding="up_min_1"), SMALL, (100, 100), (0.01, 1, 100_000, 100_000)),
    (replace(FAL, rounding="up_min_1"), SMALL, (2048, 2048), (4.194304, 5, 100_000, 500_000)),
    (replace(BINARY, rounding="up"), SMALL, (2048, 2048), (4, 4, 100_000, 400_000)),
    (replace(BINARY, rounding="up_min_1"), SMALL, (2048, 2049), (4.001953125, 5, 100_000, 500_000)),
    (Price("input_megapixel", 10_000), SMALL, (2000, 1600), (0.2, 0.2, 10_000, 2_000)),
    (Price("input_megapixel", 10_000, rounding="up_min_1"), SMALL, (2000, 1600), (0.2, 1, 10_000, 10_000)),
    (TOPAZ, SMALL, (1000, 1000), (1, 1, 80_000, 80_000)),
    (TOPAZ, SMALL, (6000, 4000), (24, 1, 80_000, 80_000)),
    (TOPAZ, SMALL, (6000, 4001), (24.006, 2, 80_000, 160_000)),
    (TOPAZ, SMALL, (12_000, 8000), (96, 4, 80_000, 320_000)),
    (Price("output_megapixel", 80_000, block=24), SMALL, (6000, 4001), (24.006, 2, 80_000, 160_000)),
    (TIERS, SMALL, (2000, 2000), (4, 1, 50_000, 50_000)),
    (TIERS, SMALL, (2000, 2001), (4.002, 1, 100_000, 100_000)),
    (TIERS, SMALL, (4125, 4000), (16.5, 1, 200_000, 200_000)),
    (TIERS, SMALL, (9000, 9000), (81, 1, 400_000, 400_000)),
]
prices = some.builds(
    Price,
    some.sampled_from(["image", "output_megapixel", "input_megapixel"]),
    some.integers(0, 10**7),
    some.sampled_from([1_000_000, 1_048_576]),
    some.sampled_from(["none", "up", "up_min_1"]),
    some.sampled_from([1, 2, 24]),
    some.just(()) | some.just(TIERS.tiers),
)
sizes = some.tuples(some.integers(1, 10**5), some.integers(1, 10**5))


@pytest.mark.parametrize(("price", "source", "made", "bill"), BILLS)
def test_a_bill(price, source, made, bill):
    """Each kind of price has its quantity, what of it is paid, and a total rounded half up to whole micro-dollars."""
    line = image_price(price, source, made)
    assert (line.quantity, line.billable_quantity) == pytest.approx(bill[:2])
    assert (line.unit_price, line.total_cost) == bill[2:]
    assert total_cost([line]) == line.total_cost


@pytest.mark.parametrize(
    ("price", "kind"),
    [(FAL, "output"), (Price("input_megapixel", 1), "input"), (Price("image", 1), "output"), (SECOND, "compute")],
)
def test_a_line_says_what_is_paid(price, kind):
    """A line tells whether the input, the output or the compute time is paid, and by which metric."""
    line = image_price(price, SMALL, SMALL, 1.0)
    assert (line.type, line.metric) == (kind, price.metric)


def test_without_a_price_there_is_no_total():
    """Nobody has said what a picture costs: that is not nothing, before the work and after it."""
    for metric, kind in (("image", "output"), ("output_megapixel", "output"), ("second", "compute")):
        line = image_price(Price(metric, None), SMALL, SMALL, 2.0)
        assert line == PriceComponent(kind, metric, None, None, None, None)
        assert total_cost([line, image_price(FAL, SMALL, SMALL)]) is None


def test_seconds_are_not_known_beforehand():
    """A price by the second has no quantity and no total until the work is done; more pictures do not change that."""
    line = image_price(SECOND, SMALL, SMALL)
    assert line == PriceComponent("compute", "second", None, None, 1_110, None)
    assert multiply(line, 3) == line
    assert total_cost([line]) is None
    assert total_cost([image_price(FAL, SMALL, SMALL), line]) is None


@pytest.mark.parametrize(
    ("seconds", "cost"), [(0.0, 0), (1.0, 1_110), (2.5, 2_775), (0.1, 111), (1e-7, 0), (0.00045045, 0), (0.0004505, 1)]
)
def test_seconds_are_billed_as_reported(seconds, cost):
    """The reported decimal number of seconds is what counts, not its binary neighbour."""
    line = image_price(SECOND, SMALL, SMALL, seconds)
    assert (line.quantity, line.billable_quantity, line.total_cost) == (seconds, seconds, cost)


@pytest.mark.parametrize("seconds", [-1.0, -1e-9, float("inf"), float("-inf"), float("nan")])
def test_what_is_no_length_of_time_is_not_billed(seconds):
    """A compute time below nothing, or without end, makes a line whose total is not known, never one below nothing."""
    line = image_price(SECOND, SMALL, SMALL, seconds)
    assert line == PriceComponent("compute", "second", None, None, 1_110, None)
    assert image_price(FAL, SMALL, SMALL, seconds) == image_price(FAL, SMALL, SMALL)


def test_half_a_micro_dollar_of_decimal_seconds_is_rounded_up():
    """A decimal that no binary number equals is still exactly what the provider has written."""
    assert image_price(Price("second", 1_000), SMALL, SMALL, 0.0045).total_cost == 5


def test_at_least_one_second_is_billed_where_the_price_says_so():
    """A rounding of up_min_1 bills one unit even of nothing; a rounding up bills none."""
    assert image_price(replace(SECOND, rounding="up_min_1"), SMALL, SMALL, 0.0).total_cost == 1_110
    assert image_price(replace(SECOND, rounding="up"), SMALL, SMALL, 0.0).total_cost == 0
    assert image_price(replace(SECOND, rounding="up"), SMALL, SMALL, 1.2).total_cost == 2_220


def test_seconds_change_nothing_where_they_are_not_billed():
    """What a provider reports of its time has no effect on a price by size."""
    assert image_price(FAL, SMALL, SMALL, 12.0) == image_price(FAL, SMALL, SMALL)


def test_an_empty_bill_is_nothing():
    """No lines cost nothing."""
    assert total_cost([]) == 0


@given(prices, sizes, sizes)
def test_a_total_is_the_billable_quantity_times_the_unit_price(price, source, made):
    """However large the picture, a total is a whole number, off by rounding alone, and never negative."""
    line = image_price(price, source, made)
    assert isinstance(line.total_cost, int)
    assert line.total_cost >= 0
    assert line.total_cost == pytest.approx(line.billable_quantity * line.unit_price, abs=0.51, rel=1e-12)
    if price.metric != "image" and not price.tiers and price.rounding == "none" and price.block == 1:
        width, height = source if price.metric == "input_megapixel" else made
        exact = Fraction(width * height * price.unit_price, price.unit)
        assert -Fraction(1, 2) < line.total_cost - exact <= Fraction(1, 2)


@given(prices, sizes, sizes, some.integers(1, 10))
def test_n_pictures_cost_n_times_one(price, source, made, n):
    """The bill of several pictures is that of one, times their number, so that each is rounded by itself."""
    line = image_price(price, source, made)
    several = multiply(line, n)
    assert several.total_cost == n * line.total_cost == total_cost([line] * n)
    assert several.quantity == pytest.approx(n * line.quantity)
    assert several.unit_price == line.unit_price


@given(prices, sizes, sizes, some.integers(0, 1000), some.integers(0, 1000))
def test_a_larger_picture_is_never_cheaper(price, source, made, more, higher):
    """Pixels added never lower the price."""
    larger = made[0] + more, made[1] + higher
    assert image_price(price, source, made).total_cost <= image_price(price, source, larger).total_cost
