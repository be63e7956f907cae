"""The ids of work that remote providers accepted for a job, in the database, so that it is not bought again.

The id of the work is stored by the `Call.key`, which is the same when the job begins again. It is not the result of a
workflow's step, because the pictures of one job are made at the same time and steps are found again by their order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from fluxvision.core.callbacks import SubmissionStore
from fluxvision.core.errors import UpstreamUnreachable
from fluxvision.storage.database import Database
from fluxvision.storage.tables import SUBMISSIONS

LOST = (
    "This server stopped while the job was handed to the provider, so it is unknown whether it was accepted. It is not "
    "bought again."
)


class StoredSubmissions(SubmissionStore):
    """The submissions of one job."""

    def __init__(self, database: Database, request_id: str, now: Callable[[], float]) -> None:
        """Use the rows of a request; `now` returns the Unix time."""
        self._database = database
        self._request_id = request_id
        self._now = now

    async def providers(self) -> list[str]:
        """Return the providers that were asked for work of this job."""
        return await self._database.run(self.read_providers)

    def read_providers(self, connection: Connection) -> list[str]:
        """Return the same, inside a transaction."""
        rows = select(SUBMISSIONS.c.provider).where(SUBMISSIONS.c.request_id == self._request_id).distinct()
        return list(connection.execute(rows).scalars())

    async def find(self, key: str) -> Mapping[str, Any] | None:
        """Return what a provider answered, None when it was not asked; raises `UpstreamUnreachable`."""
        rows = select(SUBMISSIONS.c.upstream).where(SUBMISSIONS.c.key == key)
        row = await self._database.run(lambda connection: connection.execute(rows).one_or_none())
        if row is None:
            return None
        if row.upstream is None:
            raise UpstreamUnreachable(LOST, billed=None)
        answer: Mapping[str, Any] = row.upstream
        return answer

    async def announce(self, key: str, provider: str) -> None:
        """Note that a provider is about to be asked."""
        row = {"key": key, "request_id": self._request_id, "provider": provider, "created_at": self._now()}
        await self._database.run(lambda connection: connection.execute(insert(SUBMISSIONS).values(row)))

    async def save(self, key: str, answer: Mapping[str, Any]) -> None:
        """Note what the provider answered."""
        change = update(SUBMISSIONS).where(SUBMISSIONS.c.key == key).values(upstream=dict(answer))
        await self._database.run(lambda connection: connection.execute(change))

    async def forget(self, key: str) -> None:
        """Note that the work has ended without a result and without a charge."""
        gone = delete(SUBMISSIONS).where(SUBMISSIONS.c.key == key)
        await self._database.run(lambda connection: connection.execute(gone))

    async def forget_all(self) -> None:
        """Forget all work of this job, which has its result."""
        gone = delete(SUBMISSIONS).where(SUBMISSIONS.c.request_id == self._request_id)
        await self._database.run(lambda connection: connection.execute(gone))

    async def forget_before(self, moment: float) -> None:
        """Forget what any job had submitted before a moment in Unix time."""
        gone = delete(SUBMISSIONS).where(SUBMISSIONS.c.created_at < moment)
        await self._database.run(lambda connection: connection.execute(gone))
