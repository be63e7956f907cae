"""Data types of stored requests: identity, entry, end, filter; quick to import, because they need no database."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from fluxvision.core.key_limits import RequestRate
from fluxvision.core.types import Caller

KEY_SECONDS = 24 * 3600.0
"""How long an idempotency key is kept."""
RETRY_SECONDS = 600.0
"""How long a client's retry without a key is recognized by what it asks for."""

PENDING, DELIVERED, DEAD = DELIVERY_STATUSES = ("pending", "delivered", "dead")
"""States of a webhook's delivery; a dead one was given up."""


@dataclass(frozen=True, slots=True)
class RequestIdentity:
    """By what the same request is recognized when it comes again."""

    fingerprint: str
    """Digest of all that is asked for."""
    key: str | None = None
    """The caller's idempotency key."""
    is_retry: bool = False
    """Whether the client says that it has sent the same before."""
    received_at: float = math.inf
    """Unix time of its headers; a retry that was entered later has overtaken it."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A request that was entered, or that was found to be one that is known."""

    id: str
    is_new: bool
    rate: RequestRate | None = None
    """The caller's requests per minute, where they are limited."""


@dataclass(frozen=True, slots=True)
class Webhook:
    """Where the end of a request is told."""

    url: str
    base_url: str
    """The address of this server, for the links in the message."""


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


@dataclass(frozen=True, slots=True)
class DeliveryFilter:
    """Which webhook deliveries are listed, the newest first."""

    key_id: str | None
    """None: of all callers."""
    status: str | None = None
    """One of `DELIVERY_STATUSES`; None: all."""
    before: str | None = None
    """The id of the last delivery of the page before."""
    limit: int = 20


def delivery_status(next_at: float | None, delivered_at: float | None) -> str:
    """Return the state of a delivery that is sent (again) at `next_at` or was delivered."""
    if delivered_at is not None:
        return DELIVERED
    return DEAD if next_at is None else PENDING


def owner(caller: Caller) -> str | None:
    """Return whose requests a caller may see: its own, or with the admin key those of all."""
    return None if caller.admin else caller.id
