"""Checks API keys against the configured entries (a key or its SHA-256), kept as digests, in constant time."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable

from fluxvision.core.errors import AuthenticationFailed
from fluxvision.core.load_settings import DIGEST, HASHED
from fluxvision.core.settings import ConfigError

SCHEME = b"bearer"
MAX_KEY = 512
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


def check_entries(entries: Iterable[str]) -> None:
    """Raise `ConfigError` for an entry that is easy to guess, cannot be sent in a header, or occurs twice."""
    seen: set[bytes] = set()
    for text in entries:
        hashed = DIGEST.fullmatch(text) is not None
        reason = "" if hashed else _find_weakness(text)
        found = _sha256(text)
        if found in seen:
            reason = "holds a key twice"
        seen.add(found)
        if reason:
            message = f"api_keys {reason}; `fluxvision config hash --new` makes a key"
            raise ConfigError(message, param="api_keys")


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


class Keys:
    """The configured keys, kept as digests keyed with `pepper`, so that a memory dump reveals no key."""

    def __init__(self, entries: Iterable[str], pepper: bytes) -> None:
        """Compute the digests of the entries; the entries themselves are not kept."""
        self._pepper = pepper
        self._digests = tuple(self._pepper_in(_sha256(text)) for text in entries)

    @property
    def required(self) -> bool:
        """Return whether callers need a key."""
        return bool(self._digests)

    def check(self, authorization: bytes | None) -> str | None:
        """Return the caller's id, None when no keys exist; raises `AuthenticationFailed` without a valid key."""
        if not self.required:
            return None
        if authorization is None:
            raise AuthenticationFailed("No API key was sent. Send it as: Authorization: Bearer KEY")
        scheme, _, key = authorization.strip().partition(b" ")
        key = key.strip()
        if scheme.lower() != SCHEME or not key or b" " in key:
            raise AuthenticationFailed("The Authorization header is malformed. Send it as: Authorization: Bearer KEY")
        digest = self._digest(key) if len(key) <= MAX_KEY else b""
        matches = [hmac.compare_digest(digest, known) for known in self._digests]
        if not any(matches):
            raise AuthenticationFailed("The API key is unknown.")
        return digest.hex()[:16]

    def _digest(self, key: bytes) -> bytes:
        return self._pepper_in(hashlib.sha256(key).digest())

    def _pepper_in(self, digest: bytes) -> bytes:
        return hmac.digest(self._pepper, digest, "sha256")
