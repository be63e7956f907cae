"""Stored keys in memory: how soon a change holds, and how often the database is asked."""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import suppress
from functools import partial
from types import SimpleNamespace

import pytest

from fluxvision.accounts.key_cache import KeyCache
from fluxvision.accounts.key_store import create_key, revoke_key, rotate_key
from fluxvision.accounts.keys import Keys
from fluxvision.core.errors import AuthenticationFailed, Unavailable
from fluxvision.core.key_limits import Limits
from fluxvision.storage.database import Database, sqlite_url

NOW = 1_800_000_000.0


class CountedDatabase(Database):
    """A database that counts its reads, and can be out of order."""

    reads = 0
    broken = False

    async def run(self, work):
        """Count and run."""
        self.reads += 1
        await asyncio.sleep(0)
        if self.broken:
            raise Unavailable("out of order")
        return await super().run(work)


@pytest.fixture
def stored(tmp_path):
    """A cache with `database`, a `clock` in seconds, and `check`, which takes a secret."""
    database = CountedDatabase(sqlite_url(tmp_path))
    found = SimpleNamespace(database=database, clock=100.0)
    found.change = lambda work, **facts: database.run_blocking(partial(work, **facts))
    found.open = lambda: KeyCache(database, lambda: found.clock)
    found.cache = found.open()
    found.keys = Keys(["sk-one"], b"p" * 32, stored=found.cache, now=lambda: NOW)

    async def check(secret):
        await found.keys.update()
        return await found.keys.check(f"Bearer {secret}".encode())

    found.check = check
    yield found
    database.close()


async def test_a_new_key_works_at_once(stored):
    """A key that another process has just made is accepted, with its id, limits and models."""
    limits = Limits(per_minute=3)
    key, secret = stored.change(create_key, name="a", now=NOW, limits=limits, models=["m"])
    callers = await asyncio.gather(*(stored.check(secret) for _ in range(5)))
    assert {(one.id, one.limits, one.models, one.limited) for one in callers} == {(key.id, limits, ("m",), True)}
    assert stored.database.reads == 1


@pytest.mark.parametrize("seconds", [0.99, 1.01, 1.99])
async def test_a_revoked_key_stops_within_two_seconds(stored, seconds):
    """At the latest two seconds after the revocation the key is unknown, however busy the server is."""
    key, secret = stored.change(create_key, name="a", now=NOW)
    assert await stored.check(secret)
    stored.change(revoke_key, key_id=key.id, now=NOW)
    stored.clock += seconds
    with suppress(AuthenticationFailed):
        await stored.check(secret)
    stored.clock += 2 - seconds
    with pytest.raises(AuthenticationFailed, match="unknown"):
        await stored.check(secret)


async def test_the_old_secret_of_a_rotated_key_stops(stored):
    """After a rotation the new secret is accepted at once, for the same caller, and the old one no longer."""
    key, old = stored.change(create_key, name="a", now=NOW)
    assert (await stored.check(old)).id == key.id
    _, new = stored.change(rotate_key, key_id=key.id)
    stored.clock += 1.0
    assert (await stored.check(new)).id == key.id
    with pytest.raises(AuthenticationFailed):
        await stored.check(old)


async def test_an_expired_key_is_refused_by_name(stored):
    """A key is accepted until its expiry; the refusal says why."""
    _, secret = stored.change(create_key, name="a", now=NOW - 10, expires_at=NOW)
    with pytest.raises(AuthenticationFailed, match="expired"):
        await stored.check(secret)


async def test_a_flood_of_wrong_keys_does_not_reach_the_database(stored):
    """A thousand wrong keys in a second are one read."""
    for number in range(1000):
        with pytest.raises(AuthenticationFailed):
            await stored.keys.check(f"Bearer wrong-{number}".encode())
    assert stored.database.reads == 1
    stored.clock += 1.0
    with pytest.raises(AuthenticationFailed):
        await stored.keys.check(b"Bearer wrong")
    assert stored.database.reads == 2


async def test_known_keys_do_not_reach_the_database(stored):
    """A thousand requests in half a second are no read; those of ten seconds are at most twenty."""
    _, secret = stored.change(create_key, name="a", now=NOW)
    await stored.check(secret)
    before = stored.database.reads
    for _ in range(1000):
        await stored.check(secret)
    assert stored.database.reads == before
    for _ in range(1000):
        stored.clock += 0.01
        await stored.check(secret)
    await asyncio.sleep(0.1)
    assert stored.database.reads - before <= 20


async def test_without_the_database(stored):
    """While it does not answer, stored keys get a 503 when they are too old to be sure, and configured ones work."""
    _, secret = stored.change(create_key, name="a", now=NOW)
    assert await stored.check(secret)
    stored.database.broken = True
    stored.clock += 1.5
    assert await stored.check(secret)
    stored.clock += 1.0
    for given in (secret, "unknown"):
        with pytest.raises(Unavailable):
            await stored.check(given)
    assert await stored.check("sk-one")
    stored.database.broken = False
    stored.clock += 1.0
    assert await stored.check(secret)


async def test_keys_are_required_once_there_was_one(stored):
    """The first key makes keys necessary, and revoking it does not open the server again."""
    keys = Keys([], b"p" * 32, stored=stored.cache, now=lambda: NOW)
    assert not keys.required
    key, _ = stored.change(create_key, name="a", now=NOW)
    stored.clock += 1.0
    await keys.update()
    assert keys.required
    stored.change(revoke_key, key_id=key.id, now=NOW)
    stored.clock += 1.0
    await keys.update()
    assert keys.required
    assert stored.open().present


async def test_a_digest_is_not_kept(stored):
    """What is in memory differs from what the database has, and between two processes."""
    _, secret = stored.change(create_key, name="a", now=NOW)
    await stored.check(secret)
    held = stored.cache._entries.keys()
    assert len(held) == 1
    assert hashlib.sha256(secret.encode()).digest() not in held
    assert not held & stored.open()._entries.keys()
