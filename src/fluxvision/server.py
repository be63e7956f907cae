"""Serves the ASGI application with an embedded granian server until a signal arrives, then drains it."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvloop
from granian._granian import SocketHolder
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.log import logger as granian_logger
from granian.server.embed import Server

from fluxvision.accounts.keys import check_entries
from fluxvision.core.errors import ConfigError, InternalError
from fluxvision.core.settings import Settings
from fluxvision.core.system import keep_memory, raise_file_limit
from fluxvision.create_gateway import create_gateway
from fluxvision.gateway.gateway import Gateway
from fluxvision.http import App, build
from fluxvision.http.health_listener import HealthListener
from fluxvision.http.middleware import is_loopback
from fluxvision.http.observability import create_logger
from fluxvision.storage.data_dir import DATABASE_FILE, make_private

if TYPE_CHECKING:
    from fluxvision.storage.database import Database

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
CLOSE_SECONDS = 5.0
READ = 512 * 1024
"""Most bytes of an upload that are read at once, because each piece costs an iteration of the event loop.

It is also the longest head of a request: a connection can hold that much memory before it sends a request.
"""
RESERVED_FILES = 512
"""Open files that are not for connections: uploads, calls of providers, weights."""
FILES_PER_CONNECTION = 2
"""A connection and the media file that it sends."""
YOUNG = 10_000
"""New objects after which the garbage collector looks for cycles: a few requests create that many."""

GatewayFactory = Callable[[Settings], Gateway]


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Most open connections, and their timeouts."""

    connections: int = 4096
    """Most connections at once; further ones wait in the kernel's queue."""
    backlog: int = 1024
    """Length of that queue."""
    idle: float = 15.0
    """Timeout in seconds of a request's headers, from the start of the connection or the last response."""

    def allowed(self) -> int:
        """Return how many connections this process can hold, after raising its limit of open files."""
        files = raise_file_limit(FILES_PER_CONNECTION * self.connections + RESERVED_FILES)
        return max(1, min(self.connections, (files - RESERVED_FILES) // FILES_PER_CONNECTION))


DEFAULT_LIMITS = ConnectionLimits()


def create_app(settings: Settings, gateway_factory: GatewayFactory = create_gateway) -> App:
    """Build the ASGI application with its gateway; called inside an event loop."""
    return build(gateway_factory(settings), settings, database=open_database(settings))


def open_database(settings: Settings, *, create: bool = False) -> Database | None:
    """Open the database that is configured, or that is in the data folder already; None where there is none.

    With `create`, or where keys are managed over HTTP, it is made in the data folder if there is one. Importing what it
    needs takes a second, which servers without it need not wait. Raises `ConfigError` where it cannot be used.
    """
    file = Path(settings.data_dir, DATABASE_FILE).expanduser().absolute()
    is_needed = settings.data_dir and (create or settings.admin_key or file.exists())
    if not (settings.database_url or is_needed):
        return None
    module = import_module("fluxvision.storage.database")
    try:
        if not settings.database_url:
            make_private(file.parent)
    except OSError as error:
        message = f"data_dir: the folder cannot be used ({error.strerror})"
        raise ConfigError(message, param="data_dir") from None
    found: Database = module.Database(settings.database_url or module.sqlite_url(file.parent))
    return found


def serve(
    settings: Settings,
    gateway_factory: GatewayFactory = create_gateway,
    announce: Callable[[int], None] = lambda _port: None,
    limits: ConnectionLimits = DEFAULT_LIMITS,
) -> None:
    """Listen until SIGTERM, SIGINT or SIGHUP, let running requests finish, and return.

    `announce` is called with the port as soon as the server listens. Raises `ConfigError` for an address that cannot be
    used.
    """
    check_exposure(settings)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(settings, gateway_factory, announce, limits))


def check_exposure(settings: Settings) -> None:
    """Raise `ConfigError` when everybody could use the server or guess a key, unless the settings allow it."""
    check_entries(settings.api_keys, settings.admin_key)
    if settings.api_keys or settings.admin_key or settings.allow_unauthenticated or is_loopback(settings.host):
        return
    message = (
        f"host: {settings.host} can be reached from other machines and no key is configured; "
        "set FLUXVISION_API_KEYS or FLUXVISION_ADMIN_KEY, or FLUXVISION_ALLOW_UNAUTHENTICATED=true to serve everybody"
    )
    raise ConfigError(message, param="host")


async def _serve(
    settings: Settings, gateway_factory: GatewayFactory, announce: Callable[[int], None], limits: ConnectionLimits
) -> None:
    """Run the embedded server.

    granian's supervisor is not used, because it passes SIGTERM to its worker, which refuses connections at once: probes
    could not see the drain, new callers would get a refused connection instead of a 503, and the worker would be killed
    without cleaning up. Here jobs finish, late ones are cancelled with a response, and only then the server closes. It
    also saves 29 MB.
    """
    log = create_logger(settings.log_level)
    with ExitStack() as ends:
        listener = ends.enter_context(_open_sockets(settings.host, settings.port, "port"))
        listener.listen(limits.backlog)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # ends a connection whose client takes nothing of an answer
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(settings.upload_timeout * 1000))
        port = listener.getsockname()[1]
        health_port = settings.health_port
        probed = ends.enter_context(_open_sockets(settings.host, health_port, "health_port")) if health_port else None
        keep_memory()
        app = create_app(settings, gateway_factory)
        if probed is not None:
            ends.enter_context(HealthListener(app, asyncio.get_running_loop(), probed))
        announce(port)
        server = _Server(app, listener, limits)
        granian_logger.handlers = [_GranianLog(log)]
        gc.freeze()  # what is there by now stays: no collection has to look at it
        gc.set_threshold(YOUNG, *gc.get_threshold()[1:])
        stop, hurry = asyncio.Event(), asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup
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


