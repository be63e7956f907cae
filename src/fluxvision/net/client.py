"""HTTP client helpers for providers: sessions, size-limited bodies, base64 and Retry-After."""

from __future__ import annotations

import binascii
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from math import isfinite
from pathlib import Path

import aiohttp
import msgspec
import pybase64
import yarl

from fluxvision.core.errors import UpstreamError
from fluxvision.net import fetch
from fluxvision.net.ssrf_guard import OPEN, Guard

LONGEST_WAIT = 3600.0
BETWEEN = frozenset({502, 504, *range(520, 525)})
"""Statuses of a gateway or CDN whose upstream did not respond: the work may continue there."""
CONNECT = 5.0
CONNECTIONS = 1024
KEEP_ALIVE = 15.0
CHUNK = 256 * 1024


def parse_retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Return the seconds (0 to 3600) of the header Retry-After, None when it is missing or invalid.

    `headers` must be case-insensitive, `now` is the Unix time.
    """
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        seconds = _parse_number(headers.get(name, ""))
        if seconds is not None:
            return min(seconds * unit, LONGEST_WAIT)
    try:
        date = parsedate_to_datetime(headers.get("retry-after", ""))
        moment = (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(0.0, moment - now), LONGEST_WAIT)


def create_session(sock_read: float, connector: aiohttp.TCPConnector | None = None) -> aiohttp.ClientSession:
    """Return a session for one provider; call it inside the event loop.

    Connections are kept alive (or those of `connector` are used), without cookies and proxies. Timeouts: 5 seconds to
    connect, `sock_read` seconds without a byte, no total; the caller must set that.
    """
    return aiohttp.ClientSession(
        connector=connector or aiohttp.TCPConnector(limit=CONNECTIONS, keepalive_timeout=KEEP_ALIVE),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT, sock_read=sock_read),
        trust_env=False,
        headers={"User-Agent": fetch.HEADERS["User-Agent"]},
    )


def result_guard(private: bool, *addresses: str) -> Guard:
    """Return the guard for picture URLs in a provider's responses: public addresses and the origins of `addresses`.

    With `private`, every address is allowed.
    """
    return OPEN if private else Guard(trusted=frozenset(str(yarl.URL(address).origin()) for address in addresses))


async def read_limited(response: aiohttp.ClientResponse, limit: int) -> bytes:
    """Read a response of at most `limit` bytes; raises `UpstreamError` for a longer one."""
    content = bytearray()
    async for chunk in response.content.iter_chunked(CHUNK):
        content += chunk
        if len(content) > limit:
            response.close()
            raise UpstreamError("The provider's answer is too long.")
    return bytes(content)


def _parse_number(text: str) -> float | None:
    """Return a finite number of at least 0, None for any other text."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if isfinite(number) and number >= 0 else None


SLICE = 4 * 1024 * 1024
"""Characters of base64 decoded at a time."""


async def read_body(response: aiohttp.ClientResponse, limit: int) -> bytearray:
    """Return a response's body; raises `UpstreamError` when it has more than `limit` bytes."""
    content = bytearray()
    async for chunk in response.content.iter_any():
        content += chunk
        if len(content) > limit:
            raise UpstreamError("The provider's answer is too long.", billed=True)
    return content


def decode_base64_member(raw: msgspec.Raw) -> bytes | None:
    """Return the bytes of a JSON string of base64, None for null or an empty string.

    Raises `binascii.Error` or `msgspec.DecodeError` when it is not base64.
    """
    text = memoryview(raw)
    if bytes(text[:1]) != b'"':
        return None
    try:
        return pybase64.b64decode(text[1:-1], validate=True) or None
    except binascii.Error:
        return _decode_leniently(msgspec.json.decode(raw, type=str)) or None


def write_base64(raw: msgspec.Raw, path: Path) -> bool:
    """Decode a JSON string of base64 to a new file, in slices; returns False for null or an empty string.

    Raises `binascii.Error` or `msgspec.DecodeError` when it is not base64.
    """
    text = memoryview(raw)
    if bytes(text[:1]) != b'"' or len(text) == len('""'):
        return False
    slices = (text[start : min(start + SLICE, len(text) - 1)] for start in range(1, len(text) - 1, SLICE))
    with path.open("xb") as file:
        try:
            for each in slices:
                file.write(pybase64.b64decode(each, validate=True))
        except binascii.Error:
            file.seek(0)
            file.truncate()
            file.write(_decode_leniently(msgspec.json.decode(raw, type=str)))
    return True


def _decode_leniently(text: str) -> bytes:
    """Decode base64 that may have line breaks or the prefix of a data URI, as some servers send it."""
    return binascii.a2b_base64("".join(text.rpartition(",")[2].split()), strict_mode=True)
