"""/healthz and /readyz on a further port, in a separate thread, so that connections to the API cannot block probes."""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import Any, Self

from starlette.types import ASGIApp, Message

CONNECTIONS = 32
"""Most connections at once; a further one closes the oldest."""
READ_SECONDS = 2.0
"""Timeout for receiving a request, and for sending the response."""
ANSWER_SECONDS = {"/healthz": 2.0, "/health": 2.0, "/readyz": 5.0}
"""Timeout for the event loop of the API; after that, the response is 503."""
HEAD_BYTES = 8192
STATUS = {200: "OK", 400: "Bad Request", 404: "Not Found", 503: "Service Unavailable"}
LATE = 503, b'{"status":"the server does not respond"}'
UNKNOWN = 404, b'{"status":"this port has /healthz and /readyz only"}'
MALFORMED = 400, b'{"status":"the request cannot be understood"}'

Answer = tuple[int, bytes]


class HealthListener:
    """Answers probes from a thread with its own event loop, which asks the application in the main one."""

    def __init__(self, app: ASGIApp, main: asyncio.AbstractEventLoop, listener: socket.socket) -> None:
        """Answer the connections of `listener` from `app`, which runs in the event loop `main`."""
        self._app = app
        self._main = main
        self._listener = listener
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._writers: list[asyncio.StreamWriter] = []
        self._thread = threading.Thread(target=self._run, name="health", daemon=True)

    def __enter__(self) -> Self:
        """Start listening."""
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        """Stop listening, and end the thread."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(READ_SECONDS)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._connected, sock=self._listener, limit=HEAD_BYTES)
        await self._stop.wait()
        server.close()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        if len(self._writers) > CONNECTIONS:
            self._writers.pop(0).transport.abort()
        try:
            async with asyncio.timeout(READ_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
            status, body = await self._answer(head)
            writer.write(
                f"HTTP/1.1 {status} {STATUS.get(status, 'Error')}\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(body)}\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n".encode()
            )
            writer.write(b"" if head.startswith(b"HEAD ") else body)
            async with asyncio.timeout(READ_SECONDS):
                await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            writer.transport.abort()
        finally:
            if writer in self._writers:
                self._writers.remove(writer)
            writer.close()

    async def _answer(self, head: bytes) -> Answer:
        words = head.split(b"\r\n", 1)[0].split(b" ")
        if len(words) != 3 or words[0] not in {b"GET", b"HEAD"}:  # noqa: PLR2004, method, target and version
            return MALFORMED
        path = words[1].decode("latin-1").partition("?")[0]
        if path not in ANSWER_SECONDS:
            return UNKNOWN
        asked = asyncio.run_coroutine_threadsafe(ask_server(self._app, path), self._main)
        try:
            async with asyncio.timeout(ANSWER_SECONDS[path]):
                return await asyncio.wrap_future(asked)
        except TimeoutError:
            return LATE


async def ask_server(app: ASGIApp, path: str) -> Answer:
    """Return status and body of a GET of `path` from the application itself, without a connection."""
    status, body = 0, b""
    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [(b"host", b"localhost")],
    }

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        nonlocal status, body
        status = message.get("status", status)
        body += message.get("body", b"")

    await app(scope, receive, send)
    return status, body
