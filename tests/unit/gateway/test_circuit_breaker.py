"""Breakers: what opens them, for how long, who probes, and what never moves them."""

from __future__ import annotations

import inspect

import pytest
from hypothesis import given
from hypothesis import strategies as some

from fluxvision.core import errors
from fluxvision.core.errors import Error, UpstreamBusy, UpstreamError, UpstreamRefused, UpstreamUnreachable
from fluxvision.gateway.circuit_breaker import (
    FIRST_PAUSE,
    JITTER,
    LONGEST_PAUSE,
    LONGEST_REST,
    THRESHOLD,
    BreakerPermit,
    CircuitBreakers,
    ProviderHealth,
)

KINDS = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, Error)]
COUNTING = {UpstreamError, UpstreamUnreachable}
EVENTS = ("ok", "fail", "busy", "client", "cancel", "wait", "begin", "last resort")


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
    return CircuitBreakers(["fal"], clock=clock, draw=lambda: 0.5)


def fail(health, times=THRESHOLD, kind=UpstreamError):
    for _ in range(times):
        health.record_failure(health.begin("fal", anyway=True), kind("It broke."))


def succeed(health):
    health.record_success(health.begin("fal", anyway=True), 1.0)


def is_out(health):
    return health.snapshot()["fal"].breaker_open


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_only_a_providers_or_the_networks_failure_moves_a_breaker(health, kind):
    """A hundred of any other error leave the provider exactly as healthy as it was."""
    before = health.snapshot()
    fail(health, 100, kind)
    assert is_out(health) is (kind in COUNTING)
    assert (health.snapshot() == before) is (kind not in COUNTING)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_what_counts_goes_on(kind):
    """An error that a provider's health suffers from is one that another provider may do better."""
    assert kind("x").tries_next_provider or not kind.counts
    assert (kind.blame in {"provider", "network"}) == kind("x").tries_next_provider


def test_a_success_in_between_starts_the_count_anew(health):
    """Only consecutive failures open a breaker."""
    for _ in range(10):
        fail(health, THRESHOLD - 1)
        succeed(health)
    assert not is_out(health)


def test_an_open_breaker_lets_one_probe_pass_when_its_time_is_over(health, clock):
    """Until then nobody passes; then one call does, and others wait for its verdict."""
    fail(health)
    assert health.begin("fal") is None
    clock.now += FIRST_PAUSE + 0.01
    assert not is_out(health)
    probe = health.begin("fal")
    assert probe == BreakerPermit("fal", probe=True)
    assert health.begin("fal") is None
    assert is_out(health)
    health.record_success(probe, 1.0)
    assert not is_out(health)
    assert [health.begin("fal"), health.begin("fal")] == [BreakerPermit("fal")] * 2


@pytest.mark.parametrize("kind", [None, *KINDS], ids=lambda kind: getattr(kind, "__name__", "released"))
def test_only_the_probe_itself_frees_its_place(health, clock, kind):
    """A last resort that ends while the probe is under way, however it fails, lets no second probe pass."""
    fail(health)
    clock.now += FIRST_PAUSE + 0.01
    probe = health.begin("fal")
    other = health.begin("fal", anyway=True)
    assert other == BreakerPermit("fal", probe=False)
    if kind is None:
        health.release(other)
    else:
        health.record_failure(other, kind("It broke."))
    assert is_out(health)
    assert health.begin("fal") is None
    health.record_success(probe, 1.0)
    assert not is_out(health)


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
    succeed(health)
    fail(health)
    clock.now += FIRST_PAUSE + 0.01
    assert not is_out(health)


@pytest.mark.parametrize(("drawn", "factor"), [(0.0, 1 - JITTER), (1.0, 1 + JITTER)])
def test_pauses_are_jittered(clock, drawn, factor):
    """Servers that fail together do not probe together."""
    health = CircuitBreakers(["fal"], clock=clock, draw=lambda: drawn)
    fail(health)
    clock.now += FIRST_PAUSE * factor - 0.01
    assert is_out(health)
    clock.now += 0.02
    assert not is_out(health)


