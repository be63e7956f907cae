"""How requests are recognized, found and listed: plain data, without a database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fluxvision.core.limits import RequestRate
from fluxvision.core.types import Caller

KEY_SECONDS = 24 * 3600.0
"""How long an idempotency key is kept."""
RETRY_SECONDS = 600.0
"""How long a client's retry without a key is recognized by what it asks for."""


@dataclass(frozen=True, slots=True)
class RequestIdentity:
    """By what the same request is recognized when it comes again."""

    fingerprint: str
    """Digest of all that is asked for."""
    key: str | None = None
    """The caller's idempotency key."""
    is_retry: bool = False
    """Whether the client says that it has sent the same before."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A request that was entered, or that was found to be one that is known."""

    id: str
    is_new: bool
    rate: RequestRate | None = None
    """The caller's requests per minute, where they are limited."""


@dataclass(frozen=True, slots=True)
class EndedRequest:
    """A request that was not stored before it ran: how it ended."""

    id: str
    key_id: str
    model: str
    status: str
    provider: str | None
    cost: int | None
    """Micro-dollars, None when unknown."""
    created_at: float
    ended_at: float


@dataclass(frozen=True, slots=True)
class RequestFilter:
    """Which requests are listed, the newest first."""

    key_id: str | None
    """None: of all callers."""
    statuses: Sequence[str] = ()
    """Empty: all."""
    created_after: float | None = None
    before: tuple[float, str] | None = None
    """Time and id of the last request of the page before."""
    limit: int = 20


def owner(caller: Caller) -> str | None:
    """Return whose requests a caller may see: its own, or with the admin key those of all."""
    return None if caller.admin else caller.id
