"""What a browser gets: the page, its assets, the examples and the documents, all of them files of this package."""

from __future__ import annotations

import gzip
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from starlette.datastructures import Headers
from starlette.responses import RedirectResponse, Response
from starlette.types import Receive, Scope, Send

from fluxvision.core.errors import ModelNotFound, NotFound
from fluxvision.http.requests.fields import is_unmodified
from fluxvision.http.state import AppState

HERE = Path(__file__).parent
PAGE, DATA, DOCS = HERE / "page", HERE / "page-data", HERE / "page-docs"
NOWHERE = DOCS / "404.html"
API = ("/v1/", "/openai/")
UNBUILT = "The page is not built in this checkout: run `make page`. The API does without it.\n"
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
PLACE = re.compile(rf"(?:{NAME.pattern}/){{0,3}}{NAME.pattern}")
HTML = "text/html; charset=utf-8"
TYPES: Mapping[str, str] = {
    ".html": HTML,
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".jpg": "image/jpeg",
    ".png": "image/png",
    ".webp": "image/webp",
    ".woff2": "font/woff2",
}
PACKED = frozenset({".html", ".css", ".js", ".json", ".svg", ".txt"})
"""What compression makes smaller."""
FRESH, FOR_EVER, FOR_A_DAY = "no-cache", "public, max-age=31536000, immutable", "public, max-age=86400"
SAFE = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}


@dataclass(frozen=True, slots=True)
class _File:
    body: bytes
    packed: bytes
    tag: str


async def send_index(_edge: AppState, scope: Scope, receive: Receive, send: Send) -> None:
    """Send the page."""
    await _read_page(200)(scope, receive, send)


async def send_model_page(edge: AppState, scope: Scope, receive: Receive, send: Send) -> None:
    """Send the page, which shows the model; with 404 where there is none."""
    try:
        edge.gateway.find(scope["path_params"]["id"])
        status = 200
    except ModelNotFound:
        status = ModelNotFound.status
    await _read_page(status)(scope, receive, send)


async def send_asset(_edge: AppState, scope: Scope, receive: Receive, send: Send) -> None:
    """Send a part of the page, whose name changes with its content."""
    await _load_file(PAGE / "assets", scope["path_params"]["name"], FOR_EVER)(scope, receive, send)


async def send_example(_edge: AppState, scope: Scope, receive: Receive, send: Send) -> None:
    """Send a picture to begin with, or one of the gallery."""
    await _load_file(DATA, scope["path_params"]["name"], FOR_A_DAY)(scope, receive, send)


async def send_docs(_edge: AppState, scope: Scope, receive: Receive, send: Send) -> None:
    """Send a page of the documents; an address without an ending is that of a page."""
    name = scope["path_params"].get("name")
    if name is None:
        await RedirectResponse("docs/", 308)(scope, receive, send)
        return
    place = name or "index"
    place = place if Path(place).suffix in TYPES else f"{place}.html"
    found = DOCS / place
    if not PLACE.fullmatch(place) or not found.is_file():
        raise NotFound("There is nothing at this address.")
    await _Sent(found, FRESH, 200)(scope, receive, send)


def wants_html(scope: Scope) -> bool:
    """Tell whether an address that leads nowhere is answered with a page: to a browser, beside the API."""
    asked = "text/html" in Headers(scope=scope).get("accept", "")
    return asked and scope["method"] in {"GET", "HEAD"} and not scope["path"].startswith(API) and NOWHERE.is_file()


async def not_found_page(scope: Scope, receive: Receive, send: Send) -> None:
    """Send the page that says that there is nothing."""
    await _Sent(NOWHERE, "no-store", NotFound.status)(scope, receive, send)


def _read_page(status: int) -> _Sent | Response:
    path = PAGE / "index.html"
    if not path.is_file():
        return Response(UNBUILT, 503, {**SAFE, "cache-control": "no-store"}, "text/plain")
    return _Sent(path, FRESH, status)


def _load_file(folder: Path, name: str, cache: str) -> _Sent:
    path = folder / name
    if not NAME.fullmatch(name) or path.suffix not in TYPES or not path.is_file():
        raise NotFound("There is nothing at this address.")
    return _Sent(path, cache, 200)


@dataclass(frozen=True, slots=True)
class _Sent:
    """A file as a response: compressed where that is wished, and not at all where the browser has it."""

    path: Path
    cache: str
    status: int

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        facts = self.path.stat()
        file = _read_files(self.path, facts.st_mtime_ns, facts.st_size)
        asked = Headers(scope=scope)
        headers = {**SAFE, "cache-control": self.cache, "etag": file.tag, "vary": "accept-encoding"}
        if self.status == 200 and is_unmodified(asked, file.tag):  # noqa: PLR2004
            await Response(b"", 304, headers)(scope, receive, send)
            return
        body = file.body
        if file.packed and "gzip" in asked.get("accept-encoding", ""):
            body = file.packed
            headers["content-encoding"] = "gzip"
        headers["content-length"] = str(len(body))
        body = b"" if scope["method"] == "HEAD" else body
        await Response(body, self.status, headers, TYPES[self.path.suffix])(scope, receive, send)


@lru_cache(maxsize=256)
def _read_files(path: Path, _changed: int, _size: int) -> _File:
    """Return a file and its compressed form; files of a package are few and small."""
    body = path.read_bytes()
    packed = gzip.compress(body, 9, mtime=0) if path.suffix in PACKED else b""
    return _File(body, packed, f'"{hashlib.sha256(body).hexdigest()[:32]}"')
