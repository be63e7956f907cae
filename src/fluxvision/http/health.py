"""GET /v1/page (facts for the page), /healthz, /readyz and /metrics."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import lru_cache

import msgspec
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from fluxvision import __version__
from fluxvision.core.money import to_dollars
from fluxvision.http.responses import (
    Alive,
    GalleryPicture,
    PageBudget,
    PageExample,
    PageFacts,
    PageLimits,
    ReadinessBody,
)
from fluxvision.http.site import DATA
from fluxvision.http.state import AppState

EXAMPLES, GALLERY = DATA / "examples.json", DATA / "gallery.json"


async def page_facts(edge: AppState, scope: Scope, receive: Receive, send: Send) -> None:
    """Send this server's limits, the page's budget, and the example pictures."""
    playground, settings = edge.playground, edge.settings
    examples, gallery = _gallery()
    body = PageFacts(
        version=__version__,
        playground=playground.open,
        keys=edge.keys.required,
        budget=PageBudget(
            spends=playground.open and playground.budget.per_day > 0,
            per_request=to_dollars(playground.budget.left(edge.now())),
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


@lru_cache(maxsize=1)
def _gallery() -> tuple[list[PageExample], dict[str, list[GalleryPicture]]]:
    examples = msgspec.json.decode(EXAMPLES.read_bytes(), type=list[PageExample])
    return examples, msgspec.json.decode(GALLERY.read_bytes(), type=dict[str, list[GalleryPicture]])


PATIENCE = 3.0


async def healthz(_edge: AppState, scope: Scope, receive: Receive, send: Send) -> None:
    """Report that the process answers."""
    await _json(Alive(status="ok"), 200)(scope, receive, send)


async def readyz(edge: AppState, scope: Scope, receive: Receive, send: Send) -> None:
    """Report whether jobs are accepted: not while draining or without a provider, and only if a picture can be made."""
    providers: Mapping[str, bool] = {}
    status = "draining"
    if not edge.running.draining:
        try:
            async with asyncio.timeout(PATIENCE):
                failure, providers = await asyncio.gather(edge.readiness.failure(), edge.gateway.ping())
            status = failure or ("ready" if any(providers.values()) else "no provider is ready")
        except TimeoutError:
            status = f"the checks did not end within {PATIENCE:g} seconds"
    code = 200 if status == "ready" else 503
    await _json(ReadinessBody(status=status, providers=dict(providers)), code)(scope, receive, send)


async def metrics_page(edge: AppState, scope: Scope, receive: Receive, send: Send) -> None:
    """Send the metrics in Prometheus' text format."""
    response = Response(edge.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")
    await response(scope, receive, send)


def _json(body: Alive | ReadinessBody, status: int) -> Response:
    headers = {"cache-control": "no-store"}
    return Response(msgspec.json.encode(body), status, headers=headers, media_type="application/json")
