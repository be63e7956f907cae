"""What providers that speak HTTP share: their session, bounded answers, pauses, clean words and fetched pictures."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Coroutine, Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import partial
from math import isfinite
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import yarl

from fluxvision import fetch, imaging
from fluxvision.errors import ClientError, UpstreamError
from fluxvision.guard import OPEN, Guard
from fluxvision.machine import discard
from fluxvision.types import Source
from fluxvision.workers import to_thread

LONGEST_WAIT = 3600.0
LONGEST_MESSAGE = 300
READ = 4_000
"""Characters of a foreign text that are looked at."""
BETWEEN = frozenset({502, 504, *range(520, 525)})
"""Statuses by which a server between says that the one behind it gave no answer: the work may go on there."""
CONNECT = 5.0
CONNECTIONS = 1024
KEEP_ALIVE = 15.0
CHUNK = 256 * 1024
PAUSE = 0.5
PIXELS = 400_000_000
TAIL = 65_536
RIFF_HEAD = 8
HIDDEN = "…"

SECRETS = (
    re.compile(r"data:[^\s,;]*[;,]\S*", re.IGNORECASE),
    re.compile(r"\b[a-z][a-z0-9+.-]{1,15}://\S*", re.IGNORECASE),
    re.compile(r"\b(?:key|bearer|basic|token)[\s:=]+(?=\S*\d)\S{6,}", re.IGNORECASE),
    re.compile(r"\b[sprf]k[-_][\w*-]{4,}"),
    re.compile(r"(?<=\w)\?[\w.-]+=\S*"),
    re.compile(r"[A-Za-z0-9+/_-]{40,}={0,2}"),
)
"""Data URIs, addresses, credentials, queries, base64."""


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Return the seconds from 0 to 3600 that a server asks to wait, None where it does not say or makes no sense.

    `headers` ignore case, `now` is the Unix time.
    """
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        seconds = _number(headers.get(name, ""))
        if seconds is not None:
            return min(seconds * unit, LONGEST_WAIT)
    try:
        date = parsedate_to_datetime(headers.get("retry-after", ""))
        moment = (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(0.0, moment - now), LONGEST_WAIT)


def scrubbed(text: str, *secrets: str) -> str:
    """Return at most 300 printable characters of a foreign text, without the secrets and all that looks like one.

    Addresses, data URIs and long base64 go, too.
    """
    for secret in secrets:
        text = text.replace(secret, HIDDEN) if secret else text
    text = "".join(character if character.isprintable() else " " for character in text[:READ])
    for pattern in SECRETS:
        text = pattern.sub(HIDDEN, text)
    return " ".join(text.split())[:LONGEST_MESSAGE]


def client(sock_read: float, connector: aiohttp.TCPConnector | None = None) -> aiohttp.ClientSession:
    """Return a session for one provider, to be made inside the event loop.

    Many connections that are kept alive (or those of `connector`), no cookies, no proxies, 5 s to connect, `sock_read`
    seconds without a byte, no limit in all: whoever awaits it has one.
    """
    return aiohttp.ClientSession(
        connector=connector or aiohttp.TCPConnector(limit=CONNECTIONS, keepalive_timeout=KEEP_ALIVE),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT, sock_read=sock_read),
        trust_env=False,
        headers={"User-Agent": fetch.HEADERS["User-Agent"]},
    )


def guarded(private: bool, *addresses: str) -> Guard:
    """Return the guard for pictures in a provider's answers: public addresses and the origins of `addresses`.

    With `private` every address will do.
    """
    return OPEN if private else Guard(trusted=frozenset(str(yarl.URL(address).origin()) for address in addresses))


async def body(response: aiohttp.ClientResponse, limit: int) -> bytes:
    """Read an answer of at most `limit` bytes; raises `UpstreamError` for a longer one."""
    content = bytearray()
    async for chunk in response.content.iter_chunked(CHUNK):
        content += chunk
        if len(content) > limit:
            response.close()
            raise UpstreamError("The provider's answer is too long.")
    return bytes(content)


async def fetched(
    reference: str,
    folder: Path,
    *,
    guard: Guard,
    limit: int,
    patience: float,
    tries: int = 3,
    pixels: int = PIXELS,
    pause: float = PAUSE,
) -> Path:
    """Write the picture that an http(s) URL or data URI in a provider's answer stands for to a new file in `folder`.

    It is a picture, whole as far as its header and its end tell, of at most `limit` bytes and `pixels`. What may pass
    is tried again after a growing pause, `patience` seconds each time. Raises `UpstreamError` with `billed`; no file is
    left then.
    """
    path = folder / uuid4().hex
    is_data = reference[:5].lower() == "data:"
    left = 0 if is_data else tries - 1

    async def load() -> None:
        if is_data:
            await to_thread(fetch.decode, reference, path, limit)
        else:
            await fetch.download(reference, path, guard=guard, limit=limit, patience=patience)
        await to_thread(partial(recognised, path, limit=limit, pixels=pixels))

    try:
        failure = await _failure(load())
        while failure is not None and failure.transient and left > 0:
            await asyncio.sleep(pause)
            left, pause = left - 1, pause * 2
            failure = await _failure(load())
    except BaseException:
        discard(path)
        raise
    if failure is not None:
        discard(path)
        raise UpstreamError(failure.reason, billed=True)
    return path


async def _failure(loading: Coroutine[Any, Any, None]) -> fetch.Unfetched | None:
    """Return why a picture is not there, as a whole sentence; None when it is. Damage may pass, too."""
    try:
        await loading
    except fetch.Unfetched as failure:
        reason = f"The provider's picture could not be had: {failure.reason}."
        return fetch.Unfetched(reason, transient=failure.transient)
    except UpstreamError as failure:
        return fetch.Unfetched(failure.message, transient=True)
    return None


def recognised(path: Path, *, limit: int, pixels: int = PIXELS, content: bytes | None = None) -> Source:
    """Read a paid picture's header and its end; `content` is the file, where it is in memory.

    Raises `UpstreamError` with `billed` where it cannot be used.
    """
    try:
        found = imaging.probe(path, imaging.Limits(bytes=limit, pixels=pixels), content=content)
    except ClientError:
        raise UpstreamError("The provider's file is not a picture of a usable size.", billed=True) from None
    if not _ends(path, found):
        raise UpstreamError("The provider's picture is cut off.", billed=True)
    return found


def _ends(path: Path, found: Source) -> bool:
    """Return False where a JPEG or WebP file stops too early; `probe` has looked at the end of a PNG file."""
    if found.format not in {"webp", "jpeg"}:
        return True
    with path.open("rb") as file:
        if found.format == "webp":
            return found.size >= int.from_bytes(file.read(RIFF_HEAD)[4:], "little") + RIFF_HEAD
        file.seek(max(0, found.size - TAIL))
        return b"\xff\xd9" in file.read()


def _number(text: str) -> float | None:
    """Return a number of 0 or more, None for anything else."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if isfinite(number) and number >= 0 else None
