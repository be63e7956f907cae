"""API keys: kept as digests only, compared in constant time. An entry is a key, or the SHA-256 of one."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable

from fluxvision.config import HASHED
from fluxvision.errors import AuthenticationFailed

SCHEME = b"bearer"
MAX_KEY = 512


def entry(key: str) -> str:
    """Return what may stand for a key in the configuration, from which nobody can tell the key.

    Raises `ValueError` for a text that no Authorization header can carry.
    """
    raw = key.encode()
    if not raw or len(raw) > MAX_KEY or not key.isprintable() or any(character.isspace() for character in key):
        raise ValueError(key)
    return HASHED + hashlib.sha256(raw).hexdigest()


class Keys:
    """The configured keys. The digests are keyed with `pepper`, so a memory image or a dump reveals no key."""

    def __init__(self, entries: Iterable[str], pepper: bytes) -> None:
        """Digest the entries and forget them."""
        self._pepper = pepper
        self._digests = tuple(
            self._pepper_in(
                bytes.fromhex(text.removeprefix(HASHED))
                if text.startswith(HASHED)
                else hashlib.sha256(text.encode()).digest()
            )
            for text in entries
        )

    @property
    def required(self) -> bool:
        """Whether a key is asked for at all."""
        return bool(self._digests)

    def check(self, authorization: bytes | None) -> str | None:
        """Return who calls (None where no keys are configured); raises `AuthenticationFailed` without a valid key."""
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
