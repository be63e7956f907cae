"""Serving: the gateway behind the ASGI application, run by an embedded server until it is told to stop."""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
from collections.abc import Callable

import uvloop
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.server.embed import Server

from fluxvision.app import create_gateway
from fluxvision.config import ConfigError, Settings
from fluxvision.errors import InternalError
from fluxvision.http import App, build
from fluxvision.http.auth import is_loopback
from fluxvision.http.logs import logger
from fluxvision.http.ports import Gateway
from fluxvision.machine import keep_memory

SIGNALS = (signal.SIGTERM, signal.SIGINT)
CLOSE_SECONDS = 5.0
READ = 1024 * 1024
"""Bytes of an upload that are read at once, at most: each piece costs a turn of the event loop."""
YOUNG = 10_000
"""So many new objects, and the collector looks for cycles among them: a few requests make that many."""

GatewayFactory = Callable[[Settings], Gateway]


def create_app(settings: Settings, gateway_factory: GatewayFactory = create_gateway) -> App:
    """Build the ASGI application around a gateway; to be called where an event loop runs."""
    return build(gateway_factory(settings), settings)


def serve(
    settings: Settings,
    gateway_factory: GatewayFactory = create_gateway,
    announce: Callable[[int], None] = lambda _port: None,
) -> None:
    """Listen until SIGTERM or SIGINT, let running requests finish, and return.

    `announce` is told the port as soon as the server has it. Raises `ConfigError` for an address that may not be
    listened on.
    """
    check_exposure(settings)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(settings, gateway_factory, announce))


def check_exposure(settings: Settings) -> None:
    """Raise `ConfigError` where everybody could use the server and nobody said that they may."""
    if settings.api_keys or settings.allow_unauthenticated or is_loopback(settings.host):
        return
    message = (
        f"host: {settings.host} can be reached from other machines and no key is configured; "
        "set FLUXVISION_API_KEYS, or FLUXVISION_ALLOW_UNAUTHENTICATED=true to serve everybody"
    )
    raise ConfigError(message, param="host")


async def _serve(settings: Settings, gateway_factory: GatewayFactory, announce: Callable[[int], None]) -> None:
    """Run the embedded server.

    Embedded, because granian's supervisor passes SIGTERM to its worker, which at once refuses connections: running
    requests finish, but no probe can see the drain, new callers get a refused connection instead of a 503, and its
    only patience is a kill, after which nothing is cleaned up. In one process the drain is ours: jobs finish, late
    ones are cancelled with an answer, and only then does the server close. It also saves the supervisor's 29 MB.
    """
    address, port = _claim(settings.host, settings.port)
    keep_memory()
    app = create_app(settings, gateway_factory)
    announce(port)
    log = logger(settings.log_level)
    server = Server(
        app,
        address=address,
        port=port,
        interface=Interfaces.ASGI,
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(max_buffer_size=READ),
        websockets=False,
        log_level=LogLevels.error,
    )
    gc.freeze()  # what is there by now stays: no collection has to look at it
    gc.set_threshold(YOUNG, *gc.get_threshold()[1:])
    stop, hurry = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in SIGNALS:
        loop.add_signal_handler(number, lambda: hurry.set() if stop.is_set() else stop.set())
    shown = f"[{settings.host}]" if ":" in settings.host else settings.host
    server.on_startup(lambda: log.info("listening", url=f"http://{shown}:{port}"))
    serving = asyncio.ensure_future(server.serve())
    stopping = asyncio.ensure_future(stop.wait())
    await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if serving.done():
        serving.result()
        raise InternalError("The server ended by itself.")
    log.info("draining", seconds=settings.drain_timeout)
    cancelled = await _drain(app, settings.drain_timeout, hurry)
    server.stop()  # type: ignore[no-untyped-call]
    await asyncio.wait({serving}, timeout=CLOSE_SECONDS)
    log.info("stopped", cancelled=cancelled)


async def _drain(app: App, patience: float, hurry: asyncio.Event) -> int:
    """Drain, or at a second signal cancel at once; return how many jobs were cancelled."""
    patient = asyncio.ensure_future(app.drain(patience))
    hurried = asyncio.ensure_future(hurry.wait())
    await asyncio.wait({patient, hurried}, return_when=asyncio.FIRST_COMPLETED)
    hurried.cancel()
    if not patient.done():
        patient.cancel()
        return await app.drain(0)
    return patient.result()


def _claim(host: str, port: int) -> tuple[str, int]:
    """Return the address and port to listen on; a port of 0 becomes a free one.

    Raises `ConfigError` where nobody can listen there: the server's own message would be a Rust backtrace.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(found[0], socket.SOCK_STREAM) as claimed:
            claimed.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            claimed.bind(found[4])
            claimed.listen(1)
            name = claimed.getsockname()
    except (OSError, OverflowError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        message = f"host and port: {host}:{port} cannot be listened on ({reason}); choose another"
        raise ConfigError(message, param="port") from None
    return str(name[0]), int(name[1])
