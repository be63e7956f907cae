"""The secrets that sign webhooks: one per caller, made at first use; the one before a rotation signs for a day more."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from secrets import token_bytes

from sqlalchemy import Connection, insert, select, update

from fluxvision.jobs.records import lock_caller
from fluxvision.storage.database import Database
from fluxvision.storage.tables import WEBHOOK_SECRETS

PREFIX = "whsec_"
BYTES = 32
OVERLAP_SECONDS = 24 * 3600.0
"""How long the secret before a rotation signs beside the new one."""


@dataclass(frozen=True, slots=True, repr=False)
class SigningSecrets:
    """The secrets of one caller that sign now."""

    current: str
    previous: str | None = None
    previous_until: float | None = None
    """The Unix time until which `previous` signs."""

    @property
    def all(self) -> tuple[str, ...]:
        """Return the secrets, the current one first."""
        return (self.current,) if self.previous is None else (self.current, self.previous)


def find_secrets(
    connection: Connection, database: Database, key_id: str, now: float, *, rotate: bool = False
) -> SigningSecrets:
    """Return a caller's secrets, made where there are none, or with `rotate` a new one and the one before."""
    lock_caller(connection, database, key_id)
    own = WEBHOOK_SECRETS.c.key_id == key_id
    row = connection.execute(select(WEBHOOK_SECRETS).where(own)).one_or_none()
    if row is None:
        found = SigningSecrets(_create_secret())
        connection.execute(insert(WEBHOOK_SECRETS).values(key_id=key_id, secret=found.current))
    elif rotate:
        found = SigningSecrets(_create_secret(), row.secret, now + OVERLAP_SECONDS)
        values = {"secret": found.current, "previous": found.previous, "previous_until": found.previous_until}
        connection.execute(update(WEBHOOK_SECRETS).where(own).values(values))
    elif row.previous_until is not None and now < row.previous_until:
        found = SigningSecrets(row.secret, row.previous, row.previous_until)
    else:
        found = SigningSecrets(row.secret)
    return found


def _create_secret() -> str:
    return PREFIX + base64.b64encode(token_bytes(BYTES)).decode()
