"""The rows of batches while they run: claimed by a gateway, counted, moved on by one line, ended."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select, update

from fluxvision.core.job_status import ACTIVE, COMPLETED, FAILED
from fluxvision.jobs.batch_types import FINALIZING, IN_PROGRESS, RUNNING_BATCHES, BatchCounts, BatchLine
from fluxvision.storage.tables import BATCHES, EXECUTORS, REQUESTS

BatchRow = Row[Any]
"""A row of `BATCHES`."""


class BatchMoved(Exception):
    """Another gateway makes requests of this batch, or it has been cancelled; nothing was entered."""


def claim(connection: Connection, executor_id: str, paused: Collection[str] = ()) -> Sequence[str]:
    """Claim the batches that no living gateway feeds, but for `paused` ones; return the ids of all that this one feeds.

    A batch without a feeder was left by a gateway that does not have its input file.
    """
    rows = select(BATCHES.c.id, BATCHES.c.feeder).where(BATCHES.c.status.in_(RUNNING_BATCHES))
    alive = set(connection.execute(select(EXECUTORS.c.id)).scalars()) - {executor_id}
    unfed = [row for row in connection.execute(rows) if row.feeder not in {*alive, executor_id}]
    left = [row.id for row in unfed if row.id not in paused]
    if left:  # of two gateways that claim at the same time the second one does not find the first one's feeder
        dead = {row.feeder for row in unfed if row.feeder is not None}
        before = BATCHES.c.feeder.is_(None) | BATCHES.c.feeder.in_(dead)
        connection.execute(update(BATCHES).where(BATCHES.c.id.in_(left), before).values(feeder=executor_id))
    own = rows.where(BATCHES.c.feeder == executor_id).order_by(BATCHES.c.created_at)
    return connection.execute(own).scalars().all()


def release(connection: Connection, batch_id: str, executor_id: str, now: float) -> None:
    """Let another gateway claim a batch that this one feeds, whose input file is not here."""
    own = (BATCHES.c.id == batch_id) & (BATCHES.c.feeder == executor_id)
    since = func.coalesce(BATCHES.c.missing_since, now)
    connection.execute(update(BATCHES).where(own).values(feeder=None, missing_since=since))


def count(connection: Connection, batch_id: str) -> BatchCounts:
    """Return the requests of a batch by their end."""
    rows = select(REQUESTS.c.status, func.count()).where(REQUESTS.c.batch_id == batch_id).group_by(REQUESTS.c.status)
    found: dict[str, int] = {row[0]: row[1] for row in connection.execute(rows)}
    active = sum(found.pop(status, 0) for status in ACTIVE)
    completed = found.pop(COMPLETED, 0)
    return BatchCounts(active, completed, sum(found.values()))


def advance(connection: Connection, line: BatchLine, executor_id: str) -> None:
    """Note that a line has become a request, in the transaction that enters it: no line is entered twice.

    Raises `BatchMoved` where that is not for this gateway to do now.
    """
    row = update(BATCHES).where(
        BATCHES.c.id == line.batch_id,
        BATCHES.c.lines == line.number - 1,
        BATCHES.c.status.in_((IN_PROGRESS, FINALIZING)),
        BATCHES.c.feeder == executor_id,
    )
    if connection.execute(row.values(lines=line.number, offset=line.end, missing_since=None)).rowcount != 1:
        raise BatchMoved


def insert_failed(connection: Connection, line: BatchLine, now: float, **columns: Any) -> None:
    """Insert the request of a line that could not be begun; `columns` are its id, caller and error."""
    facts = {"model": "", "status": FAILED, "background": True, "created_at": now, "ended_at": now}
    connection.execute(insert(REQUESTS).values({**facts, **columns, **line.columns}))


def set_status(connection: Connection, batch_id: str, status: str, *before: str, **columns: Any) -> bool:
    """Change the status of a batch that has one of those `before`; return whether it was changed."""
    rows = update(BATCHES).where(BATCHES.c.id == batch_id, BATCHES.c.status.in_(before))
    return connection.execute(rows.values(**columns, status=status)).rowcount > 0
