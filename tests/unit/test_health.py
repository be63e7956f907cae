"""Breakers: what opens them, for how long, who probes, and what never moves them."""

from __future__ import annotations

import inspect

import pytest
from hypothesis import given
from hypothesis import strategies as some

from fluxvision import errors
from fluxvision.errors import Error, UpstreamBusy, UpstreamError, UpstreamRefused, UpstreamUnreachable
from fluxvision.health import FIRST_PAUSE, JITTER, LONGEST_PAUSE, LONGEST_REST, THRESHOLD, Health, Standing

KINDS = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, Error)]
COUNTING = {UpstreamError, UpstreamUnreachable}


class Clock:
    """A clock that the test sets."""

    def __init__(self):
        """Begin somewhere."""
        self.now = 1000.0

    def __call__(self):
        """Tell the time."""
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def health(clock):
    return Health(["fal"], clock=clock, draw=lambda: 0.5)


def fail(health, times=THRESHOLD, kind=UpstreamError):
    for _ in range(times):
        health.begin("fal")
        health.failed("fal", kind("It broke."))


def is_out(health):
    return health.standings()["fal"].out


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_only_a_providers_or_the_networks_failure_moves_a_breaker(health, kind):
    """A hundred of any other error leave the provider exactly as healthy as it was."""
    before = health.standings()
    fail(health, 100, kind)
    assert is_out(health) is (kind in COUNTING)
    assert (health.standings() == before) is (kind not in COUNTING)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_what_counts_goes_on(kind):
    """An error that a provider's health suffers from is one that another provider may do better."""
    assert kind("x").goes_on or not kind.counts
    assert (kind.blame in {"provider", "network"}) == kind("x").goes_on


def test_a_success_in_between_starts_the_count_anew(health):
    """Only consecutive failures open a breaker."""
    for _ in range(10):
        fail(health, THRESHOLD - 1)
        health.succeeded("fal", 1.0)
    assert not is_out(health)


def test_an_open_breaker_lets_one_probe_pass_when_its_time_is_over(health, clock):
    """Until then nobody passes; then one call does, and others wait for its verdict."""
    fail(health)
    assert not health.begin("fal")
    clock.now += FIRST_PAUSE + 0.01
    assert not is_out(health)
    assert health.begin("fal")
    assert not health.begin("fal")
    assert is_out(health)
    health.succeeded("fal", 1.0)
    assert not is_out(health)
    assert health.begin("fal")
    assert health.begin("fal")


def test_pauses_grow_up_to_a_limit(health, clock):
    """Each failed probe doubles the pause, up to the longest; a success makes the next one short again."""
    fail(health)
    pauses = []
    for _ in range(10):
        began = clock.now
        while is_out(health):
            clock.now += 0.5
        pauses.append(clock.now - began)
        fail(health, 1)
    assert pauses[:4] == pytest.approx([5, 10, 20, 40], abs=0.5)
    assert pauses[-1] == pytest.approx(LONGEST_PAUSE, abs=0.5)
    clock.now += LONGEST_PAUSE + 1
    health.begin("fal")
    health.succeeded("fal", 1.0)
    fail(health)
    clock.now += FIRST_PAUSE + 0.01
    assert not is_out(health)


@pytest.mark.parametrize(("drawn", "factor"), [(0.0, 1 - JITTER), (1.0, 1 + JITTER)])
def test_pauses_are_jittered(clock, drawn, factor):
    """Servers that fail together do not probe together."""
    health = Health(["fal"], clock=clock, draw=lambda: drawn)
    fail(health)
    clock.now += FIRST_PAUSE * factor - 0.01
    assert is_out(health)
    clock.now += 0.02
    assert not is_out(health)


def test_a_probe_without_a_verdict_frees_its_place(health, clock):
    """A probe that is cancelled, or that a caller spoiled, lets the next one probe."""
    fail(health)
    clock.now += FIRST_PAUSE + 0.01
    for end in (lambda: health.released("fal"), lambda: health.failed("fal", errors.InvalidRequest("No."))):
        assert health.begin("fal")
        end()
        assert not is_out(health)


@pytest.mark.parametrize(("kind", "rests"), [(UpstreamBusy, True), (UpstreamRefused, True), (errors.Busy, False)])
def test_a_provider_that_names_a_time_rests_until_then(health, clock, kind, rests):
    """Retry-After is respected, up to a limit, and is no mark against the provider."""
    health.failed("fal", kind("Later.", retry_after=7.0))
    assert is_out(health) is rests
    clock.now += 7.01
    assert not is_out(health)
    assert health.standings()["fal"].reliability == 1.0
    health.failed("fal", kind("Later.", retry_after=10_000.0))
    clock.now += LONGEST_REST + 0.01
    assert not is_out(health)


def test_a_bad_reputation_is_forgotten(health, clock):
    """Reliability sinks with failures and comes back with time alone."""
    for _ in range(10):
        fail(health, THRESHOLD - 1)
        health.succeeded("fal", 1.0)
    fail(health, THRESHOLD - 1)
    low = health.standings()["fal"].reliability
    assert 0 < low < 0.5
    clock.now += 3000
    assert health.standings()["fal"].reliability > 0.99


def test_a_probe_that_is_due_is_not_held_back_by_reputation(health, clock):
    """When the pause is over the provider has its usual place, or it would never be asked again."""
    fail(health, 10)
    clock.now += LONGEST_PAUSE * 2
    assert health.standings()["fal"] == Standing(out=False, reliability=1.0)


@given(some.lists(some.sampled_from(["ok", "fail", "busy", "client", "cancel", "wait", "begin"]), max_size=60))
def test_whatever_happens_a_provider_comes_back(events):
    """After any history, a pause of the longest length and no probe under way, a call may begin again."""
    clock = Clock()
    health = Health(["fal"], clock=clock, draw=lambda: 1.0)
    acts = {
        "ok": lambda: health.succeeded("fal", 1.0),
        "fail": lambda: health.failed("fal", UpstreamError("x")),
        "busy": lambda: health.failed("fal", UpstreamBusy("x", retry_after=30)),
        "client": lambda: health.failed("fal", errors.InvalidRequest("x")),
        "cancel": lambda: health.released("fal"),
        "wait": lambda: setattr(clock, "now", clock.now + 10),
        "begin": lambda: health.begin("fal"),
    }
    for event in events:
        acts[event]()
        assert 0 < health.standings()["fal"].reliability <= 1
    health.released("fal")
    clock.now += LONGEST_PAUSE * (1 + JITTER) + 1
    assert health.begin("fal")
