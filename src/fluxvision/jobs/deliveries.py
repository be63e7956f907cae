"""The rows of webhook deliveries: entered with the end of a request, claimed for each attempt, listed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from secrets import token_hex
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from fluxvision.core.errors import NotFound
from fluxvision.jobs.request_types import DEAD, DELIVERED, PENDING, DeliveryFilter
from fluxvision.storage.tables import DELIVERIES, REQUESTS

BACKOFF = (5.0, 15.0, 45.0, 120.0, 300.0, 900.0, 3600.0, 3 * 3600.0, 6 * 3600.0, 12 * 3600.0)
"""Seconds between an attempt that failed and the next one, 22 hours in all; then the delivery is given up."""
CLAIM_SECONDS = 60.0
"""Longer than any attempt takes: a delivery that was claimed is taken for abandoned after so long."""
STATES = {
    PENDING: DELIVERIES.c.next_at.is_not(None),
    DELIVERED: DELIVERIES.c.delivered_at.is_not(None),
    DEAD: DELIVERIES.c.next_at.is_(None) & DELIVERIES.c.delivered_at.is_(None),
}

DeliveryRow = Row[Any]
"""A row of `DELIVERIES`."""


@dataclass(frozen=True, slots=True)
class ClaimedDelivery:
    """A delivery that this gateway alone attempts now."""

    id: str
    request_id: str
    key_id: str
    url: str
    base_url: str
    attempt: int
    """1 for the first one."""


def enter(connection: Connection, request_id: str, now: float) -> None:
    """Enter the delivery of a request's end, where its caller asked for one."""
    found = select(REQUESTS.c.key_id, REQUESTS.c.webhook).where(REQUESTS.c.id == request_id)
    row = connection.execute(found).one()
    if row.webhook is not None:
        facts = {"id": f"msg_{token_hex(12)}", "request_id": request_id, "key_id": row.key_id, **row.webhook}
        connection.execute(insert(DELIVERIES).values(**facts, attempts=0, next_at=now, created_at=now))


def claim(connection: Connection, now: float, limit: int) -> list[ClaimedDelivery]:
    """Claim deliveries that are due: no other gateway gets them before this one has told how its attempt ended."""
    due = select(DELIVERIES).where(DELIVERIES.c.next_at <= now).order_by(DELIVERIES.c.next_at).limit(limit)
    rows = connection.execute(due.with_for_update(skip_locked=True)).all()
    if rows:
        claimed = update(DELIVERIES).where(DELIVERIES.c.id.in_([row.id for row in rows]))
        connection.execute(claimed.values(attempts=DELIVERIES.c.attempts + 1, next_at=now + CLAIM_SECONDS))
    return [
        ClaimedDelivery(row.id, row.request_id, row.key_id, row.url, row.base_url, row.attempts + 1) for row in rows
    ]


def end_attempt(connection: Connection, delivery: ClaimedDelivery, failure: str | None, now: float) -> None:
    """Note how an attempt ended, `failure` being its kind; nothing where another gateway has taken it over."""
    own = (DELIVERIES.c.id == delivery.id) & (DELIVERIES.c.attempts == delivery.attempt)
    if failure is None:
        values: dict[str, Any] = {"delivered_at": now, "next_at": None, "last_error": None}
    else:
        again = delivery.attempt <= len(BACKOFF)
        values = {"last_error": failure, "next_at": now + BACKOFF[delivery.attempt - 1] if again else None}
    connection.execute(update(DELIVERIES).where(own, DELIVERIES.c.next_at.is_not(None)).values(values))


def list_deliveries(connection: Connection, wanted: DeliveryFilter) -> Sequence[DeliveryRow]:
    """Return one delivery more than wanted, where there are more; raises `NotFound` for a wrong cursor."""
    created_at, own_id = DELIVERIES.c.created_at, DELIVERIES.c.id
    rows = select(DELIVERIES).order_by(created_at.desc(), own_id.desc())
    if wanted.key_id is not None:
        rows = rows.where(DELIVERIES.c.key_id == wanted.key_id)
    if wanted.before is not None:
        # PostgreSQL does not take a NUL.
        last = None if "\0" in wanted.before else connection.execute(rows.where(own_id == wanted.before)).one_or_none()
        if last is None:
            raise NotFound("There is no delivery with the id in cursor, or it is another key's.", param="cursor")
        rows = rows.where((created_at < last.created_at) | ((created_at == last.created_at) & (own_id < last.id)))
    if wanted.status is not None:
        rows = rows.where(STATES[wanted.status])
    return connection.execute(rows.limit(wanted.limit + 1)).all()
