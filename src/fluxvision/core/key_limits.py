"""Limits of an API key, and how much of its requests per minute is left."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """What one API key may use; None: no limit. Amounts are micro-dollars, days and calendar months those of UTC."""

    budget_day: int | None = None
    budget_month: int | None = None
    budget_total: int | None = None
    per_minute: int | None = None
    """Most requests within 60 seconds."""
    parallel: int | None = None
    """Most jobs at the same time."""

    @property
    def has_budget(self) -> bool:
        """Whether it limits what jobs may cost."""
        return any(limit is not None for limit in (self.budget_day, self.budget_month, self.budget_total))


@dataclass(frozen=True, slots=True)
class RequestRate:
    """How much of a key's requests per minute is left."""

    limit: int
    """Most requests within 60 seconds."""
    remaining: int
    """Further requests that are accepted now."""
    reset: float
    """Seconds until all `limit` requests are accepted again, if none comes before."""
