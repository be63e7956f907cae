"""GET /healthz, /readyz and /metrics."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import msgspec
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from fluxvision.http.responses import (
    Alive,
    ReadinessBody,
)
from fluxvision.http.state import AppState

PATIENCE = 3.0


async def healthz(_state: AppState, scope: Scope, receive: Receive, send: Send) -> None:
    """Report that the process answers."""
    await _json(Alive(status="ok"), 200)(scope, receive, send)


async def readyz(state: AppState, scope: Scope, receive: Receive, send: Send) -> None:
    """Report whether jobs are accepted: not while draining or without a provider, and only if a picture can be made."""
    providers: Mapping[str, bool] = {}
    status = "draining"
    if not state.running.draining:
        try:
            async with asyncio.timeout(PATIENCE):
                failure, providers = await asyncio.gather(state.readiness.failure(), state.gateway.ping())
            status = failure or ("ready" if any(providers.values()) else "no provider is ready")
        except TimeoutError:
            status = f"the checks did not end within {PATIENCE:g} seconds"
    code = 200 if status == "ready" else 503
    await _json(ReadinessBody(status=status, providers=dict(providers)), code)(scope, receive, send)


async def metrics_page(state: AppState, scope: Scope, receive: Receive, send: Send) -> None:
    """Send the metrics in Prometheus' text format."""
    response = Response(state.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")
    await response(scope, receive, send)


def _json(body: Alive | ReadinessBody, status: int) -> Response:
    headers = {"cache-control": "no-store"}
    return Response(msgspec.json.encode(body), status, headers=headers, media_type="application/json")
