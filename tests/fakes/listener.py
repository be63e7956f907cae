"""A listener that ends without losing the connection it is just accepting."""

from __future__ import annotations

import asyncio
import socket

from aiohttp import web

TURNS = 4  # an accepted socket has its transport and its protocol after three


async def listening(runner: web.AppRunner, port: int) -> socket.socket:
    """Have an application listen on loopback; returns its socket."""
    listener = socket.create_server(("127.0.0.1", port))
    await runner.setup()
    await web.SockSite(runner, listener).start()
    return listener


async def end(runner: web.AppRunner, listener: socket.socket) -> None:
    """Accept nothing more, then close the listener and all connections.

    Python 3.11's asyncio cannot close a server between `accept` and the making of the transport: the transport fails,
    is never closed, and its ResourceWarning comes in whatever test runs when it is collected.
    """
    asyncio.get_running_loop().remove_reader(listener)
    for _ in range(TURNS):
        await asyncio.sleep(0)
    await runner.cleanup()
