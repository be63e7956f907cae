"""Stored keys: the same facts with SQLite and PostgreSQL."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from functools import partial

import pytest
from sqlalchemy import select

from fluxvision.accounts.key_store import change_key, create_key, find_key, list_keys, revoke_key, rotate_key
from fluxvision.core.errors import InvalidRequest, NotFound
from fluxvision.core.key_limits import Limits
from fluxvision.storage.tables import API_KEYS

NOW = 1_800_000_000.0


@pytest.fixture
def run(database):
    """Call a function with a connection and arguments, in a transaction."""
    return lambda work, *facts, **named: database.run_blocking(lambda connection: work(connection, *facts, **named))


def test_a_key_is_returned_once(run):
    """The secret is returned when it is made; the database has its SHA-256, and letters to recognise it by."""
    key, secret = run(create_key, name="shop", now=NOW)
    assert re.fullmatch(r"fv_[\w-]{43}", secret)
    row = run(lambda connection: connection.execute(select(API_KEYS)).mappings().one())
    assert row["digest"] == hashlib.sha256(secret.encode()).hexdigest()
    assert secret not in repr(dict(row))
    assert (key.hint[:7], key.hint[-4:], len(key.hint)) == (secret[:7], secret[-4:], 12)


def test_all_facts_are_kept(run):
    """Name, expiry, models and limits are read as they were given."""
    limits = Limits(1, 2, 10**13, 4, 5)
    key, _ = run(create_key, name=" shop ", now=NOW, expires_at=NOW + 9, models=["m", "n"], limits=limits)
    assert key == run(find_key, key.id)
    assert (key.name, key.created_at, key.expires_at, key.models, key.limits) == (
        "shop",
        NOW,
        NOW + 9,
        ("m", "n"),
        limits,
    )
    assert (key.status(NOW + 8), key.status(NOW + 9)) == ("active", "expired")


def test_keys_are_listed(run):
    """The oldest is first, and revoked ones are there."""
    assert run(list_keys) == []
    two, one = (run(create_key, name="a", now=NOW + 2 - number)[0] for number in range(2))
    revoked = run(revoke_key, two.id, NOW + 5)
    assert run(list_keys) == [one, revoked]


def test_a_key_is_revoked_once(run):
    """The time of the first revocation stays."""
    key, _ = run(create_key, name="a", now=NOW)
    revoked = run(revoke_key, key.id, NOW + 5)
    assert revoked == replace(key, revoked_at=NOW + 5)
    assert run(revoke_key, key.id, NOW + 6) == revoked
    assert revoked.status(NOW + 5) == "revoked"


def test_a_key_is_rotated(run):
    """It gets a new secret, and keeps its id and all else."""
    key, old = run(create_key, name="a", now=NOW, limits=Limits(parallel=3))
    rotated, new = run(rotate_key, key.id)
    assert new != old
    assert replace(rotated, hint="") == replace(key, hint="")
    assert rotated.hint != key.hint


def test_a_revoked_key_is_not_rotated(run):
    """What was revoked stays so."""
    key, _ = run(create_key, name="a", now=NOW)
    run(revoke_key, key.id, NOW)
    with pytest.raises(InvalidRequest, match="revoked"):
        run(rotate_key, key.id)


def test_a_key_is_changed(run):
    """What is given changes, None takes a limit away, and all else stays."""
    key, _ = run(create_key, name="a", now=NOW, models=["m"], limits=Limits(budget_day=5, parallel=3))
    changed = run(change_key, key.id, NOW, {"name": " b ", "parallel": None, "per_minute": 7, "models": []})
    assert changed == replace(key, name="b", models=(), limits=Limits(budget_day=5, per_minute=7))
    assert run(change_key, key.id, NOW, {}) == changed
    assert run(change_key, key.id, NOW, {"expires_at": NOW + 9}).status(NOW + 9) == "expired"
    assert run(change_key, key.id, NOW + 10, {"expires_at": None}).status(NOW + 10) == "active"


def test_a_revoked_key_is_not_changed(run):
    """What was revoked stays so."""
    key, _ = run(create_key, name="a", now=NOW)
    run(revoke_key, key.id, NOW)
    with pytest.raises(InvalidRequest, match="revoked"):
        run(change_key, key.id, NOW, {"name": "b"})


@pytest.mark.parametrize(
    "work", [find_key, partial(revoke_key, now=NOW), rotate_key, partial(change_key, now=NOW, facts={"name": "b"})]
)
def test_an_unknown_id(run, work):
    """There is no key with an unknown id."""
    with pytest.raises(NotFound):
        run(work, key_id="key_none")


@pytest.mark.parametrize(
    ("facts", "param"),
    [
        ({"name": " "}, "name"),
        ({"name": "a" * 101}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"expires_at": NOW}, "expires_at"),
        ({"limits": Limits(budget_day=-1)}, "budget_day"),
        ({"limits": Limits(budget_total=10**15 + 1)}, "budget_total"),
        ({"limits": Limits(per_minute=-1)}, "per_minute"),
        ({"limits": Limits(parallel=1_000_001)}, "parallel"),
    ],
)
def test_what_a_key_cannot_have(run, facts, param):
    """A wrong name, expiry or limit is refused by its name, of a new key and of one that is changed."""
    with pytest.raises(InvalidRequest) as error:
        run(create_key, **{"name": "a", "now": NOW, **facts})
    assert error.value.param == param
    assert run(list_keys) == []
    key, _ = run(create_key, name="a", now=NOW)
    changes = {param: getattr(facts["limits"], param)} if "limits" in facts else facts
    with pytest.raises(InvalidRequest) as error:
        run(change_key, key.id, NOW, changes)
    assert error.value.param == param
    assert run(list_keys) == [key]
