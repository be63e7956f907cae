"""Links to results, and GET /media/…: result files and their Deep Zoom tiles, behind signed links that expire."""

from __future__ import annotations

import re
from email.utils import formatdate
from pathlib import Path

from starlette.datastructures import Headers
from starlette.responses import FileResponse, Response
from starlette.types import Message, Receive, Scope, Send

from fluxvision.core.errors import InvalidRequest, NotFound, RangeNotSatisfiable
from fluxvision.http.parsing.fields import is_unmodified, query_parameters
from fluxvision.http.playground_limits import is_page
from fluxvision.http.state import AppState
from fluxvision.imaging.deep_zoom import STEM
from fluxvision.storage.media_folder import GONE, MIMES

HOST = re.compile(r"[A-Za-z0-9._-]{1,253}(?::\d{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](?::\d{1,5})?")
RANGE = re.compile(r"bytes=(?:\d{1,18}-(?:\d{1,18})?|-\d{1,18})(?:,\s*(?:\d{1,18}-(?:\d{1,18})?|-\d{1,18})){0,9}")
BOTH_ENDS = re.compile(r"(\d+)-(\d+)")
SAFE = {
    "x-content-type-options": "nosniff",
    "content-security-policy": "default-src 'none'; sandbox",
    "referrer-policy": "no-referrer",
}

UNMODIFIED = frozenset({"etag", "cache-control", "last-modified", *SAFE})
"""Headers of a 304 response; those of the body are left out."""


async def send_media(state: AppState, scope: Scope, receive: Receive, send: Send) -> None:
    """Send a stored file, or ranges of it, while its link is valid."""
    name = scope["path_params"]["name"]
    query = query_parameters(scope)
    expires, signature = query.get("expires", ""), query.get("signature", "")
    now = state.media_clock()
    left = state.media.verify(name, expires, signature, now)
    path = await state.media.fetch(name, now)
    try:
        facts = path.stat()
    except FileNotFoundError:  # swept in between
        raise NotFound(GONE) from None
    if not _is_byte_range(Headers(scope=scope).get("range", "")):
        # RFC 9110: a Range that cannot be understood is ignored.
        scope = {**scope, "headers": [pair for pair in scope["headers"] if pair[0] != b"range"]}
    response = FileResponse(
        path,
        stat_result=facts,
        media_type=MIMES[path.suffix[1:]],
        filename=f"upscaled{path.suffix}",
        content_disposition_type="inline",
        headers={
            **SAFE,
            "cache-control": f"private, max-age={int(left)}",
            "etag": f'"{name}"',  # a name has one content
            "last-modified": formatdate(facts.st_ctime, usegmt=True),  # the file's own is the expiry, in the future
        },
    )
    if is_unmodified(Headers(scope=scope), response.headers["etag"]):
        kept = {name: value for name, value in response.headers.items() if name in UNMODIFIED}
        await Response(b"", 304, kept)(scope, receive, send)
        return

    async def sent(message: Message) -> None:
        if message.get("status") == RangeNotSatisfiable.status:  # the response's own words are no JSON
            error = RangeNotSatisfiable(f"The range lies behind the end of the file of {facts.st_size:,} bytes.")
            error.size = facts.st_size
            raise error
        await send(message)

    await response(scope, receive, sent)


async def media_link(state: AppState, scope: Scope, name: str, now: float) -> str:
    """Return the address of a stored file: the store's own, or one below the public address or that of the request.

    The page gets the latter, because browsers let it read from its own server alone.
    """
    own = None if is_page(Headers(scope=scope)) else await state.media.link(name, now)
    return own or f"{public_base(state.settings.public_url, scope)}/media/{name}?{state.media.sign(name, now)}"


def _is_byte_range(text: str) -> bool:
    """Return whether a Range header has only valid byte ranges."""
    return bool(RANGE.fullmatch(text)) and all(int(first) <= int(last) for first, last in BOTH_ENDS.findall(text))


def public_base(public_url: str, scope: Scope) -> str:
    """Return scheme and host of links, without a trailing slash."""
    if public_url:
        return public_url.rstrip("/")
    host = Headers(scope=scope).get("host", "")
    if not HOST.fullmatch(host):
        raise InvalidRequest("The Host header is not a host name.")
    return f"{scope['scheme']}://{host}"


def scope_of(base_url: str) -> Scope:
    """Return a scope whose `public_base` is `base_url`, for links that no request asks for."""
    scheme, _, host = base_url.partition("://")
    return {"scheme": scheme, "headers": [(b"host", host.encode())]}


DEEP = 30_000_000
"""Pixels above which browsers get Deep Zoom tiles instead of the whole picture."""
PLACE = "/media/{name}/{expires}/{signature}"
LEVEL = re.compile(r"\d{1,2}")
TILE = re.compile(r"\d{1,5}_\d{1,5}\.(?:jpeg|webp)")
XML = "application/xml"
TYPES = {".jpeg": "image/jpeg", ".webp": "image/webp"}


def deep_zoom_link(state: AppState, scope: Scope, pixels: int, name: str, now: float) -> str | None:
    """Return the address of the Deep Zoom document of a stored picture of so many pixels, None for a small one."""
    if pixels <= DEEP:
        return None
    expires, signature = state.media.signed(name, now)
    return f"{public_base(state.settings.public_url, scope)}/media/{name}/{expires}/{signature}/{STEM}.dzi"


async def send_deep_zoom(state: AppState, scope: Scope, receive: Receive, send: Send) -> None:
    """Send the Deep Zoom document of a picture."""
    left = _seconds_left(state, scope)
    await state.media.fetch(scope["path_params"]["name"], state.media_clock())  # raises where it was deleted
    response = await _find_part(state, scope, left, f"{STEM}.dzi", XML)
    await response(scope, receive, send)


async def send_tile(state: AppState, scope: Scope, receive: Receive, send: Send) -> None:
    """Send one Deep Zoom tile."""
    level, name = scope["path_params"]["level"], scope["path_params"]["tile"]
    if not LEVEL.fullmatch(level) or not TILE.fullmatch(name):
        raise NotFound(GONE)
    left = _seconds_left(state, scope)
    response = await _find_part(state, scope, left, f"{STEM}_files/{level}/{name}", TYPES[Path(name).suffix])
    await response(scope, receive, send)


def _seconds_left(state: AppState, scope: Scope) -> float:
    given = scope["path_params"]
    return state.media.verify(given["name"], given["expires"], given["signature"], state.media_clock())


async def _find_part(state: AppState, scope: Scope, left: float, place: str, kind: str) -> Response:
    """Return a file among a result's tiles, whose link is valid for `left` seconds."""
    folder = await state.pyramids.of(scope["path_params"]["name"], state.media_clock())
    try:
        body = (folder / place).read_bytes()
    except FileNotFoundError:  # no such tile, or swept in between
        raise NotFound(GONE) from None
    return Response(body, 200, {**SAFE, "cache-control": f"private, max-age={int(left)}"}, kind)
