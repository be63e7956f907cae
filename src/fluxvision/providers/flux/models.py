"""The models of the provider `flux`: where they come from, and how they are loaded, once."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING

from fluxvision.engine.flux.licences import licence_notice
from fluxvision.engine.flux.recipe import Elsewhere, Weights
from fluxvision.engine.flux.room import Room, Rung
from fluxvision.engine.flux.rows import FluxRow
from fluxvision.engine.flux.speed import Speed
from fluxvision.errors import Unavailable, UpstreamRefused

if TYPE_CHECKING:  # PyTorch is an extra, and takes seconds to import
    from fluxvision.engine.flux.captions import Captioner
    from fluxvision.engine.flux.networks import Networks

REST = 60.0
"""Seconds after which it is tried again to load what could not be loaded."""
NOT_LOADED = "FLUX could not be loaded: flux_device does not exist here, has no room, or the weights are damaged."
LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Source:
    """Where the weights are: a folder or a hub's id, its revision, the device to run on, and how fast.

    `agreed`: a licence that does not let everyone use the weights was agreed to. `elsewhere`: the networks are loaded
    by the workers of a team, not here.
    """

    model: str
    revision: str | None
    device: str
    captioner: str
    caption_model: str
    speed: Speed = field(default_factory=Speed)
    agreed: bool = False
    elsewhere: bool = False


@dataclass(frozen=True, slots=True)
class Loaded:
    """What runs, the name of its weights and their revision, where they have one. No path is told.

    `identity` is another where the weights, the code that runs them or the device are others. `room` is what the device
    has room for. `elsewhere` is what a worker loads.
    """

    networks: Networks | Elsewhere
    captioner: Captioner
    weights: str
    revision: str | None
    identity: str
    room: Room
    elsewhere: Weights


class Models:
    """Loads the models when they are first asked for, and keeps them. Safe for many threads."""

    def __init__(self, row: FluxRow, source: Source) -> None:
        """Load a network of this row."""
        self._row, self.source = row, source
        self.loaded: Loaded | None = None
        self.failed: tuple[float, str] | None = None
        self._lock = threading.Lock()

    def get(self) -> Loaded:
        """Return the models, loaded once; what could not be loaded is not tried again for a while.

        Raises `UpstreamRefused` where they cannot be loaded.
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

    def load(self) -> Loaded:
        """Load everything; raises `Unavailable`, or what foreign code raises."""
        from fluxvision.engine.flux import captions, folder, licences, networks  # noqa: PLC0415

        row, source = self._row, self.source
        licences.need_consent(row, source.agreed)
        folder.need_extra()
        found = folder.find(row, source.model, source.revision)
        named = Path(source.model).expanduser().is_dir()
        # The captioner first: it is small, and without it the large one would be loaded in vain.
        captioner = captions.load(source.captioner, source.caption_model or None, device=source.device)
        network: Networks | Elsewhere
        if source.elsewhere:
            network = Elsewhere(source.device)
        else:
            network = networks.load(row, found, device=source.device, speed=source.speed, agreed=source.agreed)
        notice = licence_notice(row)
        if notice is not None:
            LOG.warning("%s", notice)
        return Loaded(
            networks=network,
            captioner=captioner,
            weights=found.resolve().name if named else source.model,
            revision=None if named else found.name,
            identity=_identity(found, network, f"{source.captioner} {source.caption_model}"),
            room=Room(row.tile, rungs(network, captioner)),
            elsewhere=Weights(row, source.model, source.revision, source.device, source.speed, source.agreed),
        )

    def close(self) -> None:
        """Free the models."""
        if self.loaded is not None:
            self.loaded.networks.close()
            self.loaded.captioner.close()
            self.loaded = None


def rungs(networks: Networks | Elsewhere, captioner: Captioner) -> tuple[Rung, ...]:
    """Return what can be given up beside the tiles' number and size."""

    def offload() -> bool:
        changed = networks.offload_text()
        captioner.to("cpu")
        return changed

    return (Rung("text encoder and captioner on the CPU", offload), Rung("fp8", networks.quantize))


def _identity(folder: Path, networks: Networks | Elsewhere, captioner: str) -> str:
    """Return a text that is another where other bytes may come out: files, PyTorch, the card and its number format."""
    import torch  # noqa: PLC0415, takes seconds

    digest = blake2b(f"{captioner} {torch.__version__} {networks.device} {networks.dtype}".encode())
    if networks.device.type == "cuda":
        digest.update(torch.cuda.get_device_name(networks.device).encode())
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            facts = file.stat()
            digest.update(f"{file.relative_to(folder)} {facts.st_size} {facts.st_mtime_ns}\n".encode())
    return digest.hexdigest()
