"""The composition root: settings become parts, parts become the ASGI application, and a server runs it."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable
from importlib import import_module

import uvloop
from granian.constants import HTTPModes, Interfaces
from granian.log import LogLevels
from granian.server.embed import Server

from fluxvision import gateway
from fluxvision.config import ConfigError, Settings
from fluxvision.http import App, build
from fluxvision.http.auth import is_loopback
from fluxvision.http.logs import logger
from fluxvision.http.ports import Gateway
from fluxvision.providers import PROVIDERS, Provider

SIGNALS = (signal.SIGTERM, signal.SIGINT)
CLOSE_SECONDS = 5.0

GatewayFactory = Callable[[Settings], Gateway]


def create_gateway(settings: Settings) -> Gateway:
    """Build the gateway with every provider that the settings configure."""
    providers: dict[str, Provider] = {}
    for row in PROVIDERS:
        module, _, attribute = row.entry.partition(":")
        provider = getattr(import_module(module), attribute).from_settings(settings)
        if provider is not None:
            providers[row.name] = provider
    return gateway.Gateway(
        providers,
        workers=settings.workers,
        queue=settings.queue,
        deadline=settings.deadline,
        max_output_pixels=settings.max_output_pixels,
    )


def create_app(settings: Settings, gateway_factory: GatewayFactory = create_gateway) -> App:
    """Build the ASGI application around a gateway; to be called where an event loop runs."""
    return build(gateway_factory(settings), settings)


def serve(settings: Settings, gateway_factory: GatewayFactory = create_gateway) -> None:
    """Listen until SIGTERM or SIGINT, let running requests finish, and return.

    Raises `ConfigError` for an address that may not be listened on.
    """
    check_exposure(settings)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(settings, gateway_factory))


def check_exposure(settings: Settings) -> None:
    """Raise `ConfigError` where everybody could use the server and nobody said that they may."""
    if settings.api_keys or settings.allow_unauthenticated or is_loopback(settings.host):
        return
    message = (
        f"host: {settings.host} can be reached from other machines and no key is configured; "
        "set FLUXVISION_API_KEYS, or FLUXVISION_ALLOW_UNAUTHENTICATED=true to serve everybody"
    )
    raise ConfigError(message, param="host")


async def _serve(settings: Settings, gateway_factory: GatewayFactory) -> None:
    """Run the embedded server.

    Embedded, because granian's supervisor hands SIGTERM to its worker, which stops listening and is killed after a
    while: nobody could still ask /readyz, and a running picture would be lost. In one process the drain is ours: jobs
    finish, probes see it, and only then does the server close. It also saves the supervisor's 30 MB.
    """
    app = create_app(settings, gateway_factory)
    log = logger(settings.log_level)
    port = settings.port or _free_port(settings.host)
    server = Server(
        app,
        address=settings.host,
        port=port,
        interface=Interfaces.ASGI,
        http=HTTPModes.http1,
        websockets=False,
        log_level=LogLevels.error,
    )
    stop, hurry = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in SIGNALS:
        loop.add_signal_handler(number, lambda: hurry.set() if stop.is_set() else stop.set())
    serving = asyncio.ensure_future(server.serve())
    log.info("listening", url=f"http://{_shown(settings.host)}:{port}")
    stopping = asyncio.ensure_future(stop.wait())
    await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if not serving.done():
        log.info("draining", seconds=settings.drain_timeout)
        cancelled = await _drain(app, settings.drain_timeout, hurry)
        server.stop()  # type: ignore[no-untyped-call]
        await asyncio.wait({serving}, timeout=CLOSE_SECONDS)
        log.info("stopped", cancelled=cancelled)
    stopping.cancel()
    if serving.done():
        serving.result()


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


def _free_port(host: str) -> int:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host
