"""The Ray Serve app: replicas that make tiles behind an HTTP address. Only this module imports Ray.

One replica per GPU where FLUX is configured, else per processor core. Ray places, starts, watches and restarts them,
starts more where requests wait, and divides them fairly. `serve.batch` is not used: a request is a batch already, and
tiles of different jobs have different seeds and prompts.

    serve run fluxvision.engine.executors.deployment:app      # or: fluxvision cluster serve
"""

from __future__ import annotations

import asyncio
import hmac
import os
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Protocol

import msgspec
import ray
from ray import serve
from ray.serve.config import RequestRouterConfig
from ray.serve.request_router import FIFOMixin, PendingRequest, RequestRouter, RunningReplica
from starlette.requests import Request
from starlette.responses import Response

from fluxvision import __version__
from fluxvision.core.errors import Cancelled, Error, Unavailable
from fluxvision.core.load_settings import load_settings
from fluxvision.core.settings import Settings
from fluxvision.engine.backends.registry import BY_NAME, Detailer, load_backend
from fluxvision.engine.executors.messages import (
    LIMIT,
    Deployment,
    EngineInfo,
    Failure,
    TileReply,
    TileRequest,
    decode,
    encode,
)
from fluxvision.engine.executors.ray_serve import OTHER
from fluxvision.engine.resample import Array, one_blas_thread
from fluxvision.engine.tile_inference import Stop, make_batch

PATIENCE = 1800.0
"""Seconds that loading, compiling, or one step on a processor may take before a replica is taken for hung."""
AHEAD = 2
"""Requests at a replica: while one is made, the next one's pixels arrive."""
REPLICAS = 100
NAME = "fluxvision"
WRONG = "The replicas on the cluster have not all the same weights."
STATUS = {"unavailable": 409, "memory": 507, "failed": 500}


class ServedEngine(Protocol):
    """An engine as a replica runs it. `info` is what it runs."""

    info: EngineInfo

    def backend(self, options: bytes, stop: Stop) -> Detailer:
        """Return the backend of a request. Raises `msgspec.DecodeError` where its options are none."""
        ...


class EmbeddedOptions(msgspec.Struct, frozen=True):
    """Which row of the backends makes the tiles."""

    name: str


class EmbeddedEngine:
    """The networks of this package."""

    def __init__(self, _settings: Settings) -> None:
        """Load nothing yet."""
        self.info = EngineInfo()

    def backend(self, options: bytes, stop: Stop) -> Detailer:
        """Return a backend, loaded once. A replica has one core."""
        stop()
        name = msgspec.msgpack.decode(options, type=EmbeddedOptions).name
        if name not in BY_NAME:
            raise Unavailable("The cluster's deployment has no such engine.")
        return load_backend(name, 1)


ENGINES: Mapping[str, str] = {"embedded": f"{__name__}:EmbeddedEngine"}
FLUX: Mapping[str, str] = {"flux": "fluxvision.engine.flux.remote:FluxEngine"}


@dataclass(frozen=True, slots=True)
class Config:
    """What a replica runs: engines by name, each "module:class" made of the settings."""

    settings: Settings
    engines: Mapping[str, str] = field(default_factory=lambda: ENGINES)
    patience: float = PATIENCE


class Replica:
    """Makes tiles, one batch at a time."""

    def __init__(self, config: Config) -> None:
        """Load all engines; what cannot be loaded is told to whoever asks for it."""
        one_blas_thread()
        self._config = config
        self._engines: dict[str, ServedEngine] = {}
        self._failed: dict[str, str] = {}
        for name, entry in config.engines.items():
            module, _, attribute = entry.partition(":")
            try:
                self._engines[name] = getattr(import_module(module), attribute)(config.settings)
            except Unavailable as reason:
                self._failed[name] = reason.message
        self._pool = ThreadPoolExecutor(1)
        self._began: float | None = None

    async def __call__(self, request: Request) -> Response:
        """Answer GET with what is deployed, and POST with tiles."""
        token = self._config.settings.cluster_token
        given = request.headers.get("authorization", "")
        if token and not hmac.compare_digest(given.encode(), f"Bearer {token}".encode()):
            return Response(status_code=401)
        if request.method == "GET":
            engines = {name: engine.info for name, engine in self._engines.items()}
            return _reply(Deployment(__version__, engines, self._failed))
        body = bytearray()
        async for part in request.stream():
            body += part
            if len(body) > LIMIT:
                return _reply(Failure("unavailable", "The request is too large for the cluster."))
        ended = threading.Event()
        try:
            return _reply(
                await asyncio.get_running_loop().run_in_executor(self._pool, self._answer, bytes(body), ended)
            )
        except asyncio.CancelledError:  # whoever asked has gone
            ended.set()
            raise

    async def check_health(self) -> None:
        """Raise where the batch that is made has given no sign of life for too long: Ray starts another replica."""
        began = self._began
        if began is not None and time.monotonic() - began > self._config.patience:
            raise RuntimeError("A batch hangs.")

    def _answer(self, body: bytes, ended: threading.Event) -> TileReply | Failure:
        def stop() -> None:
            self._began = time.monotonic()
            if ended.is_set():
                raise Cancelled("The work was cancelled.")

        try:
            stop()
            return TileReply(self._make(body, stop))
        except (msgspec.DecodeError, ValueError) as reason:
            return Failure("failed", _sentence(reason, "The cluster could not make a part of the picture."))
        except MemoryError:
            return Failure("memory", "There is no room for a single tile.")
        except Unavailable as reason:
            return Failure("unavailable", reason.message)
        except Exception as reason:  # noqa: BLE001, all of them belong to whoever asked
            memory = "out of memory" in str(reason).lower()
            return Failure("memory" if memory else "failed", _sentence(reason, "The engine failed on the cluster."))
        finally:
            self._began = None

    def _make(self, body: bytes, stop: Stop) -> list[Array]:
        version = decode(body, _Versioned).version
        if version != __version__:
            raise Unavailable(OTHER.format(theirs=__version__, ours=version))
        request = decode(body, TileRequest)
        engine = self._engines.get(request.engine)
        if engine is None:
            raise Unavailable(self._failed.get(request.engine, "The cluster's deployment has no such engine."))
        if request.weights and request.weights != engine.info.weights:
            raise Unavailable(WRONG)
        return make_batch(request.batch, engine.backend(bytes(request.options), stop), stop)


