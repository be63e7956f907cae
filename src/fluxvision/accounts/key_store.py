"""The stored API keys: create, list, change, revoke and rotate them; the database has their SHA-256 alone."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

from sqlalchemy import ColumnElement, Connection, insert, select, update

from fluxvision.accounts.key_types import StoredKey
from fluxvision.core.errors import InvalidRequest, NotFound
from fluxvision.core.key_limits import Limits
from fluxvision.storage.tables import API_KEYS

PREFIX = "fv_"
SECRET_BYTES = 32
ID_BYTES = 8
LONGEST_NAME = 100
LIMITS = frozenset(field.name for field in fields(Limits))
COUNTS = frozenset({"per_minute", "parallel"})
MOST_COUNT = 1_000_000
MOST_BUDGET = 10**15
"""A billion dollars."""
HINT_START, HINT_END = len(PREFIX) + 4, 4
"""Letters of a key that its hint shows; more than 200 of its 256 bits stay unknown."""
REVOKED = "This API key is revoked; create a new one."


def create_key(
    connection: Connection,
    *,
    name: str,
    now: float,
    expires_at: float | None = None,
    models: Sequence[str] = (),
    limits: Limits = Limits(),  # noqa: B008, it is frozen
) -> tuple[StoredKey, str]:
    """Insert a new key; return it with its secret, which is not kept. Raises `InvalidRequest`."""
    facts = _checked({"name": name, "expires_at": expires_at, "models": list(models), **asdict(limits)}, now)
    key_id = f"key_{secrets.token_hex(ID_BYTES)}"
    secret, columns = _new_secret()
    connection.execute(insert(API_KEYS).values(id=key_id, created_at=now, **columns, **facts))
    return find_key(connection, key_id), secret


def change_key(connection: Connection, key_id: str, now: float, facts: Mapping[str, Any]) -> StoredKey:
    """Change what is given of a key: name, expires_at, models and the fields of `Limits`, None for no limit.

    Raises `NotFound`, or `InvalidRequest` for a wrong value and for a revoked key.
    """
    values, active = _checked(facts, now), update(API_KEYS).where(*_active(key_id))
    changed = connection.execute(active.values(values)).rowcount if values else 1
    key = find_key(connection, key_id)
    if not changed:
        raise InvalidRequest(REVOKED, param="id")
    return key


def _checked(facts: Mapping[str, Any], now: float) -> dict[str, Any]:
    """Return the columns of what is known of a key; raises `InvalidRequest` naming a wrong one."""
    for field, value in facts.items():
        if field == "name":
            if not value.strip() or len(value) > LONGEST_NAME or not value.isprintable():
                message = f"name must be 1 to {LONGEST_NAME} printable characters."
                raise InvalidRequest(message, param=field)
        elif field == "expires_at":
            if value is not None and value <= now:
                raise InvalidRequest("expires_at must be in the future.", param=field)
        elif field in LIMITS and not 0 <= (value or 0) <= (MOST_COUNT if field in COUNTS else MOST_BUDGET):
            message = f"{field} is out of range."
            raise InvalidRequest(message, param=field)
    return {**facts, **({"name": facts["name"].strip()} if "name" in facts else {})}


def list_keys(connection: Connection) -> list[StoredKey]:
    """Return all keys, the revoked ones too, the oldest first."""
    rows = connection.execute(select(API_KEYS).order_by(API_KEYS.c.created_at, API_KEYS.c.id))
    return [_stored_key(row) for row in rows.mappings()]


def find_key(connection: Connection, key_id: str) -> StoredKey:
    """Return the key with an id; raises `NotFound`."""
    row = connection.execute(select(API_KEYS).where(API_KEYS.c.id == key_id)).mappings().one_or_none()
    if row is None:
        raise NotFound("There is no API key with this id.", param="id")
    return _stored_key(row)


def revoke_key(connection: Connection, key_id: str, now: float) -> StoredKey:
    """Stop a key for good; one that was revoked before stays as it is. Raises `NotFound`."""
    connection.execute(update(API_KEYS).where(*_active(key_id)).values(revoked_at=now))
    return find_key(connection, key_id)


def rotate_key(connection: Connection, key_id: str) -> tuple[StoredKey, str]:
    """Give a key a new secret and return both; the old secret stops. Raises `NotFound`, or `InvalidRequest`."""
    secret, columns = _new_secret()
    changed = connection.execute(update(API_KEYS).where(*_active(key_id)).values(columns)).rowcount
    key = find_key(connection, key_id)
    if not changed:
        raise InvalidRequest(REVOKED, param="id")
    return key, secret


def _active(key_id: str) -> tuple[ColumnElement[bool], ...]:
    return API_KEYS.c.id == key_id, API_KEYS.c.revoked_at.is_(None)


def _new_secret() -> tuple[str, dict[str, str]]:
    secret = PREFIX + secrets.token_urlsafe(SECRET_BYTES)
    hint = f"{secret[:HINT_START]}\N{HORIZONTAL ELLIPSIS}{secret[-HINT_END:]}"
    return secret, {"digest": hashlib.sha256(secret.encode()).hexdigest(), "hint": hint}


def _stored_key(row: Any) -> StoredKey:
    facts = {name: row[name] for name in ("id", "name", "hint", "created_at", "expires_at", "revoked_at")}
    return StoredKey(**facts, models=tuple(row["models"]), limits=row_limits(row))


def row_limits(row: Any) -> Limits:
    """Return the limits of a row of the table of keys."""
    return Limits(**{field.name: row[field.name] for field in fields(Limits)})
