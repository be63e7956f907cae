"""BatchStore: what callers see of input files and batches: entered, found, listed, cancelled, deleted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Connection, Row, Table, delete, insert, select

from fluxvision.core.errors import IdempotencyConflict, InvalidRequest, NotFound
from fluxvision.core.job_status import CANCELLING
from fluxvision.jobs import batch_records
from fluxvision.jobs.batch_records import BatchRow
from fluxvision.jobs.batch_types import IN_PROGRESS, KEPT_SECONDS, RUNNING_BATCHES, BatchCounts
from fluxvision.jobs.records import RequestRow, lock_caller
from fluxvision.jobs.request_types import RETRY_SECONDS
from fluxvision.storage.database import Database
from fluxvision.storage.tables import BATCHES, FILES, REQUESTS

FileRow = Row[Any]
"""A row of `FILES`."""


class BatchStore:
    """The files and batches of all callers; `key_id` is a caller's id, or None for everybody's."""

    def __init__(self, database: Database, now: Callable[[], float]) -> None:
        """Use the rows of a database; `now` returns the Unix time."""
        self._database = database
        self._now = now

    async def add_file(self, **columns: Any) -> None:
        """Add an uploaded file, and forget those that are not on the disk any more."""

        def add(connection: Connection) -> None:
            connection.execute(delete(FILES).where(FILES.c.created_at < self._now() - KEPT_SECONDS))
            connection.execute(insert(FILES).values(columns))

        await self._database.run(add)

    async def find_file(self, file_id: str, key_id: str | None) -> FileRow | None:
        """Return a file that has not expired."""
        row = await self._database.run(lambda connection: _find(connection, FILES, file_id, key_id))
        return None if row is None or row.expires_at <= self._now() else row

    async def list_files(self, key_id: str | None, after: str | None, limit: int) -> Sequence[FileRow]:
        """Return one file more than `limit`, where there are more, the newest first; raises `NotFound`."""
        rows = FILES.c.expires_at > self._now()
        return await self._database.run(lambda connection: _list(connection, FILES, key_id, after, limit, rows))

    async def delete_file(self, file_id: str) -> None:
        """Delete the row of a file; raises `InvalidRequest` while a batch reads it."""
        reading = select(BATCHES.c.id).where(BATCHES.c.input_file_id == file_id, BATCHES.c.status.in_(RUNNING_BATCHES))

        def remove(connection: Connection) -> None:
            if connection.execute(reading.limit(1)).one_or_none() is not None:
                raise InvalidRequest("A batch that has not ended reads this file; cancel it first.")
            connection.execute(delete(FILES).where(FILES.c.id == file_id))

        await self._database.run(remove)

    async def enter(self, **columns: Any) -> str:
        """Enter a batch and return its id, or that of the one which this request repeats, as for single requests."""
        return await self._database.run(lambda connection: self._enter(connection, columns))

    async def find(self, batch_id: str, key_id: str | None) -> tuple[BatchRow, BatchCounts] | None:
        """Return a batch and how its lines stand."""

        def read(connection: Connection) -> tuple[BatchRow, BatchCounts] | None:
            row = _find(connection, BATCHES, batch_id, key_id)
            return None if row is None else (row, batch_records.count(connection, batch_id))

        return await self._database.run(read)

    async def list(self, key_id: str | None, after: str | None, limit: int) -> Sequence[tuple[BatchRow, BatchCounts]]:
        """Return one batch more than `limit`, where there are more, the newest first; raises `NotFound`."""

        def read(connection: Connection) -> Sequence[tuple[BatchRow, BatchCounts]]:
            rows = _list(connection, BATCHES, key_id, after, limit)
            return [(row, batch_records.count(connection, row.id)) for row in rows]

        return await self._database.run(read)

    async def cancel(self, batch_id: str) -> None:
        """Begin no further lines of a batch; the gateway that feeds it cancels those that run."""
        now = self._now()
        await self._database.run(
            lambda connection: batch_records.set_status(
                connection, batch_id, CANCELLING, IN_PROGRESS, cancelling_at=now
            )
        )

    async def lines(self, batch_id: str, statuses: Sequence[str], after: int, limit: int) -> Sequence[RequestRow]:
        """Return requests of a batch in these states, in the order of their lines, those after line `after`."""
        rows = select(REQUESTS).where(REQUESTS.c.batch_id == batch_id, REQUESTS.c.batch_line > after)
        rows = rows.where(REQUESTS.c.status.in_(statuses)).order_by(REQUESTS.c.batch_line).limit(limit)
        return await self._database.run(lambda connection: connection.execute(rows).all())

    def _enter(self, connection: Connection, columns: dict[str, Any]) -> str:
        key_id, key, file_id = (columns[name] for name in ("key_id", "idempotency_key", "input_file_id"))
        lock_caller(connection, self._database, key_id)
        own, now = BATCHES.c.key_id == key_id, self._now()
        if key is not None:
            same = own & (BATCHES.c.idempotency_key == key)
        else:  # the first request may be entered after its client's retry
            same = own & (BATCHES.c.input_file_id == file_id) & (BATCHES.c.created_at > now - RETRY_SECONDS)
            same = same if columns["is_retry"] else same & BATCHES.c.is_retry
        found = connection.execute(select(BATCHES).where(same).limit(1)).one_or_none()
        if found is None:
            connection.execute(insert(BATCHES).values(**columns, created_at=now, status=IN_PROGRESS))
            return str(columns["id"])
        if found.input_file_id != file_id:
            message = "Idempotency-Key: this key was used for another batch; send a new one."
            raise IdempotencyConflict(message, param="Idempotency-Key")
        return str(found.id)


def _find(connection: Connection, table: Table, row_id: str, key_id: str | None) -> Row[Any] | None:
    if "\0" in row_id:  # PostgreSQL does not take it
        return None
    rows = select(table).where(table.c.id == row_id)
    return connection.execute(rows if key_id is None else rows.where(table.c.key_id == key_id)).one_or_none()


def _list(
    connection: Connection, table: Table, key_id: str | None, after: str | None, limit: int, *wanted: Any
) -> Sequence[Row[Any]]:
    created_at, own_id = table.c.created_at, table.c.id
    rows = select(table).where(*wanted).order_by(created_at.desc(), own_id.desc())
    if key_id is not None:
        rows = rows.where(table.c.key_id == key_id)
    if after:
        last = _find(connection, table, after, key_id)
        if last is None:
            raise NotFound("There is nothing with the id in after, or it is another key's.", param="after")
        rows = rows.where((created_at < last.created_at) | ((created_at == last.created_at) & (own_id < last.id)))
    return connection.execute(rows.limit(limit + 1)).all()
