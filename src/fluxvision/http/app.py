"""The ASGI application: one list of routes, three layers around it, and what lives as long as it does."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TextIO

from starlette.routing import BaseRoute, Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from fluxvision.accounts.keys import Keys
from fluxvision.core.settings import Settings
from fluxvision.core.system import release_memory
from fluxvision.core.types import Source
from fluxvision.http import edits, media, models, observability, openapi, site, status
from fluxvision.http.limits import Memory, Uploads
from fluxvision.http.middleware import FACTS, Frame, Gate
from fluxvision.http.observability import Metrics
from fluxvision.http.playground import Playground
from fluxvision.http.ports import Gateway, Probe
from fluxvision.http.readiness import Readiness
from fluxvision.http.state import Edge, Handler, Pyramids, Running
from fluxvision.imaging import Limits, probe
from fluxvision.imaging.deep_zoom import STEM
from fluxvision.net.ssrf_guard import OPEN, Guard
from fluxvision.storage.clock import SteadyClock
from fluxvision.storage.media import MediaStore
from fluxvision.storage.workspace import open_workspace

SWEEP_SECONDS = 30.0
IDLE_SECONDS = 0.5
"""How often is looked whether the last of some jobs is done."""
PREFIXES = ("/openai/v1", "/v1")
API: tuple[tuple[str, str, Handler], ...] = (
    ("POST", "/images/edits", edits.edits),
    ("GET", "/models", models.listing),
    ("GET", "/models/{id:path}/llms.txt", models.page),
    ("GET", "/models/{id:path}", models.one),
)
SITE: tuple[tuple[str, str, Handler], ...] = (
    ("GET", "/media/{name}", media.media),
    ("GET", f"{media.PLACE}/{STEM}.dzi", media.document),
    ("GET", f"{media.PLACE}/{STEM}_files/{{level}}/{{tile}}", media.tile),
    ("GET", "/healthz", status.alive),
    ("GET", "/readyz", status.ready),
    ("GET", "/metrics", status.metrics),
    ("GET", "/openapi.json", openapi.send_document),
    ("GET", "/llms.txt", models.index),
    ("GET", FACTS, status.facts),
)
PAGES: tuple[tuple[str, Handler], ...] = (
    ("/", site.index),
    ("/models", site.index),
    ("/models/{id:path}/llms.txt", models.page),
    ("/models/{id:path}", site.model),
    ("/assets/{name}", site.asset),
    ("/examples/{name}", site.example),
    ("/docs", site.docs),
    ("/docs/{name:path}", site.docs),
)
"""For people with a browser; the OpenAPI document leaves them out."""


class App:
    """An ASGI application that can also be asked to stop taking work."""

    def __init__(self, asgi: ASGIApp, running: Running) -> None:
        """Serve `asgi`."""
        self._asgi = asgi
        self._running = running

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or the lifespan."""
        await self._asgi(scope, receive, send)

    async def drain(self, patience: float) -> int:
        """Refuse new jobs, wait for the running ones, then cancel them; return how many were cancelled."""
        return await self._running.drain(patience)


def build(
    gateway: Gateway,
    settings: Settings,
    *,
    pages: Sequence[BaseRoute] = (),
    guard: Guard | None = None,
    read: Probe | None = None,
    now: Callable[[], float] = time.time,
    media_clock: Callable[[], float] | None = None,
    stream: TextIO | None = None,
) -> App:
    """Put the edge together. `pages` are further routes, tried last; log lines go to `stream` (standard error)."""
    workspace = open_workspace(settings.data_dir)
    keys = Keys(settings.api_keys, secrets.token_bytes(32))
    settings = settings.covered()
    store = MediaStore(workspace.media, settings.media_ttl, workspace.secret)
    rows = [*((method, prefix, path, run) for method, path, run in API for prefix in PREFIXES)]
    rows += [(method, "", path, run) for method, path, run in SITE]
    log = observability.logger(settings.log_level, stream)
    edge = Edge(
        gateway=gateway,
        settings=settings,
        probe=read or _probe(settings),
        keys=keys,
        media=store,
        pyramids=Pyramids(store),
        memory=Memory(),
        readiness=Readiness(gateway, workspace, log),
        uploads=Uploads(),
        workspace=workspace,
        guard=guard or (OPEN if settings.allow_private_urls else Guard()),
        metrics=Metrics(settings.workers),
        log=log,
        running=Running(),
        playground=Playground(settings),
        now=now,
        media_clock=media_clock or SteadyClock(),
        openapi=openapi.encoded([row[:3] for row in rows], gateway.models, gateway.providers, settings),
    )

    @asynccontextmanager
    async def lifespan(_app: object) -> AsyncIterator[None]:
        async with AsyncExitStack() as ends:  # each is reached even where another one fails
            ends.enter_context(observability.libraries(edge.log))
            ends.callback(workspace.close)
            ends.push_async_callback(gateway.aclose)
            ends.push_async_callback(_end, asyncio.create_task(_sweep(edge)))
            ends.push_async_callback(_end, asyncio.create_task(_rest(edge.running)))
            yield

    # They are tried in order: those of the API come first.
    routes = [Route(prefix + path, _Endpoint(edge, run), methods=[method]) for method, prefix, path, run in rows]
    routes += [Route(path, _Endpoint(edge, run), methods=["GET"]) for path, run in PAGES]
    router = Router([*routes, *pages], redirect_slashes=False, lifespan=lifespan)
    framed = Frame(Gate(router, edge.keys, settings), edge.log, edge.metrics, settings.upload_timeout)
    return App(_Split(framed, router), edge.running)


class _Endpoint:
    """A handler with the edge in its hand."""

    def __init__(self, edge: Edge, handler: Handler) -> None:
        self._run = partial(handler, edge)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._run(scope, receive, send)


class _Split:
    """Requests pass all layers; the lifespan goes to the router at once; web sockets go nowhere."""

    def __init__(self, framed: ASGIApp, router: Router) -> None:
        self._framed = framed
        self._router = router

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope.setdefault("app", self)  # makes the router raise for a wrong address or method instead of answering
        await (self._router if scope["type"] == "lifespan" else self._framed)(scope, receive, send)


def _probe(settings: Settings) -> Probe:
    limits = Limits(bytes=settings.max_upload_bytes, pixels=settings.max_input_pixels, frames=settings.max_frames)

    def read(path: Path, param: str, content: bytes | None) -> Source:
        return probe(path, limits, param, content)

    return read


async def _sweep(edge: Edge) -> None:
    """Delete what expired, again and again; a sweep that fails is logged, and the next one may work."""
    while True:
        try:
            await asyncio.to_thread(edge.media.sweep, edge.media_clock())
        except Exception as error:  # noqa: BLE001 - results must not pile up because of one bad moment
            edge.log.error("sweep", trace=observability.trace(error))  # noqa: TRY400 - its text may hold a path
        await asyncio.sleep(min(SWEEP_SECONDS, edge.settings.media_ttl))


async def _rest(running: Running) -> None:
    """Give memory back to the system whenever work has been done and no more is there."""
    seen = 0
    while True:
        await asyncio.sleep(IDLE_SECONDS)
        if running.begun != seen and not running.jobs and not running.answering:
            seen = running.begun
            await asyncio.to_thread(release_memory)


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
