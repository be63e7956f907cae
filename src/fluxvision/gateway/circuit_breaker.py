"""A circuit breaker for each provider, with its measured reliability and speed.

Consecutive failures of the provider or the network open the breaker for a growing, jittered time; then one call probes
it. Errors of the caller, policies, cancelled calls and full queues do not count.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from fluxvision.core.errors import Error

THRESHOLD = 3
"""Consecutive failures that open a breaker."""
FIRST_PAUSE, LONGEST_PAUSE = 5.0, 300.0
"""Seconds that a breaker stays open the first time, and at most; doubled with each opening in a row."""
JITTER = 0.2
"""Random share by which a pause is longer or shorter, so that many servers do not probe at once."""
SMOOTHING = 0.2
"""Weight of the newest call in the moving averages of successes and seconds."""
HALF_LIFE = 30.0
"""Seconds after which half of the past failures is forgotten: about as long as a breaker stays open.

Occasional failures open no breaker, but put the provider last, where it gets no calls to improve its average. With a
long half-life, a provider that works again would get no work for minutes.
"""
LONGEST_REST = 60.0


@dataclass(frozen=True, slots=True)
class ProviderHealth:
    """The health of a provider, for routing."""

    breaker_open: bool = False
    """Whether its breaker is open."""
    reliability: float = 1.0
    """Share of successful calls, above 0 and at most 1."""
    seconds: float | None = None
    """Average seconds per picture, None before the first success."""


@dataclass(frozen=True, slots=True)
class BreakerPermit:
    """A call that a breaker admitted."""

    name: str
    """The provider."""
    probe: bool = False
    """Whether this call tests if the provider works again; there is one at a time."""


@dataclass(slots=True)
class _ProviderRecord:
    failures: int = 0
    openings: int = 0
    open_until: float = 0.0
    probe: BreakerPermit | None = None
    success_share: float = 1.0
    updated: float = 0.0
    seconds: float | None = None


class CircuitBreakers:
    """The breakers of all providers. All methods are called from one event loop."""

    def __init__(
        self,
        names: Iterable[str],
        *,
        clock: Callable[[], float] = time.monotonic,
        draw: Callable[[], float] = random.random,
    ) -> None:
        """Start with all providers healthy. `clock` returns seconds, `draw` numbers from 0 to 1."""
        self._clock = clock
        self._draw = draw
        self._records = {name: _ProviderRecord() for name in names}

    def snapshot(self) -> Mapping[str, ProviderHealth]:
        """Return the current health of every provider."""
        now = self._clock()
        return {name: self._health_of(record, now) for name, record in self._records.items()}

    def _health_of(self, record: _ProviderRecord, now: float) -> ProviderHealth:
        # When a probe is due the provider keeps its usual place; if it came last, the probe would never be made.
        due = record.failures >= THRESHOLD
        reliability = 1.0 if due else _decay(record, now)
        return ProviderHealth(now < record.open_until or record.probe is not None, reliability, record.seconds)

    def begin(self, name: str, *, anyway: bool = False) -> BreakerPermit | None:
        """Admit a call and return its permit, None while the breaker is open.

        `anyway=True` bypasses an open breaker for the last candidate; such a call is not a probe.
        """
        record = self._records[name]
        out = self._clock() < record.open_until or record.probe is not None
        if out and not anyway:
            return None
        permit = BreakerPermit(name, probe=not out and record.failures >= THRESHOLD)
        if permit.probe:
            record.probe = permit
        return permit

    def record_success(self, permit: BreakerPermit, seconds: float) -> None:
        """Record a success and close the breaker; `seconds` is the average duration per picture."""
        record = self._records[permit.name]
        self._score(record, 1.0)
        record.failures = record.openings = 0
        record.open_until, record.probe = 0.0, None
        known = record.seconds
        record.seconds = seconds if known is None else known + SMOOTHING * (seconds - known)

    def record_failure(self, permit: BreakerPermit, error: Error) -> None:
        """Record a failure if the error counts; an error with a `retry_after` opens the breaker for that time."""
        record = self._records[permit.name]
        now = self._clock()
        if error.counts:
            self._score(record, 0.0)
            record.failures += 1
            if record.failures >= THRESHOLD and now >= record.open_until:
                pause = min(FIRST_PAUSE * 2 ** min(record.openings, 16), LONGEST_PAUSE)
                record.open_until = now + pause * (1 + JITTER * (2 * self._draw() - 1))
                record.openings += 1
        elif error.tries_next_provider and error.retry_after:
            record.open_until = max(record.open_until, now + min(error.retry_after, LONGEST_REST))
        self.release(permit)

    def release(self, permit: BreakerPermit) -> None:
        """End a call that shows neither success nor failure."""
        record = self._records[permit.name]
        if record.probe is permit:
            record.probe = None

    def _score(self, record: _ProviderRecord, value: float) -> None:
        now = self._clock()
        past = _decay(record, now)
        record.success_share = past + SMOOTHING * (value - past)
        record.updated = now


def _decay(record: _ProviderRecord, now: float) -> float:
    """Return the share of successes, with failures forgotten over time."""
    return 1.0 - (1.0 - record.success_share) * math.exp2((record.updated - now) / HALF_LIFE)
