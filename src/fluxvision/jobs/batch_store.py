"""BatchStore: what callers see of input files and batches: entered, found, listed, cancelled, deleted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Connection, Row, Table, delete, func, insert, select, update

from fluxvision.core.errors import IdempotencyConflict, InvalidRequest, NotFound
from fluxvision.core.job_status import CANCELLING
from fluxvision.jobs import batch_records
from fluxvision.jobs.batch_records import BatchRow
from fluxvision.jobs.batch_types import IN_PROGRESS, KEPT_SECONDS, PICTURE_PURPOSES, RUNNING_BATCHES, BatchCounts
from fluxvision.jobs.records import RequestRow, lock_caller
from fluxvision.jobs.request_types import RETRY_SECONDS, RequestIdentity
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

    async def add_file(self, most_bytes: int, **columns: Any) -> None:
        """Add an uploaded file, and forget those that are not on the disk any more.

        Raises `InvalidRequest` where the files of the key would have more than `most_bytes`.
        """

        def add(connection: Connection) -> None:
            lock_caller(connection, self._database, columns["key_id"])
            expired = FILES.c.purpose.in_(PICTURE_PURPOSES) & (FILES.c.expires_at <= self._now())
            connection.execute(delete(FILES).where((FILES.c.created_at < self._now() - KEPT_SECONDS) | expired))
            kept = select(func.coalesce(func.sum(FILES.c.bytes), 0)).where(FILES.c.key_id == columns["key_id"])
            if connection.execute(kept).scalar_one() + columns["bytes"] > most_bytes:
                message = f"file: a key's files may have {most_bytes:,} bytes together; delete some that nothing needs."
                raise InvalidRequest(message, param="file")
            connection.execute(insert(FILES).values(columns))

        await self._database.run(add)

    async def find_file(self, file_id: str, key_id: str | None) -> FileRow | None:
        """Return a file that has not expired."""
        row = await self._database.run(lambda connection: _find(connection, FILES, file_id, key_id))
        return None if row is None or row.expires_at <= self._now() else row

    async def list_files(
        self, key_id: str | None, after: str | None, limit: int, purpose: str | None = None
    ) -> Sequence[FileRow]:
        """Return one file more than `limit`, where there are more, the newest first; raises `NotFound`.

        Files of all purposes are listed where none is given.
        """
        rows = [FILES.c.expires_at > self._now(), *([FILES.c.purpose == purpose] if purpose else [])]
        return await self._database.run(lambda connection: _list(connection, FILES, key_id, after, limit, *rows))

    async def hide_file(self, file_id: str, key_id: str | None) -> FileRow | None:
        """Hide a file that is about to be deleted from everybody who reads it, and return its row.

        The row stays until `delete_file`, so that a deletion that failed can be repeated. Raises `InvalidRequest` while
        a batch reads the file.
        """

        def hide(connection: Connection) -> FileRow | None:
            row = _find(connection, FILES, file_id, key_id, locked=True)
            if row is None:
                return None
            reading = BATCHES.c.input_file_id == file_id, BATCHES.c.status.in_(RUNNING_BATCHES)
            if connection.execute(select(BATCHES.c.id).where(*reading).limit(1)).first() is not None:
                raise InvalidRequest("A batch that has not ended reads this file; cancel it first.")
            connection.execute(update(FILES).where(FILES.c.id == file_id).values(expires_at=0))
            return row

        return await self._database.run(hide)

    async def delete_file(self, file_id: str) -> None:
        """Delete the row of a file."""
        await self._database.run(lambda connection: connection.execute(delete(FILES).where(FILES.c.id == file_id)))

    async def find_same(self, key_id: str, identity: RequestIdentity) -> str | None:
        """Return the id of the batch that this request repeats, by the rules of single requests.

        The fingerprint is the id of the input file. Raises `IdempotencyConflict`.
        """
        return await self._database.run(lambda connection: _find_same(connection, key_id, identity, self._now()))

    async def enter(self, identity: RequestIdentity, **columns: Any) -> str:
        """Enter a batch and return its id, or that of the one which this request repeats.

        Raises `NotFound` where its input file has been deleted or has expired meanwhile.
        """

        def enter(connection: Connection) -> str:
            lock_caller(connection, self._database, columns["key_id"])
            now = self._now()
            known = _find_same(connection, columns["key_id"], identity, now)
            if known is not None:
                return known
            file = _find(connection, FILES, identity.fingerprint, None, locked=True)
            if file is None or file.expires_at <= now:
                raise NotFound("The input file was deleted or has expired.", param="input_file_id")
            facts = {**columns, "input_file_id": identity.fingerprint, "idempotency_key": identity.key}
            facts |= {"is_retry": identity.is_retry, "created_at": now, "status": IN_PROGRESS}
            connection.execute(insert(BATCHES).values(facts))
            return str(columns["id"])

        return await self._database.run(enter)

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


def _find_same(connection: Connection, key_id: str, identity: RequestIdentity, now: float) -> str | None:
    if "\0" in identity.fingerprint:  # PostgreSQL does not take it
        return None
    own = BATCHES.c.key_id == key_id
    if identity.key is not None:
        same = own & (BATCHES.c.idempotency_key == identity.key)
    else:
        same = own & (BATCHES.c.input_file_id == identity.fingerprint)
        if identity.is_retry:
            same &= BATCHES.c.created_at > now - RETRY_SECONDS
        else:  # the first request may be entered after its client's retry
            same &= BATCHES.c.is_retry & (BATCHES.c.created_at > identity.received_at)
    found = connection.execute(select(BATCHES).where(same).limit(1)).one_or_none()
    if found is None:
        return None
    if found.input_file_id != identity.fingerprint:
        message = "Idempotency-Key: this key was used for another batch; send a new one."
        raise IdempotencyConflict(message, param="Idempotency-Key")
    return str(found.id)


def _find(
    connection: Connection, table: Table, row_id: str, key_id: str | None, *, locked: bool = False
) -> Row[Any] | None:
    """Return a row of a caller; `locked`: no other transaction changes it meanwhile."""
    if "\0" in row_id:  # PostgreSQL does not take it
        return None
    rows = select(table).where(table.c.id == row_id)
    rows = rows.with_for_update() if locked else rows
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
