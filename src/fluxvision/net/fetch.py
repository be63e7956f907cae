"""Saves a picture that is given as a data URI (decoded) or as a URL (downloaded from public addresses only)."""

from __future__ import annotations

import asyncio
import binascii
import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import aiohttp
import pybase64
import yarl

from fluxvision import __version__
from fluxvision.core.concurrency import run_in_thread
from fluxvision.core.errors import InvalidRequest, PayloadTooLarge
from fluxvision.core.system import resource_error
from fluxvision.net.ssrf_guard import Guard, Refused

DATA = b"data:"
DATA_URI = re.compile(rb"data:[^,]{0,256};base64,", re.IGNORECASE)
BASE64 = re.compile(rb"[A-Za-z0-9+/]{64}")
"""The first characters of a picture in base64. Of other texts, an address has a colon, and a picture's file bytes that
are no letters."""
REDIRECTS = frozenset({301, 302, 303, 307, 308})
MAX_REDIRECTS = 3
OK, SERVER_ERROR = 200, 500
SLICE = 1024 * 1024
"""Characters of base64 decoded at a time."""
QUANTUM = 4
"""Characters of base64 that encode whole bytes."""
CHUNK = 256 * 1024
HEADERS = {"Accept": "image/*", "Accept-Encoding": "identity", "User-Agent": f"fluxvision/{__version__}"}


class Unfetched(Exception):
    """A picture could not be fetched; the reason is the end of a sentence and repeats nothing of the URL.

    `transient` tells whether a retry of the same URL may succeed.
    """

    def __init__(self, reason: str, *, transient: bool = False) -> None:
        """Store the reason."""
        super().__init__(reason)
        self.reason = reason
        self.transient = transient


class TooLarge(Unfetched):
    """The picture is larger than the limit."""


def is_base64(first: bytes) -> bool:
    """Return whether a text that begins with this piece is base64, without the head of a data URI."""
    return BASE64.match(first) is not None


def read_reference(first: bytes, others: Iterator[bytes]) -> str | Iterator[bytes]:
    """Return a text in pieces as `resolve` takes it: a data URI, or base64 made into one, in pieces; an address whole.

    Of an address the first piece is already longer than one may be.
    """
    if is_base64(first):
        return chain((b"data:;base64,", first), others)
    return chain((first,), others) if first[: len(DATA)].lower() == DATA else first.decode("utf-8", "replace").strip()


async def resolve(
    given: str | Iterator[bytes], path: Path, param: str, *, guard: Guard, limit: int, patience: float
) -> None:
    """Write the picture that a caller gives as URL or data URI to `path`; raises an error that names `param`.

    A data URI may be given in pieces, see `save_data_uri`. `limit` is in bytes, `patience` in seconds.
    """
    text = given if isinstance(given, str) else "data:"
    is_data = text[:5].lower() == "data:"
    if not is_data and not text[:8].lower().startswith(("http://", "https://")):
        message = f"{param} must be a picture file, an http(s) URL, a data URI or base64."
        raise InvalidRequest(message, param=param)
    try:
        if not isinstance(given, str):
            await run_in_thread(save_data_uri, given, path, limit)
        elif is_data:
            await run_in_thread(decode_data_uri, given, path, limit)
        else:
            await download(given, path, guard=guard, limit=limit, patience=patience)
    except TooLarge:
        message = f"{param}: the picture is larger than the limit of {limit:,} bytes."
        raise PayloadTooLarge(message, param=param) from None
    except Unfetched as refusal:
        message = f"{param}: {refusal.reason}."
        raise InvalidRequest(message, param=param) from None


def decode_data_uri(text: str, path: Path, limit: int) -> None:
    """Decode a base64 data URI to `path` in slices, without holding all bytes in memory; raises `Unfetched`."""
    slices = (text[start : start + SLICE].encode("utf-8", "replace") for start in range(0, len(text), SLICE))
    save_data_uri(slices, path, limit)


def save_data_uri(pieces: Iterator[bytes], path: Path, limit: int) -> None:
    """Decode a base64 data URI that arrives in pieces to a new file; raises `Unfetched`.

    The first piece must hold everything before the comma. Each piece is released after it is decoded.
    """
    first = next(pieces, b"")
    head = DATA_URI.match(first)
    if head is None:
        raise Unfetched("the data URI must be base64 (data:image/png;base64,…)")
    size, left = 0, b""
    with path.open("xb") as file:
        for piece in chain((first[head.end() :],), pieces):
            text = memoryview(left + piece)
            whole = len(text) // QUANTUM * QUANTUM
            left = bytes(text[whole:])
            try:
                size += file.write(pybase64.b64decode(text[:whole], validate=True))
            except (binascii.Error, ValueError):
                raise Unfetched("the data URI is not valid base64") from None
            if size > limit:
                raise TooLarge("it is too large")
    if left:
        raise Unfetched("the data URI is not valid base64")


async def download(text: str, path: Path, *, guard: Guard, limit: int, patience: float) -> None:
    """Download a URL to a new file of at most `limit` bytes, within `patience` seconds; raises `Unfetched`.

    Only addresses that `guard` allows; few redirects, no cookies, proxies or compression.
    """
    try:
        async with asyncio.timeout(patience):
            for _ in range(MAX_REDIRECTS + 1):
                reason = guard.refusal(text)
                if reason:
                    raise Unfetched("the URL " + reason)
                following = await _follow_redirect(yarl.URL(text), path, guard, limit)
                if following is None:
                    return
                text = following
    except Refused:
        raise _fetch_error("its host has no public address") from None
    except aiohttp.ClientConnectorError as error:
        if isinstance(error.os_error, Refused):
            raise _fetch_error("its host has no public address") from None
        if resource_error(error):
            raise
        raise _fetch_error("its host cannot be reached", transient=True) from None
    except TimeoutError:
        raise _fetch_error("it did not arrive in time", transient=True) from None
    except (aiohttp.ClientError, ValueError, OSError) as error:
        if resource_error(error):
            raise
        raise _fetch_error("its host did not answer as a web server", transient=True) from None
    raise _fetch_error("it is redirected too often")


async def _follow_redirect(url: yarl.URL, path: Path, guard: Guard, limit: int) -> str | None:
    """Make one request; returns None when the file is written, otherwise the address of the redirect."""
    session = aiohttp.ClientSession(
        connector=guard.connector(url),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None),
        trust_env=False,
        auto_decompress=False,
        headers=HEADERS,
    )
    async with session, session.get(url, allow_redirects=False) as response:
        if response.status in REDIRECTS:
            location = response.headers.get("Location", "")
            return str(url.join(yarl.URL(location)))
        if response.status != OK:
            reason = f"its host answered {response.status}"
            raise _fetch_error(reason, transient=response.status >= SERVER_ERROR)
        if response.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise _fetch_error("its host sent it compressed")
        if (response.content_length or 0) > limit:
            raise TooLarge("it is too large")
        size = 0
        with path.open("wb") as file:
            async for chunk in response.content.iter_chunked(CHUNK):
                size += len(chunk)
                if size > limit:
                    raise TooLarge("it is too large")
                file.write(chunk)
    return None


def _fetch_error(reason: str, *, transient: bool = False) -> Unfetched:
    return Unfetched(f"the picture cannot be fetched, {reason}", transient=transient)
