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

from fluxvision.errors import Error

THRESHOLD = 3
"""Consecutive failures that open a breaker."""
FIRST_PAUSE, LONGEST_PAUSE = 5.0, 300.0
"""Seconds that a breaker is open the first time, and at most; each time in a row doubles it."""
JITTER = 0.2
"""Share by which a pause is longer or shorter, so that many servers do not probe at once."""
SMOOTHING = 0.2
"""Share of the newest call in what is known of successes and seconds."""
HALF_LIFE = 300.0
"""Seconds in which half of a bad reputation is forgotten."""
LONGEST_REST = 60.0


@dataclass(frozen=True, slots=True)
class Standing:
    """What routing knows of a provider: whether it is `out` for now, its share of successes, its seconds per picture.

    `reliability` is above 0 and at most 1. `seconds` is None before the first success.
    """

    out: bool = False
    reliability: float = 1.0
    seconds: float | None = None


@dataclass(slots=True)
class _Record:
    failures: int = 0
    openings: int = 0
    until: float = 0.0
    probing: bool = False
    success: float = 1.0
    at: float = 0.0
    seconds: float | None = None


class Health:
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
        self._records = {name: _Record() for name in names}

    def standings(self) -> Mapping[str, Standing]:
        """Return how every provider is doing now."""
        now = self._clock()
        return {name: self._standing(record, now) for name, record in self._records.items()}

    def _standing(self, record: _Record, now: float) -> Standing:
        # A probe that is due takes the provider's usual place: from behind the others it would never be made.
        due = record.failures >= THRESHOLD
        reliability = 1.0 if due else _remembered(record, now)
        return Standing(now < record.until or record.probing, reliability, record.seconds)

    def begin(self, name: str) -> bool:
        """Note that a call begins; False, and nothing noted, while the provider is out for others."""
        record = self._records[name]
        if self._clock() < record.until or record.probing:
            return False
        record.probing = record.failures >= THRESHOLD
        return True

    def probing(self, name: str) -> bool:
        """Return whether a call is under way that shows whether the provider is back."""
        return self._records[name].probing

    def succeeded(self, name: str, seconds: float) -> None:
        """Close the breaker; `seconds` is what the call took."""
        record = self._records[name]
        self._score(record, 1.0)
        record.failures = record.openings = 0
        record.until, record.probing = 0.0, False
        known = record.seconds
        record.seconds = seconds if known is None else known + SMOOTHING * (seconds - known)

    def failed(self, name: str, error: Error) -> None:
        """Note a failure; only one that counts moves the breaker, and one that names a time to come back rests it."""
        record = self._records[name]
        now = self._clock()
        if error.counts:
            self._score(record, 0.0)
            record.failures += 1
            if record.failures >= THRESHOLD and now >= record.until:
                pause = min(FIRST_PAUSE * 2 ** min(record.openings, 16), LONGEST_PAUSE)
                record.until = now + pause * (1 + JITTER * (2 * self._draw() - 1))
                record.openings += 1
        elif error.goes_on and error.retry_after:
            record.until = max(record.until, now + min(error.retry_after, LONGEST_REST))
        record.probing = False

    def released(self, name: str) -> None:
        """Note that a call ended without a verdict."""
        self._records[name].probing = False

    def _score(self, record: _Record, value: float) -> None:
        now = self._clock()
        past = _remembered(record, now)
        record.success = past + SMOOTHING * (value - past)
        record.at = now


def _remembered(record: _Record, now: float) -> float:
    """Return the share of successes, with failures forgotten over time."""
    return 1.0 - (1.0 - record.success) * math.exp2((record.at - now) / HALF_LIFE)
