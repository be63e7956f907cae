"""AsgiApi: the HTTP API of an ASGI application in this process, called without a connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Any
from urllib.parse import unquote

import anyio
from anyio.streams.memory import MemoryObjectSendStream
from starlette.types import ASGIApp, Message, Receive, Scope

from fluxvision.mcp.api import ApiRefusal, ApiResponse, RequestBody
from fluxvision.mcp.http_api import open_link

HELD = 4
"""Messages of a response that wait to be read; then the application waits."""
END_SECONDS = 5.0
"""Longest wait for the application to end a request whose answer is no longer read."""
INHERITED = ("http_version", "scheme", "server", "client", "root_path")
"""What an inner request has of the one that it is made for."""
PLAIN: Scope = {"http_version": "1.1", "scheme": "http", "server": ("localhost", 80), "client": None, "root_path": ""}

_running: set[asyncio.Task[None]] = set()
"""Requests that end by themselves after nobody reads their answers any more."""


class AsgiApi:
    """The API of an application, with the headers of one caller."""

    def __init__(
        self,
        app: ASGIApp,
        headers: Iterable[tuple[bytes, bytes]],
        outer: Scope = PLAIN,
        *,
        serves_links: bool = True,
    ) -> None:
        """Send `headers`, among them Host, with every request; `outer` is the scope of the request that they are of."""
        self._app = app
        self._headers = [*headers]
        self._outer = {name: outer[name] for name in INHERITED if name in outer}
        self.serves_links = serves_links

    @asynccontextmanager
    async def request(self, method: str, address: str, body: RequestBody | None = None) -> AsyncIterator[ApiResponse]:
        """Make a request; leaving the block before the end is a disconnect, which ends what the request began."""
        if not address.startswith("/"):
            async with open_link(address) as response:
                yield response
            return
        gone = asyncio.Event()
        sink, source = anyio.create_memory_object_stream[Message](HELD)
        task = asyncio.create_task(self._run(self._scope(method, address, body), _receiver(body, gone), sink))
        _running.add(task)
        task.add_done_callback(_running.discard)
        try:
            with source:
                start = await anext(aiter(source), None)
                if start is None:
                    raise ApiRefusal("The server did not answer.")
                names = {name.lower(): value.decode("latin-1") for name, value in start["headers"]}
                yield ApiResponse(start["status"], names.get(b"content-type", ""), _body(source))
        finally:
            gone.set()
        await asyncio.wait({task}, timeout=END_SECONDS)

    def _scope(self, method: str, address: str, body: RequestBody | None) -> Scope:
        path, _, query = address.partition("?")
        headers = [*self._headers]
        if body is not None:
            headers += [(b"content-type", body.content_type.encode()), (b"content-length", b"%d" % body.length)]
        return {
            **self._outer,
            "type": "http",
            "asgi": {"version": "3.0"},
            "method": method,
            "path": unquote(path),
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": headers,
        }

    async def _run(self, scope: Scope, receive: Receive, sink: MemoryObjectSendStream[Message]) -> None:
        async def send(message: Message) -> None:
            with suppress(anyio.BrokenResourceError):  # nobody reads any more
                await sink.send(message)

        async with sink:
            await self._app(scope, receive, send)


def _receiver(body: RequestBody | None, gone: asyncio.Event) -> Receive:
    """Return the `receive` that gives the body, and then waits for the end of the request."""
    left = None if body is None else body.chunks
    ended = False

    async def receive() -> Message:
        nonlocal ended
        if ended:
            await gone.wait()
            return {"type": "http.disconnect"}
        chunk = None if left is None else await anext(left, None)
        ended = chunk is None
        return {"type": "http.request", "body": chunk or b"", "more_body": not ended}

    return receive


async def _body(source: AsyncIterator[Any]) -> AsyncIterator[bytes]:
    """Yield the body; the end is that of the application, which has closed its files by then."""
    async for message in source:
        if message.get("body"):
            yield message["body"]
