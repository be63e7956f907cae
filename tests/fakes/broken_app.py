"""Handlers that break ASGI's rules, below /broken/, behind the fake gateway: what the server makes of them."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from fakes.gateway import limits, make
from fluxvision import server
from fluxvision.core.load_settings import load_settings
from fluxvision.http import build

PRIVATE = "/home/somebody/prompt"
SEEN: list[str] = []
"""What `receive` gave after the client had gone."""


def start(status: int = 200, headers: Iterable[tuple[bytes, bytes]] = ()) -> Message:
    """Return the start of an answer."""
    return {"type": "http.response.start", "status": status, "headers": list(headers)}


def body(content: bytes = b"x", *, more: bool = False) -> Message:
    """Return a piece of its body."""
    return {"type": "http.response.body", "body": content, "more_body": more}


def length(announced: bytes) -> list[tuple[bytes, bytes]]:
    """Return a Content-Length header."""
    return [(b"content-length", announced)]


MESSAGES: dict[str, tuple[Message, ...]] = {
    "nothing": (),
    "start_alone": (start(),),
    "body_without_start": (body(),),
    "unknown_message": ({"type": "http.nonsense"},),
    "status_0": (start(0), body()),
    "status_100": (start(100), body()),
    "status_1000": (start(1000), body()),
    "newline_in_value": (start(headers=[(b"x-a", b"a\r\nb: c")]), body()),
    "newline_in_name": (start(headers=[(b"x a\n", b"a")]), body()),
    "body_too_short": (start(headers=length(b"20")), body(b"abc")),
    "body_too_long": (start(headers=length(b"2")), body(b"abc")),
    "length_no_number": (start(headers=length(b"abc")), body(b"abc")),
    "two_lengths": (start(headers=[*length(b"1"), *length(b"2")]), body(b"a")),
}
RAISES: dict[str, tuple[Message, ...]] = {
    "before_start": (),
    "after_start": (start(headers=length(b"10")),),
    "after_body": (start(headers=length(b"10")), body(b"abc", more=True)),
    "after_body_without_length": (start(), body(b"abc", more=True)),
}
BIG = 8_000_000


class Handler:
    """Sends messages, and raises afterwards where it shall."""

    def __init__(self, messages: tuple[Message, ...], *, raises: bool) -> None:
        """Keep what is sent."""
        self._messages = messages
        self._raises = raises

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        """Answer one request."""
        for message in self._messages:
            await send({**message})
        if self._raises:
            raise ZeroDivisionError(PRIVATE)


class Endpoint:
    """A function as an ASGI application: Starlette would take the function for a handler of its own kind."""

    def __init__(self, run: Callable[[Scope, Receive, Send], Awaitable[None]]) -> None:
        """Keep the function."""
        self._run = run

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        await self._run(scope, receive, send)


async def receive_after_disconnect(_scope: Scope, receive: Receive, _send: Send) -> None:
    """Ask three times more after the client has gone."""
    message = await receive()
    while message["type"] != "http.disconnect":
        message = await receive()
    SEEN.extend([(await receive())["type"] for _ in range(3)])


async def seen(_scope: Scope, _receive: Receive, send: Send) -> None:
    """Tell what was seen then."""
    await send(start())
    await send(body(",".join(SEEN).encode()))


async def big(_scope: Scope, _receive: Receive, send: Send) -> None:
    """Send an answer in one piece that fits no buffer."""
    await send(start(headers=length(str(BIG).encode())))
    await send(body(bytes(BIG)))


async def leave(_scope: Scope, _receive: Receive, _send: Send) -> None:
    """Raise what is no `Exception`."""
    raise SystemExit(PRIVATE)


async def stuck(_scope: Scope, _receive: Receive, send: Send) -> None:
    """Block the event loop for some seconds, a moment later."""
    asyncio.get_running_loop().call_later(0.1, time.sleep, 4)
    await send(start())
    await send(body())


def pages() -> list[Route]:
    """Return one route for each."""
    found: dict[str, Any] = {name: Handler(messages, raises=False) for name, messages in MESSAGES.items()}
    found |= {name: Handler(messages, raises=True) for name, messages in RAISES.items()}
    found |= {run.__name__: Endpoint(run) for run in (receive_after_disconnect, seen, big, leave, stuck)}
    return [Route(f"/broken/{name}", run, methods=["GET", "POST"]) for name, run in found.items()]


if __name__ == "__main__":
    server.create_app = lambda settings, factory: build(factory(settings), settings, pages=pages())
    server.serve(load_settings(dict(os.environ)), make, limits=limits())
