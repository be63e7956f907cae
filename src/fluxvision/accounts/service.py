"""AccountService: the stored keys and quotas of one database, as the HTTP routes use them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from fluxvision.accounts import key_store
from fluxvision.accounts.key_cache import KeyCache
from fluxvision.accounts.key_types import StoredKey
from fluxvision.accounts.quota import QuotaStore
from fluxvision.storage.database import Database


class AccountService:
    """Manages keys and tells balances and usage. A change of a key holds at once on this gateway."""

    def __init__(self, database: Database, now: Callable[[], float]) -> None:
        """Use a database; `now` returns the Unix time."""
        self.quotas = QuotaStore(database, now)
        self.cache = KeyCache(database)
        self._database = database
        self._now = now

    async def create_key(self, **facts: Any) -> tuple[StoredKey, str]:
        """Create a key with the arguments of `key_store.create_key`; return it with its secret."""
        found = await self._database.run(partial(key_store.create_key, now=self._now(), **facts))
        await self.cache.refresh()
        return found

    async def list_keys(self) -> list[StoredKey]:
        """Return all keys, the oldest first."""
        return await self._database.run(key_store.list_keys)

    async def find_key(self, key_id: str) -> StoredKey:
        """Return one key; raises `NotFound`."""
        return await self._database.run(partial(key_store.find_key, key_id=key_id))

    async def change_key(self, key_id: str, facts: Mapping[str, Any]) -> StoredKey:
        """Change a key as `key_store.change_key` does."""
        work = partial(key_store.change_key, key_id=key_id, now=self._now(), facts=facts)
        found = await self._database.run(work)
        await self.cache.refresh()
        return found

    async def revoke_key(self, key_id: str) -> StoredKey:
        """Stop a key for good; raises `NotFound`."""
        found = await self._database.run(partial(key_store.revoke_key, key_id=key_id, now=self._now()))
        await self.cache.refresh()
        return found

    async def rotate_key(self, key_id: str) -> tuple[StoredKey, str]:
        """Give a key a new secret and return both; raises `NotFound` or `InvalidRequest`."""
        found = await self._database.run(partial(key_store.rotate_key, key_id=key_id))
        await self.cache.refresh()
        return found
