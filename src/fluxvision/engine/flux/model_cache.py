"""Loads the networks and the captioner of the provider `flux` once, on each of its devices."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from fluxvision.core.errors import Unavailable, UpstreamRefused
from fluxvision.engine.executors.ray_serve import RayServe
from fluxvision.engine.flux.memory_budget import BATCH, FallbackStep, MemoryBudget, device_budget
from fluxvision.engine.flux.options import AccelerationConfig
from fluxvision.engine.flux.registry import CAPTIONERS_BY_NAME, FluxRow, licence_notice
from fluxvision.engine.flux.remote import NOT_LOADED, RemoteNetworks, find_remote

if TYPE_CHECKING:  # PyTorch is an extra, and takes seconds to import
    from fluxvision.engine.flux.captioner import Captioner
    from fluxvision.engine.flux.networks import Networks

REST = 60.0
"""Seconds after a failure to load the models until the next attempt."""
PACKAGES = ("torch", "diffusers", "transformers")
"""Other packages whose versions can change the bytes of a tile."""
LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ModelSource:
    """Which weights to load, on which devices, and how."""

    model: str
    """A folder, or a repository on the hub."""
    revision: str | None
    device: str
    """One or several, separated by commas."""
    captioner: str
    caption_model: str
    speed: AccelerationConfig = field(default_factory=AccelerationConfig)
    agreed: bool = False
    """Whether a restrictive licence of the weights was agreed to."""
    cluster: RayServe | None = None
    """Has the networks; then none are loaded here."""


@dataclass(frozen=True, slots=True)
class LoadedModels:
    """The loaded models, and facts about them. Nothing here holds a path."""

    networks: Networks | RemoteNetworks
    captioner: Captioner
    weights: str
    """Their name."""
    revision: str | None
    identity: str
    """Differs when the weights, the code that runs them or the devices differ."""
    budget: MemoryBudget
    """What fits into the memory of the device."""
    replicas: tuple[tuple[Networks, MemoryBudget], ...] = ()
    """The networks of each of several devices with their own budgets; empty for a single device."""


class ModelCache:
    """Loads the models at the first call, and keeps them. Safe for many threads."""

    def __init__(self, row: FluxRow, source: ModelSource) -> None:
        """Load a network of this row."""
        self._row, self.source = row, source
        self.loaded: LoadedModels | None = None
        self.failed: tuple[float, str] | None = None
        self._lock = threading.Lock()

    def get(self) -> LoadedModels:
        """Return the models, loaded once; after a failure, loading is not tried again for a while.

        Raises `UpstreamRefused` when they cannot be loaded.
        """
        with self._lock:
            if self.loaded is None:
                if self.failed is not None and time.monotonic() < self.failed[0]:
                    raise UpstreamRefused(self.failed[1], retry_after=REST)
                try:
                    self.loaded = self.load()
                    self.failed = None
                except Exception as reason:  # whatever foreign code says of a broken file, driver or package
                    message = reason.message if isinstance(reason, Unavailable) else NOT_LOADED
                    self.failed = time.monotonic() + REST, message
                    raise UpstreamRefused(message, retry_after=REST) from reason
            return self.loaded

    def load(self) -> LoadedModels:
        """Load everything; raises `Unavailable`, or any exception of the libraries."""
        if self.source.cluster is not None:
            return self._load_remote(self.source.cluster)
        from fluxvision.engine.flux import captioner as captions  # noqa: PLC0415
        from fluxvision.engine.flux import loading, networks, registry, weights  # noqa: PLC0415

        row, source = self._row, self.source
        registry.need_consent(row, source.agreed)
        weights.need_extra()
        found = weights.find_weights(row, source.model, source.revision)
        named = Path(source.model).expanduser().is_dir()
        # The captioner first: it is small, and without it the large one would be loaded in vain.
        devices = loading.list_devices(source.device)
        captioner = captions.load_captioner(source.captioner, source.caption_model or None, device=devices[0])
        loaded = [
            networks.load_networks(row, found, device=device, speed=source.speed, agreed=source.agreed)
            for device in devices
        ]
        notice = licence_notice(row)
        if notice is not None:
            LOG.warning("%s", notice)
        return LoadedModels(
            networks=loaded[0],
            captioner=captioner,
            weights=found.resolve().name if named else source.model,
            revision=None if named else found.name,
            identity=_source_identity(self._folders(found), loaded, source.captioner),
            # Of several devices each decides by itself how many tiles go together.
            budget=MemoryBudget(row.tile, fallback_steps(loaded, captioner), BATCH if len(loaded) == 1 else 1),
            replicas=tuple((one, device_budget(one)) for one in loaded) if len(loaded) > 1 else (),
        )

    def _load_remote(self, cluster: RayServe) -> LoadedModels:
        """Load the captioner, and ask the cluster for its networks."""
        from fluxvision.engine.flux import captioner as captions  # noqa: PLC0415

        row, source = self._row, self.source
        networks = find_remote(cluster, row, source.model, source.revision)
        captioner = captions.load_captioner(source.captioner, source.caption_model or None, device="auto")
        info = networks.info
        # How many tiles go together is each replica's business.
        return LoadedModels(networks, captioner, info.name, info.revision, info.weights, MemoryBudget(row.tile, (), 1))

    def _folders(self, found: Path) -> list[Path]:
        """Return the folders of all that decides on a tile: the networks' own, and those that lie apart."""
        from fluxvision.engine.flux import weights  # noqa: PLC0415

        row, source, folders = self._row, self.source, [found]
        if row.control is not None:
            folders.append(weights.control_folder(row, found))
        captioner = CAPTIONERS_BY_NAME[source.captioner]
        if captioner.repo is not None:
            folders.append(weights.find_weights(captioner, source.caption_model or captioner.repo))
        return folders

    def close(self) -> None:
        """Free the models."""
        if self.loaded is not None:
            for networks in {self.loaded.networks, *(one for one, _ in self.loaded.replicas)}:
                networks.close()
            self.loaded.captioner.close()
            self.loaded = None


def fallback_steps(networks: Sequence[Networks], captioner: Captioner) -> tuple[FallbackStep, ...]:
    """Return the steps beside the number and size of tiles, applied on all devices, which must compute alike."""

    def offload() -> bool:
        beside = networks[0].device.type != "cpu" and captioner.row.entry is not None
        changed = [one.offload_text() for one in networks]
        captioner.to("cpu")
        return any(changed) or beside

    def quantize() -> bool:
        changed = [one.quantize() for one in networks]
        return any(changed)

    return (FallbackStep("text encoder and captioner on the CPU", offload), FallbackStep("fp8", quantize))


def _source_identity(folders: Sequence[Path], networks: Sequence[Networks], captioner: str) -> str:
    """Return a text that differs when tiles may have other bytes: files, packages, devices and number formats."""
    import torch  # noqa: PLC0415, takes seconds

    packages = [version(name) for name in PACKAGES]
    devices = {
        (torch.cuda.get_device_name(one.device) if one.device.type == "cuda" else str(one.device), str(one.dtype))
        for one in networks
    }
    digest = blake2b(f"{captioner} {packages} {sorted(devices)}\n".encode())
    for number, folder in enumerate(folders):
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                facts = file.stat()
                digest.update(f"{number} {file.relative_to(folder)} {facts.st_size} {facts.st_mtime_ns}\n".encode())
    return digest.hexdigest()
