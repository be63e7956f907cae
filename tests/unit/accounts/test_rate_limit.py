"""A bucket per caller."""

from __future__ import annotations

import pytest

from fluxvision.accounts import rate_limit
from fluxvision.accounts.rate_limit import Rate
from fluxvision.core.key_limits import RequestRate


def test_a_burst_then_one_by_one():
    """As many at once as a minute allows, then one as time goes by; the wait that is told is long enough."""
    one = Rate(6)
    assert [one.take("a", 1, 100.0) for _ in range(6)] == [0.0] * 6
    assert one.take("a", 1, 100.0) == pytest.approx(10.0)
    assert one.take("a", 1, 109.0) == pytest.approx(1.0)
    assert one.take("a", 1, 110.0) == 0.0
    assert one.take("a", 1, 110.0) > 0


def test_light_requests_weigh_less():
    """Six requests of a sixth weigh as much as one."""
    one = Rate(2)
    assert [one.take("a", 1 / 6, 0.0) for _ in range(12)] == [0.0] * 12
    assert one.take("a", 1 / 6, 0.0) > 0


def test_callers_do_not_share():
    """One caller's requests cost another nothing."""
    one = Rate(1)
    assert (one.take("a", 1, 0.0), one.take("b", 1, 0.0)) == (0.0, 0.0)


def test_a_clock_that_is_set_back_fills_nothing():
    """Time that runs backwards neither fills nor empties a bucket."""
    one = Rate(1)
    assert one.take("a", 1, 100.0) == 0.0
    assert one.take("a", 1, 50.0) == pytest.approx(60.0)


def test_who_is_silent_longest_is_forgotten(monkeypatch):
    """The number of remembered callers is bounded."""
    monkeypatch.setattr(rate_limit, "MOST", 2)
    one = Rate(1)
    for who in "abc":
        one.take(who, 1, 0.0)
    assert one.take("c", 1, 0.0) > 0
    assert one.take("a", 1, 0.0) == 0.0


def test_headers_of_a_keys_limit():
    """The headers are those of OpenAI."""
    assert rate_limit.rate_limit_headers(RequestRate(60, 59, 60.0)) == {
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-remaining-requests": "59",
        "x-ratelimit-reset-requests": "1m0s",
    }


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "0ms"),
        (-1, "0ms"),
        (0.02, "20ms"),
        (0.0201, "21ms"),
        (1, "1s"),
        (1.2, "2s"),
        (59.99, "1m0s"),
        (360, "6m0s"),
        (3600, "1h0m0s"),
        (3661, "1h1m1s"),
    ],
)
def test_durations_are_written_like_openais(seconds, expected):
    """Milliseconds below a second, then whole seconds, never less than it is."""
    assert rate_limit.format_duration(seconds) == expected
