"""FLUX on a cluster: the gateway's proxy for networks on replicas, and the engine that a replica runs.

Importable without torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import msgspec

from fluxvision.core.errors import Unavailable
from fluxvision.core.settings import Settings
from fluxvision.engine.backends.registry import Detailer
from fluxvision.engine.executors.messages import EngineInfo
from fluxvision.engine.executors.ray_serve import RayServe, RayServeExecutor
from fluxvision.engine.flux import weights
from fluxvision.engine.flux.memory_budget import device_budget
from fluxvision.engine.flux.networks import load_networks
from fluxvision.engine.flux.options import AccelerationConfig, SamplingOptions
from fluxvision.engine.flux.registry import BY_NAME, FluxRow
from fluxvision.engine.tile_inference import Stop

ENGINE = "flux"
NOT_LOADED = "FLUX could not be loaded: flux_device does not exist here, has no room, or the weights are damaged."
SAMPLES, BLOCK = 16, 65_536
"""Number and size of the blocks of each file that the digest of weights reads: a file has up to 24 GB."""


class FluxOptions(msgspec.Struct, frozen=True):
    """The scale factor and the sampling options of a job's tiles.

    The prompt is sent as text, and each replica caches its embedding, because a gateway has no networks.
    """

    factor: int
    sampling: SamplingOptions


@dataclass(frozen=True, slots=True, eq=False)
class RemoteNetworks:
    """Networks that the replicas of a cluster have loaded."""

    cluster: RayServe
    info: EngineInfo

    @property
    def accelerations(self) -> dict[str, str]:
        """The state of the accelerations on the replicas."""
        return self.info.accelerations

    def executor(self, factor: int, sampling: SamplingOptions) -> RayServeExecutor:
        """Return the executor of a job; every replica must have the weights of `info`."""
        return self.cluster.executor(ENGINE, FluxOptions(factor, sampling), self.info.weights)

    def close(self) -> None:
        """Do nothing: the networks belong to the cluster."""


def find_remote(cluster: RayServe, row: FluxRow, model: str, revision: str | None) -> RemoteNetworks:
    """Return the networks of a cluster.

    Raises `Unavailable` naming the setting when they have another row, name or revision.
    """
    info = cluster.describe(ENGINE)
    name = weights_name(model)
    if info.row != row.name or info.name != name or (revision is not None and info.revision != revision):
        theirs, ours = f"{info.row} of {info.name}", f"{row.name} of {name}"
        message = f"The cluster has the weights {theirs}, this server's settings name {ours}, or another revision."
        raise Unavailable(message, param="cluster")
    return RemoteNetworks(cluster, info)


class FluxEngine:
    """FLUX on a replica: loaded once, on the first device that the replica sees."""

    def __init__(self, settings: Settings) -> None:
        """Load the networks of the settings; raises `Unavailable` on failure."""
        row = BY_NAME[settings.flux_engine]
        speed = AccelerationConfig(compile=settings.flux_compile, fp8=settings.flux_fp8)
        found = weights.find_weights(row, settings.flux_model, settings.flux_revision or None)
        try:
            self._networks = load_networks(
                row, found, device=settings.flux_device, speed=speed, agreed=settings.flux_licence_agreed
            )
        except Unavailable:
            raise
        except Exception as reason:  # whatever foreign code says of a broken file, driver or package
            raise Unavailable(NOT_LOADED) from reason
        self._budget = device_budget(self._networks)
        folders = [found] if row.control is None else [found, weights.control_folder(row, found)]
        named = Path(settings.flux_model).expanduser().is_dir()
        self.info = EngineInfo(
            row=row.name,
            name=weights_name(settings.flux_model),
            revision=None if named else found.name,
            weights=digest_weights(folders, f"{row.name} {self._networks.dtype} {speed.fp8}"),
            accelerations=dict(self._networks.accelerations),
        )

    def backend(self, options: bytes, stop: Stop) -> Detailer:
        """Return the detailer of a request."""
        from fluxvision.engine.flux.backend import FluxDetailer  # noqa: PLC0415, PyTorch takes seconds

        wanted = msgspec.msgpack.decode(options, type=FluxOptions)
        return FluxDetailer(self._networks, wanted.factor, wanted.sampling, stop, 1, budget=self._budget)


def weights_name(model: str) -> str:
    """Return the name of weights without a path: the folder's name, or the repository."""
    folder = Path(model).expanduser()
    return folder.resolve().name if folder.is_dir() or folder.is_absolute() else model


def digest_weights(folders: Sequence[Path], facts: str) -> str:
    """Return a digest of weights that is the same on all machines: names, sizes and samples of all files."""
    digest = blake2b(facts.encode(), digest_size=20)
    for number, folder in enumerate(folders):
        for path in sorted(one for one in folder.rglob("*") if one.suffix in {".safetensors", ".json"}):
            size = path.stat().st_size
            digest.update(f"{number} {path.relative_to(folder)} {size}\n".encode())
            with path.open("rb") as file:
                for start in sorted({size * at // SAMPLES for at in range(SAMPLES)}):
                    file.seek(start)
                    digest.update(file.read(BLOCK))
    return digest.hexdigest()
