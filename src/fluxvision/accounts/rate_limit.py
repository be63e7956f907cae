"""Rate limit per caller: a token bucket that refills within a minute; and the headers of a key's limit."""

from __future__ import annotations

import math
from collections import OrderedDict

from fluxvision.core.key_limits import RequestRate

MINUTE = 60.0
MOST = 10_000
"""Most callers with a bucket; beyond that, the least recently seen one is dropped."""


class Rate:
    """Allows each caller a burst of `per_minute` requests, refilled at `per_minute` per minute."""

    def __init__(self, per_minute: int) -> None:
        """Start with full buckets."""
        self._full = float(per_minute)
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, who: str, weight: float, now: float) -> float:
        """Count a request as `weight` ordinary ones; return the seconds to wait, 0 when it is allowed."""
        left, since = self._buckets.get(who, (self._full, now))
        left = min(self._full, left + max(0.0, now - since) * self._full / MINUTE)
        missing = weight - left
        granted = missing <= 1e-9  # noqa: PLR2004, what adding fractions up may leave
        self._buckets[who] = (max(0.0, left - weight) if granted else left, now)
        self._buckets.move_to_end(who)
        if len(self._buckets) > MOST:
            self._buckets.popitem(last=False)
        return 0.0 if granted else missing * MINUTE / self._full


def rate_limit_headers(rate: RequestRate) -> dict[str, str]:
    """Return OpenAI's headers of the requests per minute."""
    return {
        "x-ratelimit-limit-requests": str(rate.limit),
        "x-ratelimit-remaining-requests": str(rate.remaining),
        "x-ratelimit-reset-requests": format_duration(rate.reset),
    }


def format_duration(seconds: float) -> str:
    """Return seconds in the notation of OpenAI's headers, rounded up: 6m0s, 1s, 20ms."""
    milliseconds = max(0, math.ceil(round(seconds * 1000, 3)))
    if milliseconds < 1000:  # noqa: PLR2004, a second
        return f"{milliseconds}ms"
    minutes, rest = divmod(math.ceil(milliseconds / 1000), 60)
    hours, minutes = divmod(minutes, 60)
    return (f"{hours}h" if hours else "") + (f"{minutes}m" if hours or minutes else "") + f"{rest}s"
