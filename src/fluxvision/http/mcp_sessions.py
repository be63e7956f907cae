"""McpSessions: the MCP server behind /mcp, opened at the first request because importing the SDK takes a second."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, cast

from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from fluxvision.accounts.keys import API_KEY
from fluxvision.core.concurrency import Once
from fluxvision.core.errors import Misconfigured
from fluxvision.mcp.asgi_api import AsgiApi

if TYPE_CHECKING:  # not imported at run time, see above
    from mcp.server import ServerRequestContext
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

MISSING = "This server has no MCP endpoint: install it with pip install 'fluxvision[mcp]'."
INHERITED = frozenset({b"authorization", API_KEY.encode(), b"host", b"origin"})
"""Headers that the tools send on to the API, which checks them again."""
MAX_BODY = 8_000_000
"""Most bytes of a request, because all of it is in memory several times."""


class McpSessions:
    """Serves requests one by one: no session outlives its request, so any server of a cluster can answer."""

    def __init__(self, on_error: Callable[[Exception], None]) -> None:
        """Call `on_error` with unexpected errors."""
        self._on_error = on_error
        self._once = Once(self._open)
        self._ended = asyncio.Event()
        self._running: asyncio.Task[None] | None = None

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; raises `Misconfigured` where the SDK is not installed."""
        manager = await self._once.get()
        await manager.handle_request(scope, receive, send)

    async def close(self) -> None:
        """End all that runs."""
        self._ended.set()
        if self._running is not None:
            await asyncio.wait({self._running})

    async def _open(self) -> StreamableHTTPSessionManager:
        if find_spec("mcp") is None:
            raise Misconfigured(MISSING)
        server, sdk = await asyncio.to_thread(_import_modules)
        manager: StreamableHTTPSessionManager = sdk.StreamableHTTPSessionManager(
            server.create_server(_connect, self._on_error, local=False), stateless=True, max_request_body_size=MAX_BODY
        )
        started = asyncio.Event()

        async def run() -> None:  # a task of its own, because what begins in a task has to end in it
            async with manager.run():
                started.set()
                await self._ended.wait()

        self._running = asyncio.create_task(run())
        await started.wait()
        return manager


def _import_modules() -> tuple[Any, Any]:
    return import_module("fluxvision.mcp.server"), import_module("mcp.server.streamable_http_manager")


def _connect(context: ServerRequestContext[Any]) -> AsgiApi:
    """Return the API of the application that serves a request, with the key of that request."""
    scope = cast("Request", context.request).scope
    headers = [(name, value) for name, value in scope["headers"] if name in INHERITED]
    return AsgiApi(scope["app"], headers, scope)
