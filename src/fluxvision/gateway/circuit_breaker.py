"""How the providers are doing: a breaker for each, and what it has learned of success and speed.

Consecutive failures that are the provider's or the network's doing open a breaker for a growing, jittered time; then
one call probes it. What a caller did wrong, a policy, a cancelled call or a full queue never moves it.
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
"""Seconds that a breaker is open the first time, and at most; each time in a row doubles it."""
JITTER = 0.2
"""Share by which a pause is longer or shorter, so that many servers do not probe at once."""
SMOOTHING = 0.2
"""Share of the newest call in what is known of successes and seconds."""
HALF_LIFE = 30.0
"""Seconds in which half of a bad reputation is forgotten: about as long as the pauses of a breaker that opens.

Who fails now and then opens no breaker, and nothing is learned of those who are not asked: a long memory would leave a
provider that is well again without work for minutes.
"""
LONGEST_REST = 60.0


@dataclass(frozen=True, slots=True)
class ProviderHealth:
    """What routing knows of a provider: whether it is `out` for now, its share of successes, its seconds per picture.

    `reliability` is above 0 and at most 1. `seconds` is None before the first success.
    """

    out: bool = False
    reliability: float = 1.0
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class BreakerPermit:
    """A call that began. A `probe` shows whether a provider is back; it alone frees the place of the probe."""

    name: str
    probe: bool = False


@dataclass(slots=True)
class _ProviderRecord:
    failures: int = 0
    openings: int = 0
    until: float = 0.0
    probe: BreakerPermit | None = None
    success: float = 1.0
    at: float = 0.0
    seconds: float | None = None


class CircuitBreakers:
    """The breakers of all providers. Every method is called from one event loop."""

    def __init__(
        self,
        names: Iterable[str],
        *,
        clock: Callable[[], float] = time.monotonic,
        draw: Callable[[], float] = random.random,
    ) -> None:
        """Take every provider for healthy. `clock` is in seconds, `draw` gives numbers from 0 to 1."""
        self._clock = clock
        self._draw = draw
        self._records = {name: _ProviderRecord() for name in names}

    def snapshot(self) -> Mapping[str, ProviderHealth]:
        """Return how every provider is doing now."""
        now = self._clock()
        return {name: self._standing(record, now) for name, record in self._records.items()}

    def _standing(self, record: _ProviderRecord, now: float) -> ProviderHealth:
        # A probe that is due takes the provider's usual place: from behind the others it would never be made.
        due = record.failures >= THRESHOLD
        reliability = 1.0 if due else _decay(record, now)
        return ProviderHealth(now < record.until or record.probe is not None, reliability, record.seconds)

    def begin(self, name: str, *, anyway: bool = False) -> BreakerPermit | None:
        """Note that a call begins and return its turn; None, and nothing noted, while the provider is out for others.

        Who has nobody else to ask goes `anyway`: as a last resort, which is no probe.
        """
        record = self._records[name]
        out = self._clock() < record.until or record.probe is not None
        if out and not anyway:
            return None
        turn = BreakerPermit(name, probe=not out and record.failures >= THRESHOLD)
        if turn.probe:
            record.probe = turn
        return turn

    def record_success(self, turn: BreakerPermit, seconds: float) -> None:
        """Close the breaker; `seconds` is what the call took."""
        record = self._records[turn.name]
        self._score(record, 1.0)
        record.failures = record.openings = 0
        record.until, record.probe = 0.0, None
        known = record.seconds
        record.seconds = seconds if known is None else known + SMOOTHING * (seconds - known)

    def record_failure(self, turn: BreakerPermit, error: Error) -> None:
        """Note a failure; only one that counts moves the breaker, and one that names a time to come back rests it."""
        record = self._records[turn.name]
        now = self._clock()
        if error.counts:
            self._score(record, 0.0)
            record.failures += 1
            if record.failures >= THRESHOLD and now >= record.until:
                pause = min(FIRST_PAUSE * 2 ** min(record.openings, 16), LONGEST_PAUSE)
                record.until = now + pause * (1 + JITTER * (2 * self._draw() - 1))
                record.openings += 1
        elif error.tries_next_provider and error.retry_after:
            record.until = max(record.until, now + min(error.retry_after, LONGEST_REST))
        self.release(turn)

    def release(self, turn: BreakerPermit) -> None:
        """Note that a call ended without a verdict."""
        record = self._records[turn.name]
        if record.probe is turn:
            record.probe = None

    def _score(self, record: _ProviderRecord, value: float) -> None:
        now = self._clock()
        past = _decay(record, now)
        record.success = past + SMOOTHING * (value - past)
        record.at = now


def _decay(record: _ProviderRecord, now: float) -> float:
    """Return the share of successes, with failures forgotten over time."""
    return 1.0 - (1.0 - record.success) * math.exp2((record.at - now) / HALF_LIFE)
