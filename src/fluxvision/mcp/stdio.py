"""Serves MCP on standard input and output, with the API in this process or on another server."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, BinaryIO, Protocol, Self, cast

import anyio
from mcp.server import Server
from mcp.server.stdio import stdio_server
from starlette.types import Message, Receive, Scope, Send

from fluxvision.mcp.asgi_api import AsgiApi
from fluxvision.mcp.http_api import HttpApi
from fluxvision.mcp.server import create_server

HOST = b"localhost"
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
DRAIN_SECONDS = 5.0
"""Seconds in which jobs end after the client has gone; they are cancelled by then."""


class Application(Protocol):
    """The ASGI application of `fluxvision serve`."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or the lifespan."""

    async def drain(self, patience: float) -> int:
        """End all jobs within so many seconds."""


async def serve_local(app: Application, key: str) -> None:
    """Serve until standard input ends, with an application that listens nowhere."""
    headers = [(b"host", HOST), *([(b"authorization", b"Bearer " + key.encode())] if key else [])]
    api = AsgiApi(app, headers, serves_links=False)
    async with running_app(app):
        try:
            await _serve(create_server(lambda _context: api, _report, local=True))
        finally:
            await app.drain(DRAIN_SECONDS)


async def serve_remote(server: str, key: str) -> None:
    """Serve until standard input ends, with the API of another server."""
    async with HttpApi(server, key) as api:
        await _serve(create_server(lambda _context: api, _report, local=True))


async def _serve(server: Server[Any]) -> None:
    lines = _InputLines()
    for number in SIGNALS:
        asyncio.get_running_loop().add_signal_handler(number, lines.end)
    async with stdio_server(cast("anyio.AsyncFile[str]", lines)) as (source, sink):
        await server.run(source, sink, server.create_initialization_options())


class _InputLines:
    """The lines of standard input until it ends or a signal arrives.

    The SDK's own reader waits for the next line whatever happens, so that Ctrl-C would not end the process.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._lines: asyncio.Queue[str | None] = asyncio.Queue()
        file = os.fdopen(os.dup(0), "rb", closefd=False)
        threading.Thread(target=self._read, args=(file,), daemon=True).start()

    def end(self) -> None:
        """End after the lines that are there."""
        self._lines.put_nowait(None)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str:
        line = await self._lines.get()
        if line is None:
            raise StopAsyncIteration
        return line

    def _read(self, file: BinaryIO) -> None:
        with suppress(RuntimeError, OSError):  # the loop is closed
            for line in file:
                self._loop.call_soon_threadsafe(self._lines.put_nowait, line.decode("utf-8", "replace"))
            self._loop.call_soon_threadsafe(self.end)


def _report(error: Exception) -> None:
    """Say on standard error what kind of error it was; its text may quote a prompt or a path."""
    print(f"Error: {type(error).__qualname__}", file=sys.stderr)  # noqa: T201, standard output is the protocol's


@asynccontextmanager
async def running_app(app: Application) -> AsyncIterator[None]:
    """Start an application, and end it."""
    events: asyncio.Queue[Message] = asyncio.Queue()
    started = asyncio.Event()

    async def send(message: Message) -> None:
        if message["type"] == "lifespan.startup.complete":
            started.set()

    await events.put({"type": "lifespan.startup"})
    running = asyncio.create_task(app({"type": "lifespan", "asgi": {"version": "3.0"}}, events.get, send))
    waiting = asyncio.create_task(started.wait())
    await asyncio.wait({running, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if running.done():
        running.result()  # raises why it did not start
    try:
        yield
    finally:
        await events.put({"type": "lifespan.shutdown"})
        with suppress(asyncio.CancelledError):
            await running
