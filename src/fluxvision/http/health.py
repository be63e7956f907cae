"""GET /healthz, /readyz and /metrics."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import msgspec
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from fluxvision.http.state import Edge

PATIENCE = 3.0


async def alive(_edge: Edge, scope: Scope, receive: Receive, send: Send) -> None:
    """Say that the process answers."""
    await _json({"status": "ok"}, 200)(scope, receive, send)


async def ready(edge: Edge, scope: Scope, receive: Receive, send: Send) -> None:
    """Say whether work is taken: not while draining, not without a provider, and only if a picture can be made here."""
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
    await _json({"status": status, "providers": dict(providers)}, code)(scope, receive, send)


async def metrics(edge: Edge, scope: Scope, receive: Receive, send: Send) -> None:
    """Send the numbers in Prometheus' text format."""
    response = Response(edge.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")
    await response(scope, receive, send)


def _json(body: dict[str, object], status: int) -> Response:
    headers = {"cache-control": "no-store"}
    return Response(msgspec.json.encode(body), status, headers=headers, media_type="application/json")
