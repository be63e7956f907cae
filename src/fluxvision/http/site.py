"""Serves the page, its assets, examples and documents, and GET /v1/page, the facts that the page shows."""

from __future__ import annotations

import gzip
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

import msgspec
from starlette.datastructures import Headers
from starlette.responses import RedirectResponse, Response
from starlette.types import Receive, Scope, Send

from fluxvision import __version__
from fluxvision.core.concurrency import run_in_thread
from fluxvision.core.errors import ModelNotFound, NotFound
from fluxvision.core.money import to_dollars
from fluxvision.http import docs
from fluxvision.http.parsing.fields import is_unmodified
from fluxvision.http.responses import GalleryPicture, PageBudget, PageExample, PageFacts, PageLimits
from fluxvision.http.state import AppState

HERE = Path(__file__).parent
PAGE, DATA = HERE / "page", HERE / "page-data"
EXAMPLES, GALLERY = DATA / "examples.json", DATA / "gallery.json"
API = ("/v1/", "/openai/")
UNBUILT = "The page is not built in this checkout: run `make page`. The API does without it.\n"
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
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
"""Media types that are compressed."""
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
    """Content for browsers, its compressed form (empty if not smaller), and its entity tag."""

    body: bytes
    packed: bytes
    tag: str
    kind: str


async def send_index(_state: AppState, scope: Scope, receive: Receive, send: Send) -> None:
    """Send the page."""
    await _read_page(200)(scope, receive, send)


async def send_model_page(state: AppState, scope: Scope, receive: Receive, send: Send) -> None:
    """Send the page, which shows the model; with 404 for an unknown model."""
    try:
        state.gateway.find(scope["path_params"]["id"])
        status = 200
    except ModelNotFound:
        status = ModelNotFound.status
    await _read_page(status)(scope, receive, send)


async def send_asset(_state: AppState, scope: Scope, receive: Receive, send: Send) -> None:
    """Send an asset of the page, whose name changes with its content."""
    await _load_file(PAGE / "assets", scope["path_params"]["name"], FOR_EVER)(scope, receive, send)


async def send_example(_state: AppState, scope: Scope, receive: Receive, send: Send) -> None:
    """Send an example picture, or one of the gallery."""
    await _load_file(DATA, scope["path_params"]["name"], FOR_A_DAY)(scope, receive, send)


async def send_page_facts(state: AppState, scope: Scope, receive: Receive, send: Send) -> None:
    """Send this server's limits, the page's budget, and the example pictures."""
    playground, settings = state.playground, state.settings
    examples, gallery = _gallery()
    body = PageFacts(
        version=__version__,
        playground=playground.open,
        keys=state.keys.required,
        budget=PageBudget(
            spends=playground.open and playground.budget.per_day > 0,
            per_request=to_dollars(playground.budget.left(state.now())),
            per_day=to_dollars(playground.budget.per_day),
        ),
        limits=PageLimits(
            max_upload_bytes=settings.max_upload_bytes,
            max_input_pixels=settings.max_input_pixels,
            max_output_pixels=settings.max_output_pixels,
            requests_per_minute=playground.rate,
        ),
        examples=examples,
        gallery=gallery,
    )
    headers = {"cache-control": "no-store"}
    await Response(msgspec.json.encode(body), headers=headers, media_type="application/json")(scope, receive, send)


async def send_docs(_state: AppState, scope: Scope, receive: Receive, send: Send) -> None:
    """Send a page of the documents, or a file that the pages need."""
    name = scope["path_params"].get("name")
    if name is None:
        await RedirectResponse("docs/", 308)(scope, receive, send)
        return
    place = (name or "index").removesuffix(".html")
    if place in docs.FILES:
        file = _read_file(docs.FILES[place])
    elif place in docs.pages():
        file = await run_in_thread(_render_document, place)
    else:
        raise NotFound("There is nothing at this address.")
    await _FileResponse(file, FRESH, 200)(scope, receive, send)


def wants_html(scope: Scope) -> bool:
    """Return whether a request for an unknown address gets a page: that of a browser, outside the API."""
    accepts = "text/html" in Headers(scope=scope).get("accept", "")
    return accepts and scope["method"] in {"GET", "HEAD"} and not scope["path"].startswith(API)


async def not_found_page(scope: Scope, receive: Receive, send: Send) -> None:
    """Send the page for an unknown address."""
    await _FileResponse(_not_found(), "no-store", NotFound.status)(scope, receive, send)


def _read_page(status: int) -> _FileResponse | Response:
    path = PAGE / "index.html"
    if not path.is_file():
        return Response(UNBUILT, 503, {**SAFE, "cache-control": "no-store"}, "text/plain")
    return _FileResponse(_read_file(path), FRESH, status, "accept, accept-encoding")


@lru_cache(maxsize=1)
def _gallery() -> tuple[list[PageExample], dict[str, list[GalleryPicture]]]:
    examples = msgspec.json.decode(EXAMPLES.read_bytes(), type=list[PageExample])
    return examples, msgspec.json.decode(GALLERY.read_bytes(), type=dict[str, list[GalleryPicture]])


def _load_file(folder: Path, name: str, cache_control: str) -> _FileResponse:
    path = folder / name
    if not NAME.fullmatch(name) or path.suffix not in TYPES or not path.is_file():
        raise NotFound("There is nothing at this address.")
    return _FileResponse(_read_file(path), cache_control, 200)


@dataclass(frozen=True, slots=True)
class _FileResponse:
    """A file as a response: compressed if the browser accepts it, 304 without a body if the browser has it."""

    file: _File
    cache: str
    status: int
    vary: str = "accept-encoding"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked = Headers(scope=scope)
        headers = {**SAFE, "cache-control": self.cache, "etag": self.file.tag, "vary": self.vary}
        if self.status == 200 and is_unmodified(asked, self.file.tag):  # noqa: PLR2004
            await Response(b"", 304, headers)(scope, receive, send)
            return
        body = self.file.body
        if self.file.packed and "gzip" in asked.get("accept-encoding", ""):
            body = self.file.packed
            headers["content-encoding"] = "gzip"
        headers["content-length"] = str(len(body))
        body = b"" if scope["method"] == "HEAD" else body
        await Response(body, self.status, headers, self.file.kind)(scope, receive, send)


def _read_file(path: Path) -> _File:
    facts = path.stat()
    return _read_version(path, facts.st_mtime_ns, facts.st_size)


@lru_cache(maxsize=256)
def _read_version(path: Path, _changed: int, _size: int) -> _File:
    return _compress(path.read_bytes(), path.suffix)


@cache
def _render_document(place: str) -> _File:
    return _compress(docs.render(place), ".html")


@cache
def _not_found() -> _File:
    return _compress(docs.render_not_found(), ".html")


def _compress(body: bytes, suffix: str) -> _File:
    packed = gzip.compress(body, 9, mtime=0) if suffix in PACKED else b""
    return _File(body, packed, f'"{hashlib.sha256(body).hexdigest()[:32]}"', TYPES[suffix])
