"""The ASGI application: the list of routes, three layers of middleware, and the background tasks.

The module is long because the list of routes and all that the handlers share are put together in one place.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager, nullcontext, suppress
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from starlette.routing import BaseRoute, Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from fluxvision.accounts.keys import Keys
from fluxvision.core.errors import ConfigError
from fluxvision.core.images import InputImage
from fluxvision.core.settings import Settings
from fluxvision.core.system import release_memory, trim_memory
from fluxvision.gateway.gateway import Gateway
from fluxvision.http import (
    accounts,
    address_spellings,
    automatic1111,
    batch_results,
    batches,
    chat,
    edits,
    files,
    health,
    mcp,
    media,
    models,
    observability,
    openai_responses,
    openapi,
    site,
    stored_jobs,
    webhooks,
)
from fluxvision.http.cors import CorsPolicy
from fluxvision.http.deep_zoom_cache import DeepZoomCache
from fluxvision.http.job_tracker import JobTracker
from fluxvision.http.mcp_sessions import McpSessions
from fluxvision.http.middleware import FACTS, AuthMiddleware, ErrorMiddleware
from fluxvision.http.observability import Metrics
from fluxvision.http.playground_limits import PlaygroundLimits
from fluxvision.http.readiness import Readiness
from fluxvision.http.run_job import JobObserver
from fluxvision.http.state import AppState, Handler, Probe
from fluxvision.http.stored_response import MediaResults
from fluxvision.http.upload_limits import BodyMemory, UploadLimits
from fluxvision.imaging import Limits, probe
from fluxvision.imaging.deep_zoom import STEM
from fluxvision.jobs.lazy_service import LazyJobService
from fluxvision.net.ssrf_guard import OPEN, Guard
from fluxvision.storage.data_dir import open_data_dir
from fluxvision.storage.media import open_media_store
from fluxvision.storage.steady_clock import SteadyClock

if TYPE_CHECKING:
    from fluxvision.accounts.service import AccountService
    from fluxvision.jobs.service import JobService
    from fluxvision.storage.database import Database

SWEEP_SECONDS = 30.0
IDLE_SECONDS = 0.5
"""Seconds between two checks whether all jobs are done."""
TRIM_SECONDS = 30.0
"""Seconds after which free memory is returned although jobs run: a busy server may never rest."""
PREFIXES = ("/openai/v1", "/v1")
API: tuple[tuple[str, str, Handler], ...] = (
    ("POST", "/images/edits", edits.create_edit),
    ("POST", "/images/generations", edits.create_generation),
    ("POST", "/images/variations", edits.create_variation),
    ("POST", "/chat/completions", chat.create_completion),
    ("POST", "/responses", openai_responses.create_response),
    ("GET", "/requests", stored_jobs.list_requests),
    ("GET", "/requests/{id}", stored_jobs.show_request),
    ("DELETE", "/requests/{id}", stored_jobs.cancel_request),
    ("GET", "/requests/{id}/events", stored_jobs.follow_request),
    ("DELETE", "/requests/{id}/payloads", stored_jobs.purge_request),
    ("GET", "/webhooks/secret", webhooks.show_secret),
    ("POST", "/webhooks/secret", webhooks.rotate_secret),
    ("GET", "/webhooks/deliveries", webhooks.list_deliveries),
    ("POST", "/files", files.create_file),
    ("GET", "/files", files.list_files),
    ("GET", "/files/{id}", files.show_file),
    ("GET", "/files/{id}/content", files.send_file),
    ("DELETE", "/files/{id}", files.delete_file),
    ("POST", "/batches", batches.create_batch),
    ("GET", "/batches", batches.list_batches),
    ("GET", "/batches/{id}", batches.show_batch),
    ("POST", "/batches/{id}/cancel", batches.cancel_batch),
    ("GET", "/batches/{id}/results.zip", batch_results.send_archive),
    ("GET", "/models", models.list_models),
    ("GET", "/models/{id:path}/llms.txt", models.model_page),
    ("GET", "/models/{id:path}", models.show_model),
    ("POST", "/keys", accounts.create_key),
    ("GET", "/keys", accounts.list_keys),
    ("GET", "/keys/{id}", accounts.show_key),
    ("PATCH", "/keys/{id}", accounts.change_key),
    ("DELETE", "/keys/{id}", accounts.revoke_key),
    ("POST", "/keys/{id}/rotate", accounts.rotate_key),
    ("GET", "/balance", accounts.show_balance),
    ("GET", "/usage", accounts.show_usage),
)
SITE: tuple[tuple[str, str, Handler], ...] = (
    ("GET", "/media/{name}", media.send_media),
    ("GET", f"{media.PLACE}/{STEM}.dzi", media.send_deep_zoom),
    ("GET", f"{media.PLACE}/{STEM}_files/{{level}}/{{tile}}", media.send_tile),
    ("GET", "/healthz", health.healthz),
    ("GET", "/health", health.healthz),
    ("GET", "/readyz", health.readyz),
    ("GET", "/metrics", health.metrics_page),
    ("GET", "/openapi.json", openapi.send_document),
    ("GET", "/llms.txt", models.models_index),
    ("GET", FACTS, site.send_page_facts),
)
PAGES: tuple[tuple[str, Handler], ...] = (
    ("/", site.send_index),
    ("/models", site.send_index),
    ("/models/{id:path}/llms.txt", models.model_page),
    ("/models/{id:path}", site.send_model_page),
    ("/assets/{name}", site.send_asset),
    ("/examples/{name}", site.send_example),
    ("/docs", site.send_docs),
    ("/docs/{name:path}", site.send_docs),
)
"""Pages for browsers, which are not in the OpenAPI document."""
PROTOCOLS: tuple[tuple[str, str, Handler], ...] = (
    ("POST", "/mcp", mcp.serve_mcp),
    ("POST", "/sdapi/v1/extra-single-image", automatic1111.enlarge_one),
    ("POST", "/sdapi/v1/extra-batch-images", automatic1111.enlarge_several),
    ("GET", "/sdapi/v1/upscalers", automatic1111.list_upscalers),
    ("GET", "/sdapi/v1/latent-upscale-modes", automatic1111.list_latent_modes),
)
"""Addresses of other protocols and products, which have documents of their own and are not in the OpenAPI document."""


class App:
    """An ASGI application that can be drained."""

    def __init__(self, asgi: ASGIApp, running: JobTracker) -> None:
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
    database: Database | None = None,
) -> App:
    """Build the application. `pages` are further routes, tried last; log lines go to `stream` (standard error).

    Stored keys and jobs are in `database`; without one, jobs are in one that is made in the data folder when needed.
    """
    data_dir = open_data_dir(settings.data_dir)
    service = _open_accounts(database, now)
    stored = None if service is None else service.cache
    keys = Keys(settings.api_keys, secrets.token_bytes(32), admin=settings.admin_key, stored=stored, now=now)
    settings = settings.mask_secrets()
    store = open_media_store(settings.media_url, settings.media_ttl, data_dir)
    rows = [*((method, prefix, path, run) for method, path, run in API for prefix in PREFIXES)]
    rows += [(method, "", path, run) for method, path, run in SITE]
    log = observability.create_logger(settings.log_level, stream)
    clock, metrics = media_clock or SteadyClock(), Metrics(settings.workers)
    telemetry = _telemetry(settings, metrics)

    def create_jobs() -> JobService:
        found = database or import_module("fluxvision.storage.database").open_in(
            data_dir.run if data_dir.temporary else data_dir.root
        )
        observer = JobObserver(metrics, log, state.running)
        sender = import_module("fluxvision.jobs.webhooks").WebhookSender(
            found, webhooks.webhook_client(state), partial(webhooks.event_body, state), observer.fails, now
        )
        service: JobService = import_module("fluxvision.jobs.service").JobService(
            found,
            gateway,
            data_dir,
            MediaResults(store, now, clock),
            observer,
            webhooks=sender,
            bucket=store.bucket,
            lines=batches.LinePreparer(state),
            parallel=2 * settings.workers + (settings.remote_parallel if gateway.has_remote else 0),
            now=now,
        )
        return service

    state = AppState(
        gateway=gateway,
        settings=settings,
        probe=read or _probe(settings),
        keys=keys,
        accounts=service,
        media=store,
        pyramids=DeepZoomCache(store),
        memory=BodyMemory(),
        readiness=Readiness(gateway, data_dir, log),
        uploads=UploadLimits(),
        data_dir=data_dir,
        guard=guard or (OPEN if settings.allow_private_urls else Guard()),
        metrics=metrics,
        log=log,
        running=JobTracker(),
        playground=PlaygroundLimits(settings, gateway, now),
        now=now,
        media_clock=clock,
        jobs=LazyJobService(create_jobs),
        mcp=McpSessions(lambda error: log.error("unexpected", trace=observability.format_trace(error))),
        keeps_history=settings.history and bool(settings.data_dir or settings.database_url),
        openapi=openapi.encode_document([row[:3] for row in rows], gateway.models, gateway.providers, settings, keys),
    )

    @asynccontextmanager
    async def lifespan(_app: object) -> AsyncIterator[None]:
        async with AsyncExitStack() as ends:  # each is reached even where another one fails
            ends.enter_context(observability.capture_libraries(state.log))
            ends.enter_context(telemetry)
            ends.callback(data_dir.close)
            ends.push_async_callback(gateway.aclose)
            ends.push_async_callback(state.jobs.close)
            ends.push_async_callback(state.mcp.close)
            if database is not None:
                await state.jobs.get()
            ends.push_async_callback(_cancel_task, asyncio.create_task(_sweep(state)))
            ends.push_async_callback(_cancel_task, asyncio.create_task(_release_memory(state.running)))
            yield

    # They are tried in order: those of the API come first.
    routes = [Route(prefix + path, _Endpoint(state, run), methods=[method]) for method, prefix, path, run in rows]
    routes += [Route(path, _Endpoint(state, run), methods=["GET"]) for path, run in PAGES]
    routes += [Route(path, _Endpoint(state, run), methods=[method]) for method, path, run in PROTOCOLS]
    known = [path for _, path, _ in API]

    async def refuse_unknown(scope: Scope, _receive: Receive, _send: Send) -> None:
        raise address_spellings.unknown_address_error(
            scope, settings.public_url, [path for path in known if "{" not in path]
        )

    router = Router([*routes, *pages], redirect_slashes=False, default=refuse_unknown, lifespan=lifespan)
    cors = CorsPolicy(settings.cors_origins)
    guarded = AuthMiddleware(router, state.keys, settings, cors)
    framed = ErrorMiddleware(guarded, state.log, state.metrics, settings.upload_timeout, cors)
    fixed = [path for _, path, _ in (*SITE, *PROTOCOLS)] + [path for path, run in PAGES if run is models.model_page]
    return App(_Split(address_spellings.PathMiddleware(framed, known, fixed), router), state.running)


class _Endpoint:
    """An ASGI endpoint that calls a handler with the shared state."""

    def __init__(self, state: AppState, handler: Handler) -> None:
        self._run = partial(handler, state)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._run(scope, receive, send)


class _Split:
    """Requests pass all layers; the lifespan goes to the router directly; web sockets are ignored."""

    def __init__(self, framed: ASGIApp, router: Router) -> None:
        self._framed = framed
        self._router = router

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope.setdefault("app", self)  # makes the router raise for a wrong address or method instead of answering
        await (self._router if scope["type"] == "lifespan" else self._framed)(scope, receive, send)


def _open_accounts(database: Database | None, now: Callable[[], float]) -> AccountService | None:
    if database is None:
        return None
    found: AccountService = import_module("fluxvision.accounts.service").AccountService(database, now)
    return found


def _telemetry(settings: Settings, metrics: Metrics) -> AbstractContextManager[None]:
    """Return what exports spans and metrics while the application runs; raises `ConfigError`."""
    if not settings.otlp_endpoint or os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return nullcontext()
    try:
        module = import_module("fluxvision.http.telemetry")
    except ImportError:
        message = "otlp_endpoint: it needs pip install 'fluxvision[otel]'; or unset OTEL_EXPORTER_OTLP_ENDPOINT"
        raise ConfigError(message, param="otlp_endpoint") from None
    module.check_environment()
    found: AbstractContextManager[None] = module.export(settings.otlp_endpoint, metrics.registry)
    return found


def _probe(settings: Settings) -> Probe:
    limits = Limits(bytes=settings.max_upload_bytes, pixels=settings.max_input_pixels, frames=settings.max_frames)

    def read(path: Path, param: str, content: bytes | None) -> InputImage:
        return probe(path, limits, param, content)

    return read


async def _sweep(state: AppState) -> None:
    """Delete expired files periodically; a failed sweep is logged and repeated the next time."""
    while True:
        try:
            await state.media.sweep(state.media_clock())
        except Exception as error:  # noqa: BLE001 - results must not pile up because of one bad moment
            state.log.error("sweep", trace=observability.format_trace(error))  # noqa: TRY400 - its text may hold a path
        await asyncio.sleep(min(SWEEP_SECONDS, state.settings.media_ttl))


async def _release_memory(running: JobTracker) -> None:
    """Return memory to the system after work, once no job runs, and what is free regularly during it."""
    seen, since = 0, time.monotonic()
    while True:
        await asyncio.sleep(IDLE_SECONDS)
        if running.begun == seen:
            since = time.monotonic()
        elif running.is_idle:
            seen = running.begun
            await asyncio.to_thread(release_memory)
        elif time.monotonic() - since >= TRIM_SECONDS:
            await asyncio.to_thread(trim_memory)
            since = time.monotonic()


async def _cancel_task(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
