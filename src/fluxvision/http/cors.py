"""CORS: which other websites' pages may call this server from a browser, and the headers that say so."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from starlette.datastructures import Headers
from starlette.types import Scope

ANY = "*"
METHODS = b"GET, POST, PATCH, DELETE, HEAD"
TOKENS = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+(?:\s*,\s*[A-Za-z0-9!#$%&'*+.^_`|~-]+){0,99}")
MAX_AGE = b"7200"
"""Seconds that a browser may remember the answer to a preflight; Chrome takes no more."""
EXPOSED = (
    "Allow",
    "Content-Disposition",
    "Content-Range",
    "ETag",
    "Idempotent-Replayed",
    "Location",
    "OpenAI-Processing-Ms",
    "Preference-Applied",
    "Retry-After",
    "Retry-After-Ms",
    "WWW-Authenticate",
    "X-Fluxvision-Model",
    "X-Fluxvision-Provider",
    "X-Fluxvision-Request-ID",
    "X-RateLimit-Limit-Requests",
    "X-RateLimit-Remaining-Requests",
    "X-RateLimit-Reset-Requests",
    "X-Request-ID",
    "X-Should-Retry",
)
"""Response headers that a page may read."""

RawHeaders = Iterable[tuple[bytes, bytes]]


class CorsPolicy:
    """The websites of the setting `cors_origins`.

    Every header that a page asks to send is allowed, because nothing here depends on cookies: a page without a key has
    no more rights than anybody. Credentials are therefore never allowed.
    """

    def __init__(self, origins: Sequence[str]) -> None:
        """Allow `origins`: `*` for all, or scheme, host and port of each."""
        self._any = ANY in origins
        self._origins = frozenset(origin.lower() for origin in origins)

    def allows(self, origin: str) -> bool:
        """Return whether pages of an origin may call this server."""
        return self._any or origin.lower() in self._origins

    def response_headers(self, scope: Scope) -> Iterator[tuple[bytes, bytes]]:
        """Yield the headers of every response: `vary` for any caller, so that no cache gives one site another's."""
        if not self._origins:
            return
        if not self._any:
            yield b"vary", b"origin"
        origin = Headers(scope=scope).get("origin")
        if origin is not None and self.allows(origin):
            yield b"access-control-allow-origin", b"*" if self._any else origin.encode("latin-1")
            yield b"access-control-expose-headers", ", ".join(EXPOSED).encode()

    def preflight_headers(self, scope: Scope) -> list[tuple[bytes, bytes]] | None:
        """Return the headers by which a preflight of an allowed website is granted, None for any other request."""
        headers = Headers(scope=scope)
        origin = headers.get("origin")
        if scope["method"] != "OPTIONS" or "access-control-request-method" not in headers:
            return None
        if origin is None or not self.allows(origin):
            return None
        found = [(b"access-control-allow-methods", METHODS), (b"access-control-max-age", MAX_AGE)]
        wanted = headers.get("access-control-request-headers", "")
        if TOKENS.fullmatch(wanted):
            found.append((b"access-control-allow-headers", wanted.encode("latin-1")))
        return [*found, (b"vary", b"access-control-request-headers")]


NO_CORS = CorsPolicy(())
"""No other website."""
