"""The rows of jobs: found again by idempotency key or as a client's retry, entered, listed, ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection, Row, delete, func, insert, select, update

from fluxvision.accounts.spending import add_spending
from fluxvision.core.errors import IdempotencyConflict
from fluxvision.core.job_status import CANCELLING, FAILED, RUNNING
from fluxvision.jobs.request_types import KEY_SECONDS, RETRY_SECONDS, EndedRequest, RequestFilter, RequestIdentity
from fluxvision.storage.database import Database
from fluxvision.storage.tables import DELIVERIES, REQUESTS, SUBMISSIONS

COUNTED_SECONDS = 3600.0
"""No request that somebody waits for takes longer."""
RequestRow = Row[Any]
"""A row of `REQUESTS`."""


def lock_caller(connection: Connection, database: Database, key_id: str) -> None:
    """Let no other transaction enter a request of the same caller meanwhile."""
    if database.locks_rows:
        connection.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(key_id, 0))))


def find_same(connection: Connection, key_id: str, identity: RequestIdentity, now: float) -> RequestRow | None:
    """Return the request that this one repeats, or that has overtaken it; None for a new one.

    A failure that cost nothing has no fingerprint any more. Raises `IdempotencyConflict` when the key was used for
    something else.
    """
    own = REQUESTS.c.key_id == key_id
    if identity.key is not None:
        same_key = own & (REQUESTS.c.idempotency_key == identity.key)
        kept = connection.execute(select(REQUESTS).where(same_key)).one_or_none()
        if kept is not None and kept.created_at <= now - KEY_SECONDS:
            connection.execute(update(REQUESTS).where(same_key).values(idempotency_key=None))
        elif kept is not None and kept.fingerprint != identity.fingerprint:
            message = "Idempotency-Key: this key was used for another request; send a new one."
            raise IdempotencyConflict(message, param="Idempotency-Key")
        elif kept is not None:
            return kept
        return None
    same = own & (REQUESTS.c.fingerprint == identity.fingerprint)
    if identity.is_retry:
        same &= REQUESTS.c.created_at > now - RETRY_SECONDS
    else:  # a busy server may have been slower with the first than with its retry
        same &= REQUESTS.c.is_retry & (REQUESTS.c.created_at > identity.received_at)
    recent = select(REQUESTS).where(same).order_by(REQUESTS.c.created_at.desc()).limit(1)
    return connection.execute(recent).one_or_none()


def find_request(connection: Connection, request_id: str, key_id: str | None) -> RequestRow | None:
    """Return a caller's request, or with None anybody's."""
    if "\0" in request_id:  # PostgreSQL does not take it
        return None
    rows = select(REQUESTS).where(REQUESTS.c.id == request_id)
    return connection.execute(rows if key_id is None else rows.where(REQUESTS.c.key_id == key_id)).one_or_none()


def list_requests(connection: Connection, wanted: RequestFilter) -> Sequence[RequestRow]:
    """Return one request more than wanted, where there are more."""
    rows = select(REQUESTS).order_by(REQUESTS.c.created_at.desc(), REQUESTS.c.id.desc()).limit(wanted.limit + 1)
    if wanted.key_id is not None:
        rows = rows.where(REQUESTS.c.key_id == wanted.key_id)
    if wanted.statuses:
        rows = rows.where(REQUESTS.c.status.in_(wanted.statuses))
    if wanted.created_after is not None:
        rows = rows.where(REQUESTS.c.created_at > wanted.created_after)
    if wanted.before is not None:
        time, request_id = wanted.before
        rows = rows.where(
            (REQUESTS.c.created_at < time) | ((REQUESTS.c.created_at == time) & (REQUESTS.c.id < request_id))
        )
    return connection.execute(rows).all()


def set_status(connection: Connection, request_id: str, status: str, *before: str) -> bool:
    """Change the status of a request that has one of those `before`; return whether it was changed."""
    rows = update(REQUESTS).where(REQUESTS.c.id == request_id, REQUESTS.c.status.in_(before))
    return connection.execute(rows.values(status=status)).rowcount > 0


def cancelling(connection: Connection, request_ids: Sequence[str]) -> Sequence[str]:
    """Return which of these requests are to be cancelled."""
    rows = select(REQUESTS.c.id).where(REQUESTS.c.id.in_(request_ids), REQUESTS.c.status == CANCELLING)
    return connection.execute(rows).scalars().all()


def insert_ended(connection: Connection, ended: Sequence[EndedRequest]) -> None:
    """Insert requests that have ended."""
    rows = [{**asdict(one), "cost": one.cost or 0, "background": False, "reserved": 0} for one in ended]
    connection.execute(insert(REQUESTS), rows)
    for one in sorted(ended, key=lambda one: one.key_id):  # in the same order everywhere: no deadlock
        add_spending(connection, one.key_id, one.created_at, spent=one.cost or 0)


def delete_submissions(connection: Connection, request_id: str) -> None:
    """Forget what providers accepted for a request that has ended."""
    connection.execute(delete(SUBMISSIONS).where(SUBMISSIONS.c.request_id == request_id))


def end_abandoned(connection: Connection, now: float) -> None:
    """End free requests that were counted and whose process died; they would fill the places of their key for ever.

    They have reserved nothing.
    """
    rows = update(REQUESTS).where(
        REQUESTS.c.status == RUNNING, REQUESTS.c.job.is_(None), REQUESTS.c.created_at < now - COUNTED_SECONDS
    )
    connection.execute(rows.values(status=FAILED, ended_at=now))


def clear(connection: Connection, request_id: str) -> None:
    """Forget what a request asked for and was answered, and where that was to be told."""
    names = ("job", "response", "error", "idempotency_key", "fingerprint", "webhook")
    emptied = dict.fromkeys(names)
    connection.execute(delete(DELIVERIES).where(DELIVERIES.c.request_id == request_id))
    connection.execute(update(REQUESTS).where(REQUESTS.c.id == request_id).values(emptied))


def ended_columns(free: bool, response: Mapping[str, Any] | None, error: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the columns of a request that has ended; a failure that is `free` can be tried again with the same key."""
    columns: dict[str, Any] = {"job": None, "response": response, "error": error}
    return columns | ({"idempotency_key": None, "fingerprint": None} if error is not None and free else {})
