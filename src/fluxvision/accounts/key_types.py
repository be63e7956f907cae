"""Data types of stored keys, budgets and usage; quick to import, because they need no database."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from fluxvision.core.key_limits import Limits

Period = Literal["day", "month", "total"]
PERIODS: tuple[Period, ...] = get_args(Period)
Grouping = Literal["day", "model", "provider", "key"]
GROUPINGS: tuple[Grouping, ...] = get_args(Grouping)
KeyStatus = Literal["active", "expired", "revoked"]


@dataclass(frozen=True, slots=True)
class StoredKey:
    """An API key of the database, without its secret. Times are Unix seconds."""

    id: str
    name: str
    hint: str
    """Its first and last letters."""
    created_at: float
    expires_at: float | None
    revoked_at: float | None
    models: tuple[str, ...]
    """Ids of the models that it may use; empty: all."""
    limits: Limits

    def status(self, now: float) -> KeyStatus:
        """Return whether it can be used at the time `now`."""
        if self.revoked_at is not None:
            return "revoked"
        return "active" if self.expires_at is None or now < self.expires_at else "expired"


@dataclass(frozen=True, slots=True)
class PeriodBalance:
    """What a key has used of one budget, in micro-dollars."""

    period: Period
    limit: int | None
    """None: no limit."""
    spent: int
    """Cost of ended jobs; at most what they can have cost, where that is unknown."""
    reserved: int
    """The most that the running jobs can cost."""

    @property
    def left(self) -> int | None:
        """What further jobs may cost; None: no limit."""
        return None if self.limit is None else max(0, self.limit - self.spent - self.reserved)


@dataclass(frozen=True, slots=True)
class UsageRow:
    """The requests of one group, and their cost in micro-dollars."""

    group: str
    """The day as YYYY-MM-DD, or the id of the model, provider or key; empty: no provider was asked."""
    requests: int
    cost: int