class _Server(Server):
    """granian's embedded server on a socket that is already open, so that nobody can take the port meanwhile."""

    def __init__(self, app: App, listener: socket.socket, limits: ConnectionLimits) -> None:
        """Serve `app` on `listener`."""
        address, port = listener.getsockname()[:2]
        super().__init__(
            app,
            address=address,
            port=port,
            interface=Interfaces.ASGI,
            http=HTTPModes.http1,
            http1_settings=HTTP1Settings(max_buffer_size=READ, header_read_timeout=round(limits.idle * 1000)),
            backlog=limits.backlog,
            backpressure=limits.allowed(),
            websockets=False,
            log_level=LogLevels.error,
        )
        self._listener = listener

    def _init_shared_socket(self) -> None:
        facts = (self._listener.detach(), False, self.backlog)
        self._shd: Any = SocketHolder(*(facts if sys.platform == "linux" else facts[:2]))


class _GranianLog(logging.Handler):
    """Writes granian's errors as JSON lines: only their first lines, because the trace may quote private text."""

    def __init__(self, log: Any) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        self._log.error("granian", message=record.getMessage().partition("\n")[0])


async def _drain(app: App, patience: float, hurry: asyncio.Event) -> int:
    """Drain the application; cancel jobs at once at a second signal; return the number of cancelled jobs."""
    patient = asyncio.ensure_future(app.drain(patience))
    hurried = asyncio.ensure_future(hurry.wait())
    await asyncio.wait({patient, hurried}, return_when=asyncio.FIRST_COMPLETED)
    hurried.cancel()
    if not patient.done():
        patient.cancel()
        return await app.drain(0)
    return patient.result()


def _open_sockets(host: str, port: int, param: str) -> socket.socket:
    """Return a socket bound to an address and port; port 0 becomes a free one.

    Raises `ConfigError` when that fails, because granian's own message would be a Rust backtrace.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(found[0], socket.SOCK_STREAM)
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            bound.bind(found[4])
            bound.listen()
        except BaseException:
            bound.close()
            raise
    except (OSError, OverflowError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        message = f"host and {param}: {host}:{port} cannot be listened on ({reason}); choose another"
        raise ConfigError(message, param=param) from None
    return bound
