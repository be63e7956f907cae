"""API keys: kept as digests only, compared in constant time."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable

from fluxvision.errors import AuthenticationFailed

SCHEME = b"bearer"
MAX_KEY = 512


class Keys:
    """The configured keys. The digests are keyed with `pepper`, so a memory image or a dump reveals no key."""

    def __init__(self, keys: Iterable[str], pepper: bytes) -> None:
        """Digest the keys and forget them."""
        self._pepper = pepper
        self._digests = tuple(self._digest(key.encode()) for key in keys)

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
        return hmac.new(self._pepper, key, hashlib.sha256).digest()
