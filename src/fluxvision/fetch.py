"""Pictures given by reference: a data URI is decoded, a URL is fetched through the address guard."""

from __future__ import annotations

import asyncio
import binascii
import re
from pathlib import Path

import aiohttp
import pybase64
import yarl

from fluxvision import __version__
from fluxvision.errors import InvalidRequest, PayloadTooLarge
from fluxvision.guard import Guard, Refused
from fluxvision.machine import NO_SPACE

DATA_URI = re.compile(r"data:[^,]{0,256};base64,", re.IGNORECASE)
REDIRECTS = frozenset({301, 302, 303, 307, 308})
MAX_REDIRECTS = 3
OK, SERVER_ERROR = 200, 500
SLICE = 4 * 1024 * 1024
CHUNK = 256 * 1024
HEADERS = {"Accept": "image/*", "Accept-Encoding": "identity", "User-Agent": f"fluxvision/{__version__}"}


class Unfetched(Exception):
    """A picture could not be had; the text is the end of a sentence and holds nothing of the URL.

    `transient` tells that the same URL may work in a moment.
    """

    def __init__(self, reason: str, *, transient: bool = False) -> None:
        """Keep the reason."""
        super().__init__(reason)
        self.reason = reason
        self.transient = transient


class TooLarge(Unfetched):
    """It is larger than the limit."""


async def resolve(text: str, path: Path, param: str, *, guard: Guard, limit: int, patience: float) -> None:
    """Write the picture that a caller's `text` stands for to `path`; raises an error that names `param`."""
    is_data = text[:5].lower() == "data:"
    if not is_data and not text[:8].lower().startswith(("http://", "https://")):
        message = f"{param} must be a picture file, an http(s) URL or a data URI."
        raise InvalidRequest(message, param=param)
    try:
        if is_data:
            await asyncio.to_thread(decode, text, path, limit)
        else:
            await download(text, path, guard=guard, limit=limit, patience=patience)
    except TooLarge:
        message = f"{param}: the picture is larger than the limit of {limit:,} bytes."
        raise PayloadTooLarge(message, param=param) from None
    except Unfetched as refusal:
        message = f"{param}: {refusal.reason}."
        raise InvalidRequest(message, param=param) from None


def decode(text: str, path: Path, limit: int) -> None:
    """Decode a base64 data URI in slices, so that only the text itself is held in memory; raises `Unfetched`."""
    head = DATA_URI.match(text)
    if head is None:
        raise Unfetched("the data URI must be base64 (data:image/png;base64,…)")
    decode_base64(text, path, limit, start=head.end())


def decode_base64(text: str, path: Path, limit: int, start: int = 0) -> None:
    """Decode the rest of a text, from `start`, to a new file; raises `Unfetched`."""
    if (len(text) - start) * 3 // 4 > limit + 3:
        raise TooLarge("it is too large")
    with path.open("xb") as file:
        for begin in range(start, len(text), SLICE):
            try:
                file.write(pybase64.b64decode(text[begin : begin + SLICE], validate=True))
            except (binascii.Error, ValueError):
                raise Unfetched("the data URI is not valid base64") from None


async def download(text: str, path: Path, *, guard: Guard, limit: int, patience: float) -> None:
    """Fetch a URL to a new file: guarded addresses, few redirects, no cookies, no proxies, no compression, a byte cap.

    Raises `Unfetched`.
    """
    try:
        async with asyncio.timeout(patience):
            for _ in range(MAX_REDIRECTS + 1):
                reason = guard.refusal(text)
                if reason:
                    raise Unfetched("the URL " + reason)
                following = await _hop(yarl.URL(text), path, guard, limit)
                if following is None:
                    return
                text = following
    except Refused:
        raise _failed("its host has no public address") from None
    except aiohttp.ClientConnectorError as error:
        if isinstance(error.os_error, Refused):
            raise _failed("its host has no public address") from None
        raise _failed("its host cannot be reached", transient=True) from None
    except TimeoutError:
        raise _failed("it did not arrive in time", transient=True) from None
    except (aiohttp.ClientError, ValueError, OSError) as error:
        if isinstance(error, OSError) and error.errno in NO_SPACE:
            raise
        raise _failed("its host did not answer as a web server", transient=True) from None
    raise _failed("it is redirected too often")


async def _hop(url: yarl.URL, path: Path, guard: Guard, limit: int) -> str | None:
    """Make one request: None when the file is written, else where the server says it is."""
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
            raise _failed(reason, transient=response.status >= SERVER_ERROR)
        if response.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise _failed("its host sent it compressed")
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


def _failed(reason: str, *, transient: bool = False) -> Unfetched:
    return Unfetched(f"the picture cannot be fetched, {reason}", transient=transient)
