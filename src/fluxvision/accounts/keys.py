"""Checks API keys against the configured entries (a key or its SHA-256) and the stored ones, all kept as digests."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from fluxvision.core.errors import AuthenticationFailed, ConfigError, Forbidden
from fluxvision.core.load_settings import DIGEST, HASHED
from fluxvision.core.types import ANYBODY, Caller

if TYPE_CHECKING:  # not imported at run time, because the database takes a second
    from fluxvision.accounts.key_cache import KeyCache

SCHEME, BASIC = b"bearer", b"basic"
API_KEY = "api-key"
"""The header in which Azure's clients send the key."""
MAX_KEY = 512
ADMIN = "admin"
"""Caller id of the admin key."""
ID_LABEL = b"fluxvision caller id"
ID_DIGITS = 16
LEAST = 16
"""Shortest accepted key in characters; the length cannot be checked for a hash."""
LEAST_DISTINCT = 6
"""Fewest different characters of a key, to refuse placeholders such as xxxxxxxxxxxxxxxx."""
PLACEHOLDER = re.compile(
    r"change.?me|(?<![a-z])(?:your|my|example|sample|secret).?(?:api|secret)?.?key|\.\.\.|\u2026|[<{][a-z_.-]{3,}[>}]+$",
    re.IGNORECASE,
)
"""A single bracket does not mean a placeholder, because password generators use them."""


def hash_entry(key: str) -> str:
    """Return the hash of a key ("sha256:…") that can be configured instead of the key.

    Raises `ValueError` for characters that are not allowed in an Authorization header.
    """
    raw = key.encode()
    if not raw or len(raw) > MAX_KEY or not key.isprintable() or any(character.isspace() for character in key):
        raise ValueError(key)
    return HASHED + hashlib.sha256(raw).hexdigest()


def check_entries(entries: Iterable[str], admin: str = "") -> None:
    """Raise `ConfigError` for an entry that is easy to guess, cannot be sent in a header, or occurs twice."""
    seen: set[bytes] = set()
    named = [*(("api_keys", text) for text in entries), *([("admin_key", admin)] if admin else [])]
    for param, text in named:
        hashed = DIGEST.fullmatch(text) is not None
        reason = "" if hashed else _find_weakness(text)
        found = _sha256(text)
        if found in seen:
            reason = "holds a key twice"
        seen.add(found)
        if reason:
            message = f"{param} {reason}; `fluxvision config hash --new` makes a key"
            raise ConfigError(message, param=param)


def _find_weakness(key: str) -> str:
    """Return why a key cannot be used, empty when it can."""
    try:
        hash_entry(key)
    except ValueError:
        return f"holds a key that no caller can send: one word of printable characters, at most {MAX_KEY} bytes"
    if key.casefold().startswith(HASHED):
        return f"holds a hash that does not begin with {HASHED} in small letters"
    placeholder = PLACEHOLDER.search(key)
    if len(key) < LEAST and not placeholder:
        return f"holds a key of fewer than {LEAST} characters, which can be guessed"
    return "holds a placeholder in place of a key" if placeholder or len(set(key)) < LEAST_DISTINCT else ""


def _sha256(text: str) -> bytes:
    """Return the SHA-256 of an entry's key."""
    hashed = DIGEST.fullmatch(text)
    return bytes.fromhex(text.removeprefix(HASHED)) if hashed else hashlib.sha256(text.encode()).digest()


def caller_id(digest: bytes) -> str:
    """Return the id of a configured key, the same after every restart and on every gateway.

    It reveals no key: a key of at least 16 random characters cannot be found from 64 bits of a hash.
    """
    return f"key_{hashlib.sha256(ID_LABEL + digest).hexdigest()[:ID_DIGITS]}"


def find_credentials(headers: Iterable[tuple[bytes, bytes]], *, basic: bool = False) -> bytes | None:
    """Return the Authorization header, else Azure's `api-key` as if it were one, None without either.

    With `basic` the password of HTTP's basic authentication is a key too, or the user's name without a password.
    """
    found = dict(reversed([*headers]))
    key = found.get(API_KEY.encode())
    given = found.get(b"authorization", None if key is None else b"Bearer " + key)
    return _as_bearer(given) if basic and given is not None else given


def _as_bearer(authorization: bytes) -> bytes:
    """Return basic authentication as a bearer's key, anything else as it is."""
    scheme, _, text = authorization.strip().partition(b" ")
    if scheme.lower() != BASIC:
        return authorization
    try:
        user, _, password = base64.b64decode(text.strip(), validate=True).partition(b":")
    except ValueError:
        return authorization
    return b"Bearer " + (password or user)


def check_model(caller: Caller, model: str) -> None:
    """Raise `Forbidden` for a model that the caller's key does not allow."""
    if caller.models and model not in caller.models:
        message = f"This API key may not use the model {model}; it may use {', '.join(caller.models)}."
        raise Forbidden(message, param="model")


class Keys:
    """The configured and the stored keys, as digests keyed with `pepper`, so that a memory dump reveals no key.

    The pepper also hides how long a comparison takes: a caller cannot choose the digest that is looked up.
    """

    def __init__(
        self,
        entries: Iterable[str],
        pepper: bytes,
        *,
        admin: str = "",
        stored: KeyCache | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Compute the digests of the entries; the entries themselves are not kept."""
        self._pepper = pepper
        self._now = now
        digests = map(_sha256, entries)
        self._configured = {self._blind(digest): Caller(caller_id(digest)) for digest in digests}
        if admin:
            self._configured[self._blind(_sha256(admin))] = Caller(ADMIN, admin=True)
        self._stored = stored

    @property
    def required(self) -> bool:
        """Return whether callers need a key, as of the last `update`."""
        return bool(self._configured) or (self._stored is not None and self._stored.present)

    async def update(self) -> None:
        """Learn of keys that were created and revoked; does not fail without the database."""
        if self._stored is not None:
            await self._stored.update()

    async def check(self, authorization: bytes | None) -> Caller:
        """Return the caller, `ANYBODY` when no keys exist; raises `AuthenticationFailed` without a valid key."""
        if not self.required:
            return ANYBODY
        if authorization is None:
            raise AuthenticationFailed("No API key was sent. Send it as: Authorization: Bearer KEY")
        scheme, _, key = authorization.strip().partition(b" ")
        key = key.strip()
        if scheme.lower() != SCHEME or not key or b" " in key:
            raise AuthenticationFailed("The Authorization header is malformed. Send it as: Authorization: Bearer KEY")
        if len(key) <= MAX_KEY:
            digest = hashlib.sha256(key).digest()
            caller = self._configured.get(self._blind(digest))
            if caller is None and self._stored is not None:
                caller = await self._stored.find(digest, self._now())
            if caller is not None:
                return caller
        raise AuthenticationFailed("The API key is unknown.")

    def find_caller(self, caller_id: str) -> Caller | None:
        """Return the caller with an id, None where its key is not valid, as of the last `update`."""
        if not self.required:
            return ANYBODY if caller_id == ANYBODY.id else None
        found = next((caller for caller in self._configured.values() if caller.id == caller_id), None)
        return found or (None if self._stored is None else self._stored.find_caller(caller_id, self._now()))

    def _blind(self, digest: bytes) -> bytes:
        return hmac.digest(self._pepper, digest, "sha256")
