"""Heartbeats of the gateways that share a database; another gateway takes up the jobs of a dead one."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from hashlib import blake2b

from sqlalchemy import Connection, delete, insert, select, update

from fluxvision.storage.data_dir import DataDir, is_locked
from fluxvision.storage.tables import EXECUTORS

HEARTBEAT_SECONDS = 2.0
DEAD_SECONDS = 30.0
"""A gateway on another machine that was silent for so long is taken for dead."""


class GatewayHeartbeat:
    """This gateway among those that share a database."""

    def __init__(self, data_dir: DataDir) -> None:
        """Name it by machine, data folder and the folder of this process, which is locked while the process lives.

        A data folder is known by its secret: containers with one host name may have different ones at one path.
        """
        place = socket.gethostname().encode()
        self._place = blake2b(place, digest_size=8, key=data_dir.secret).hexdigest()
        self._runs = data_dir.run.parent
        self.id = f"{self._place}-{data_dir.run.name}"

    def beat(self, connection: Connection, now: float) -> list[str]:
        """Note that this gateway is alive; return those that are dead."""
        own = EXECUTORS.c.id == self.id
        if not connection.execute(update(EXECUTORS).where(own).values(seen_at=now)).rowcount:
            connection.execute(insert(EXECUTORS).values(id=self.id, seen_at=now))
        others = connection.execute(select(EXECUTORS).where(~own)).all()
        return [row.id for row in others if self._is_dead(row.id, row.seen_at, now)]

    def remove(self, connection: Connection, dead: Sequence[str]) -> None:
        """Remove the notes of dead gateways, whose jobs have been taken up; several may have done so."""
        connection.execute(delete(EXECUTORS).where(EXECUTORS.c.id.in_(dead)))

    def leave(self, connection: Connection) -> None:
        """Note that this gateway ends: what it leaves is taken up at once."""
        connection.execute(update(EXECUTORS).where(EXECUTORS.c.id == self.id).values(seen_at=0))

    def _is_dead(self, executor_id: str, seen_at: float, now: float) -> bool:
        place, _, run = executor_id.partition("-")
        if place == self._place:  # its lock tells at once
            return not is_locked(self._runs / run)
        return seen_at < now - DEAD_SECONDS
