"""Large results as Deep Zoom images: a document and tiles, made when somebody first looks, behind the result's link."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from fluxvision.core.errors import NotFound
from fluxvision.core.types import Picture
from fluxvision.http.media import SAFE, base
from fluxvision.http.state import Edge
from fluxvision.imaging.deep_zoom import STEM
from fluxvision.storage.media import GONE

DEEP = 30_000_000
"""Pixels above which a browser is spared the whole picture."""
PLACE = "/media/{name}/{expires}/{signature}"
LEVEL = re.compile(r"\d{1,2}")
TILE = re.compile(r"\d{1,5}_\d{1,5}\.(?:jpeg|webp)")
XML = "application/xml"
TYPES = {".jpeg": "image/jpeg", ".webp": "image/webp"}


def told(edge: Edge, scope: Scope, picture: Picture, name: str, now: float) -> str | None:
    """Return the address of a stored picture's Deep Zoom document, None where the picture is small enough."""
    if picture.width * picture.height <= DEEP:
        return None
    expires, signature = edge.media.signed(name, now)
    return f"{base(edge.settings.public_url, scope)}/media/{name}/{expires}/{signature}/{STEM}.dzi"


def noted(addresses: list[str | None]) -> dict[str, Any]:
    """Return what the metadata says of the pictures' documents: the first, and all where there are several."""
    if not any(addresses):
        return {}
    return {"deep_zoom": addresses[0], **({"deep_zooms": addresses} if len(addresses) > 1 else {})}


async def document(edge: Edge, scope: Scope, receive: Receive, send: Send) -> None:
    """Send what a viewer reads first."""
    response = await _part(edge, scope, f"{STEM}.dzi", XML)
    await response(scope, receive, send)


async def tile(edge: Edge, scope: Scope, receive: Receive, send: Send) -> None:
    """Send one tile."""
    level, name = scope["path_params"]["level"], scope["path_params"]["tile"]
    if not LEVEL.fullmatch(level) or not TILE.fullmatch(name):
        raise NotFound(GONE)
    response = await _part(edge, scope, f"{STEM}_files/{level}/{name}", TYPES[Path(name).suffix])
    await response(scope, receive, send)


async def _part(edge: Edge, scope: Scope, place: str, kind: str) -> Response:
    """Return a file below a result's tiles, while the result's link works."""
    given = scope["path_params"]
    path, left = edge.media.verify(given["name"], given["expires"], given["signature"], edge.media_clock())
    folder = await edge.pyramids.of(path.name)
    try:
        body = (folder / place).read_bytes()
    except FileNotFoundError:  # no such tile, or swept in between
        raise NotFound(GONE) from None
    return Response(body, 200, {**SAFE, "cache-control": f"private, max-age={int(left)}"}, kind)