class _Versioned(msgspec.Struct):
    """A request, of which nothing else is known."""

    version: str = ""


def _sentence(reason: Exception, plain: str) -> str:
    return reason.message if isinstance(reason, Error) else plain


def _reply(message: TileReply | Failure | Deployment) -> Response:
    if isinstance(message, Failure):
        return Response(encode(message), STATUS[message.kind], {"X-Fluxvision-Failure": message.kind})
    return Response(encode(message), media_type="application/msgpack")


class ShortestQueueRouter(FIFOMixin, RequestRouter):
    """Sends each request to the replica with the fewest requests.

    Ray's own router looks at two replicas chosen at random and waits before it looks again. That leaves replicas idle
    while requests wait, and a request here takes long enough to look at all of them. Each request begins to look at
    another replica, so that requests that come together do not all choose the same one.
    """

    def initialize_state(self, **_settings: Any) -> None:
        """Begin with the first replica; Ray calls this once."""
        self._begun = 0

    async def choose_replicas(
        self,
        candidate_replicas: list[RunningReplica],
        pending_request: PendingRequest | None = None,  # noqa: ARG002, the signature is that of Ray
    ) -> list[list[RunningReplica]]:
        """Return all replicas as one rank: the router takes the first of those with the shortest queue."""
        self._begun = (self._begun + 1) % max(1, len(candidate_replicas))
        return [[*candidate_replicas[self._begun :], *candidate_replicas[: self._begun]]]


def create_app(config: Config, *, replicas: int = REPLICAS, cpus: float = 1, gpus: float = 0, least: int = 1) -> Any:
    """Return the app: up to so many replicas with so many cores and GPUs each."""
    routing: dict[str, Any] = {"request_router_class": ShortestQueueRouter, "max_backoff_s": 0.05}
    deployment: Any = serve.deployment(
        name=NAME,
        ray_actor_options={"num_cpus": cpus, "num_gpus": gpus},
        max_ongoing_requests=AHEAD,
        request_router_config=RequestRouterConfig(**routing),
        autoscaling_config={
            "min_replicas": least,
            "initial_replicas": least,
            "max_replicas": max(replicas, least),
            "target_ongoing_requests": 1,
            "upscale_delay_s": 2,
            "downscale_delay_s": 300,
        },
        health_check_period_s=5,
        health_check_timeout_s=30,
        graceful_shutdown_timeout_s=5,
    )(Replica)
    return deployment.bind(config)


def app(arguments: Mapping[str, str]) -> Any:
    """Return the app that the settings of this environment mean; `replicas=8` is the most of them."""
    settings = load_settings()
    flux = bool(settings.flux_model)
    gpus = float(flux and settings.flux_device not in {"cpu", "mps"})
    engines = {**ENGINES, **(FLUX if flux else {})}
    return create_app(Config(settings, engines), replicas=int(arguments.get("replicas", REPLICAS)), gpus=gpus)


def run(application: Any, host: str, port: int, *, blocking: bool = True) -> None:
    """Serve an app at http://host:port/fluxvision, on the cluster that this machine is of, else on one of its own."""
    if not ray.is_initialized():
        ray.init(address=os.environ.get("RAY_ADDRESS"), log_to_driver=False)
    serve.start(proxy_location="EveryNode", http_options={"host": host, "port": port})
    serve.run(application, name=NAME, route_prefix=f"/{NAME}", blocking=blocking)