def test_a_probe_without_a_verdict_frees_its_place(health, clock):
    """A probe that is cancelled, or that a caller spoiled, lets the next one probe."""
    fail(health)
    clock.now += FIRST_PAUSE + 0.01
    for end in (health.release, lambda turn: health.record_failure(turn, errors.InvalidRequest("No."))):
        turn = health.begin("fal")
        assert turn.probe
        end(turn)
        assert not is_out(health)


@pytest.mark.parametrize(("kind", "rests"), [(UpstreamBusy, True), (UpstreamRefused, True), (errors.Busy, False)])
def test_a_provider_that_names_a_time_rests_until_then(health, clock, kind, rests):
    """Retry-After is respected, up to a limit, and is no mark against the provider."""
    health.record_failure(BreakerPermit("fal"), kind("Later.", retry_after=7.0))
    assert is_out(health) is rests
    clock.now += 7.01
    assert not is_out(health)
    assert health.snapshot()["fal"].reliability == 1.0
    health.record_failure(BreakerPermit("fal"), kind("Later.", retry_after=10_000.0))
    clock.now += LONGEST_REST + 0.01
    assert not is_out(health)


def test_a_bad_reputation_is_forgotten(health, clock):
    """Reliability sinks with failures and comes back with time alone."""
    for _ in range(10):
        fail(health, THRESHOLD - 1)
        succeed(health)
    fail(health, THRESHOLD - 1)
    low = health.snapshot()["fal"].reliability
    assert 0 < low < 0.5
    clock.now += 300
    assert health.snapshot()["fal"].reliability > 0.99


def test_who_failed_now_and_then_is_soon_asked_again(health, clock):
    """Two failures, a success, two failures open no breaker; the usual place is back in less than the longest rest."""
    for _ in range(2):
        fail(health, THRESHOLD - 1)
        succeed(health)
    fail(health, THRESHOLD - 1)
    assert health.snapshot()["fal"].reliability < 0.5
    clock.now += LONGEST_REST
    assert health.snapshot()["fal"].reliability > 0.5


def test_a_probe_that_is_due_is_not_held_back_by_reputation(health, clock):
    """When the pause is over the provider has its usual place, or it would never be asked again."""
    fail(health, 10)
    clock.now += LONGEST_PAUSE * 2
    assert health.snapshot()["fal"] == ProviderHealth(breaker_open=False, reliability=1.0)


@given(some.lists(some.sampled_from(EVENTS), max_size=60))
def test_whatever_happens_a_provider_comes_back(events):
    """After any history, a pause of the longest length and no probe under way, a call may begin again."""
    clock = Clock()
    health = CircuitBreakers(["fal"], clock=clock, draw=lambda: 1.0)
    running = []

    def begin(*, anyway):
        turn = health.begin("fal", anyway=anyway)
        if turn is not None:
            running.append(turn)
            assert not turn.probe or health.begin("fal") is None, "two probes at once"

    def end(how):
        if running:
            how(running.pop(0))

    acts = {
        "ok": lambda: end(lambda turn: health.record_success(turn, 1.0)),
        "fail": lambda: end(lambda turn: health.record_failure(turn, UpstreamError("x"))),
        "busy": lambda: end(lambda turn: health.record_failure(turn, UpstreamBusy("x", retry_after=30))),
        "client": lambda: end(lambda turn: health.record_failure(turn, errors.InvalidRequest("x"))),
        "cancel": lambda: end(health.release),
        "wait": lambda: setattr(clock, "now", clock.now + 10),
        "begin": lambda: begin(anyway=False),
        "last resort": lambda: begin(anyway=True),
    }
    for event in events:
        acts[event]()
        assert 0 < health.snapshot()["fal"].reliability <= 1
    while running:
        acts["cancel"]()
    clock.now += LONGEST_PAUSE * (1 + JITTER) + 1
    assert health.begin("fal")
