"""Money is whole micro-dollars."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as some

from fluxvision.core.money import floor_to_micros, to_dollars, to_micros


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("0", 0),
        ("0.10", 100_000),
        ("0.1", 100_000),
        ("1", 1_000_000),
        ("0.000001", 1),
        ("1e-6", 1),
        ("12.345678", 12_345_678),
    ],
)
def test_a_price_in_dollars_is_exact(text, amount):
    """No price that has whole micro-dollars is rounded."""
    assert to_micros(text) == amount


@pytest.mark.parametrize("text", ["0.0000001", "-0.10", "1e-7", "NaN", "", "ten", "Infinity"])
def test_what_is_no_price_is_refused(text):
    """A finer or negative price, and what is no number, raise ValueError."""
    with pytest.raises(ValueError, match="not a price"):
        to_micros(text)


@given(some.integers(0, 10**15))
def test_a_price_is_within_itself(amount):
    """The price that a dry run tells as a number of dollars is enough as a limit, and one micro-dollar less is not."""
    assert floor_to_micros(to_dollars(amount)) == amount


@pytest.mark.parametrize(("limit", "allowed"), [(0.06448, 64_480), (0.0000019, 1), (0, 0), (1e300, 10**306)])
def test_a_limit_allows_whole_micro_dollars(limit, allowed):
    """As many as its decimals say, and no part of one."""
    assert floor_to_micros(limit) == allowed


@given(some.integers(0, 10**12))
def test_dollars_and_back_are_the_same_amount(amount):
    """Up to a million dollars, a JSON number of dollars has the exact amount."""
    assert to_micros(f"{to_dollars(amount):.6f}") == amount
