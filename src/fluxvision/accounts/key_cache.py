"""KeyCache: the stored keys in memory, at most two seconds behind the database."""

from __future__ import annotations

import asyncio
import hmac
import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import Connection, func, select

from fluxvision.accounts.key_store import row_limits
from fluxvision.core.errors import AuthenticationFailed, Error, Unavailable
from fluxvision.core.types import Caller
from fluxvision.storage.database import Database
from fluxvision.storage.tables import API_KEYS

FRESH, OLD, STALE = 0.5, 1.0, 2.0
"""Seconds after which the keys are read again: beside the requests, before the next request, and without an exception.

A key is not accepted by what was read more than `STALE` seconds ago.
"""
MISS_SECONDS = 1.0
"""Seconds between two reads because of an unknown key, so that a flood of them does not reach the database."""
PATIENCE = 5.0
"""Seconds that a request waits for the database."""

Entries = Mapping[bytes, tuple[Caller, float | None]]
"""Callers and expiry times by the keyed digests of their keys."""


class KeyCache:
    """The callers of the stored keys; read again while requests arrive, at once for an unknown key.

    They are looked up by digests keyed with a random number of this process. So a caller cannot choose the digest that
    is compared, and how long that takes reveals nothing.
    """

    def __init__(self, database: Database, clock: Callable[[], float] = time.monotonic) -> None:
        """Read the keys."""
        self._database = database
        self._pepper = secrets.token_bytes(32)
        self._clock = clock
        self._read_at = clock()
        self._present, self._entries = database.run_blocking(self._read)
        self._next_read = self._read_at + FRESH
        self._next_miss = 0.0
        self._reading: asyncio.Task[None] | None = None
        self._missing: asyncio.Task[None] | None = None
        self._stuck = False

    @property
    def present(self) -> bool:
        """Return whether there are keys; revoked ones count, because revoking the last one must not open the server."""
        return self._present

    async def update(self) -> None:
        """Read the keys again if they are no longer fresh, and wait for that where they are old."""
        now = self._clock()
        if now < self._next_read:
            return
        if self._reading is None:
            self._reading = asyncio.create_task(self.refresh())
            self._reading.add_done_callback(self._end_reading)
        if now - self._read_at >= OLD and not self._stuck:
            done, _ = await asyncio.wait({self._reading}, timeout=PATIENCE)
            self._stuck = not done  # further requests do not wait for the same

    async def find(self, key_digest: bytes, now: float) -> Caller | None:
        """Return the caller of a key, given its SHA-256; None for an unknown one.

        `now` is the Unix time. Raises `AuthenticationFailed` for an expired key, `Unavailable` without the database.
        """
        digest = self._blind(key_digest)
        found = self._entries.get(digest)
        if found is None:
            await self._read_for_miss()
            found = self._entries.get(digest)
        if self._clock() - self._read_at > STALE:
            raise Unavailable("The server's database does not answer; try again in a moment.", retry_after=5.0)
        if found is None:
            return None
        caller, expires_at = found
        if expires_at is not None and now >= expires_at:
            raise AuthenticationFailed("The API key has expired.")
        return caller

    def find_caller(self, caller_id: str, now: float) -> Caller | None:
        """Return the caller with an id, None for one that is unknown, revoked or expired at the Unix time `now`."""
        valid = (caller for caller, ends in self._entries.values() if ends is None or now < ends)
        return next((caller for caller in valid if caller.id == caller_id), None)

    async def _read_for_miss(self) -> None:
        now = self._clock()
        if self._missing is None and now >= self._next_miss:
            self._next_miss = now + MISS_SECONDS
            self._missing = asyncio.create_task(self.refresh())
            self._missing.add_done_callback(self._end_missing)
        if self._missing is not None:
            await asyncio.wait({self._missing}, timeout=PATIENCE)

    async def refresh(self) -> None:
        """Read the keys now; they are the last ones read where the database does not answer."""
        began = self._clock()
        self._next_read = began + FRESH
        try:
            present, entries = await self._database.run(self._read)
        except Error:  # the keys become stale
            return
        if began >= self._read_at:
            self._read_at, self._present, self._entries = began, present, entries

    def _end_reading(self, _task: object) -> None:
        self._reading, self._stuck = None, False

    def _end_missing(self, _task: object) -> None:
        self._missing = None

    def _read(self, connection: Connection) -> tuple[bool, Entries]:
        present = connection.execute(select(func.count()).select_from(API_KEYS)).scalar_one() > 0
        rows = connection.execute(select(API_KEYS).where(API_KEYS.c.revoked_at.is_(None))).mappings()
        return present, dict(self._entry(row) for row in rows)

    def _entry(self, row: Any) -> tuple[bytes, tuple[Caller, float | None]]:
        caller = Caller(row["id"], limits=row_limits(row), models=tuple(row["models"]))
        return self._blind(bytes.fromhex(row["digest"])), (caller, row["expires_at"])

    def _blind(self, key_digest: bytes) -> bytes:
        return hmac.digest(self._pepper, key_digest, "sha256")
