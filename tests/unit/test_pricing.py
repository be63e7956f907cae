"""A bill in whole micro-dollars, quoted and charged by one function."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as some

from fluxvision.pricing import components, total
from fluxvision.rules import Price

PER_MEGAPIXEL = Price("output_megapixel", 100_000)


@pytest.mark.parametrize(
    ("price", "width", "height", "n", "wanted"),
    [
        (Price("image", 0), 4000, 4000, 10, 0),
        (Price("image", 40_000), 10, 10, 3, 120_000),
        (PER_MEGAPIXEL, 1000, 1000, 1, 100_000),
        (PER_MEGAPIXEL, 2048, 2048, 1, 419_430),
        (PER_MEGAPIXEL, 2048, 2048, 2, 838_861),
        (PER_MEGAPIXEL, 1, 5, 1, 1),
        (PER_MEGAPIXEL, 1, 4, 1, 0),
    ],
)
def test_a_bill(price, width, height, n, wanted):
    """Pictures cost their number, megapixels their exact area, rounded once to the nearest micro-dollar."""
    assert total(components(price, width, height, n)) == wanted


@given(some.integers(1, 10**5), some.integers(1, 10**5), some.integers(1, 10), some.integers(0, 10**7))
def test_a_bill_is_exact_to_half_a_micro_dollar(width, height, n, unit):
    """However large the picture, the sum is off by rounding alone and is a whole number."""
    lines = components(Price("output_megapixel", unit), width, height, n)
    assert isinstance(total(lines), int)
    assert abs(total(lines) * 1_000_000 - width * height * n * unit) <= 500_000
    assert lines[0].quantity == pytest.approx(width * height * n / 1e6)
