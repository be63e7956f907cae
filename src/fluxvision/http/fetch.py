"""Pictures given by reference: a data URI is decoded, a URL is fetched through the address guard."""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
from pathlib import Path

import aiohttp
import yarl

from fluxvision import __version__
from fluxvision.errors import InvalidRequest, PayloadTooLarge
from fluxvision.http.edge import NO_SPACE
from fluxvision.store.guard import Guard, Refused

DATA_URI = re.compile(r"data:[^,]{0,256};base64,", re.IGNORECASE)
REDIRECTS = frozenset({301, 302, 303, 307, 308})
MAX_REDIRECTS = 3
OK = 200
SLICE = 4 * 1024 * 1024
CHUNK = 256 * 1024
HEADERS = {"Accept": "image/*", "Accept-Encoding": "identity", "User-Agent": f"fluxvision/{__version__}"}


async def resolve(text: str, path: Path, param: str, *, guard: Guard, limit: int, patience: float) -> None:
    """Write the picture that `text` stands for to `path`; raises an error that names `param`."""
    if text[:5].lower() == "data:":
        await asyncio.to_thread(decode, text, path, param, limit)
        return
    if text[:8].lower().startswith(("http://", "https://")):
        await download(text, path, param, guard=guard, limit=limit, patience=patience)
        return
    message = f"{param} must be a picture file, an http(s) URL or a data URI."
    raise InvalidRequest(message, param=param)


def decode(text: str, path: Path, param: str, limit: int) -> None:
    """Decode a base64 data URI in slices, so that only the text itself is held in memory."""
    head = DATA_URI.match(text)
    if head is None:
        message = f"{param}: the data URI must be base64 (data:image/png;base64,…)."
        raise InvalidRequest(message, param=param)
    if (len(text) - head.end()) * 3 // 4 > limit + 3:
        raise _too_large(param, limit)
    with path.open("xb") as file:
        for start in range(head.end(), len(text), SLICE):
            try:
                file.write(base64.b64decode(text[start : start + SLICE], validate=True))
            except (binascii.Error, ValueError):
                message = f"{param}: the data URI is not valid base64."
                raise InvalidRequest(message, param=param) from None


async def download(text: str, path: Path, param: str, *, guard: Guard, limit: int, patience: float) -> None:
    """Fetch a URL to a file: guarded addresses, few redirects, no cookies, no proxies, no compression, a byte cap."""
    url = guard.check(text, param)
    session = aiohttp.ClientSession(
        connector=guard.connector(),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=patience),
        trust_env=False,
        auto_decompress=False,
        headers=HEADERS,
    )
    try:
        async with session:
            for _ in range(MAX_REDIRECTS + 1):
                following = await _hop(session, url, path, param, limit)
                if following is None:
                    return
                url = guard.check(following, param)
    except Refused:
        raise _refuse(param, "its host has no public address") from None
    except aiohttp.ClientConnectorError as error:
        refused = isinstance(error.os_error, Refused)
        raise _refuse(param, "its host has no public address" if refused else "its host cannot be reached") from None
    except TimeoutError:
        raise _refuse(param, "it did not arrive in time") from None
    except (aiohttp.ClientError, ValueError, OSError) as error:
        if isinstance(error, OSError) and error.errno in NO_SPACE:
            raise
        raise _refuse(param, "its host did not answer as a web server") from None
    raise _refuse(param, f"it is redirected more than {MAX_REDIRECTS} times")


async def _hop(session: aiohttp.ClientSession, url: yarl.URL, path: Path, param: str, limit: int) -> str | None:
    """Make one request: None when the file is written, else where the server says it is."""
    async with session.get(url, allow_redirects=False) as response:
        if response.status in REDIRECTS:
            location = response.headers.get("Location", "")
            return str(url.join(yarl.URL(location)))
        if response.status != OK:
            raise _refuse(param, f"its host answered {response.status}")
        if response.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise _refuse(param, "its host sent it compressed")
        if (response.content_length or 0) > limit:
            raise _too_large(param, limit)
        size = 0
        with path.open("xb") as file:
            async for chunk in response.content.iter_chunked(CHUNK):
                size += len(chunk)
                if size > limit:
                    raise _too_large(param, limit)
                file.write(chunk)
    return None


def _refuse(param: str, reason: str) -> InvalidRequest:
    message = f"{param}: the picture cannot be fetched, {reason}."
    return InvalidRequest(message, param=param)


def _too_large(param: str, limit: int) -> PayloadTooLarge:
    message = f"{param}: the picture is larger than the limit of {limit:,} bytes."
    return PayloadTooLarge(message, param=param)
