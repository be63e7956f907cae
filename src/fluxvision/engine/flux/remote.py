"""FLUX in the workers of a team: the networks are loaded once in each, and every job has a detailer of its own.

Importable without torch.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from fluxvision.core.errors import Unavailable
from fluxvision.engine.backends.registry import Detailer
from fluxvision.engine.flux.memory_budget import FallbackStep, MemoryBudget, is_out_of_memory
from fluxvision.engine.flux.model import Networks, load_networks
from fluxvision.engine.flux.options import AccelerationConfig, SamplingOptions
from fluxvision.engine.flux.registry import FluxRow
from fluxvision.engine.teams import Recipe

ANY = frozenset({"auto", "cuda"})
"""Wishes for a device that any GPU fulfils."""
ASKED = "asked of the workers"
"""What is told of a lever of speed: whether a worker's device has it shows only there."""
PATIENCE = 1800.0
"""Seconds that loading, compiling, or one step on a processor may take before a worker is taken for hung."""
NOT_LOADED = "FLUX could not be loaded: flux_device does not exist here, has no room, or the weights are damaged."


@dataclass(frozen=True, slots=True)
class Weights:
    """Which networks, where their weights are, and how they run; see `networks.load`."""

    row: FluxRow
    model: str
    revision: str | None = None
    device: str = "auto"
    speed: AccelerationConfig = field(default_factory=AccelerationConfig)
    agreed: bool = False


class RemoteNetworks:
    """Stands for networks that workers load: nothing can be asked of it. `weights` are what they load."""

    def __init__(self, weights: Weights) -> None:
        """Have the device and number format that the wish means."""
        loading: Any = import_module("fluxvision.engine.flux.loading")
        self.weights = weights
        self.device = loading.pick_device(weights.device)
        self.dtype = loading.pick_dtype("auto", self.device)

    @property
    def pulled(self) -> dict[str, str]:
        """The levers that workers are to pull."""
        return {name: ASKED for name, wished in asdict(self.weights.speed).items() if wished}

    def offload_text(self) -> bool:
        """Do nothing: every worker does that for itself."""
        return False

    def quantize(self) -> bool:
        """Have all workers load 8 bits, for they have to compute alike. Return whether that is new."""
        if self.weights.speed.fp8:
            return False
        self.weights = replace(self.weights, speed=replace(self.weights.speed, fp8=True))
        return True

    def close(self) -> None:
        """Do nothing: the team is closed."""


_kept: dict[Weights, tuple[Networks, MemoryBudget]] = {}
"""What this process has loaded: one at most."""


def flux_recipe(weights: Weights, factor: int, wishes: SamplingOptions, threads: int) -> Recipe:
    """Return what makes the detailer of a job in a worker."""
    return Recipe(f"{__name__}:detailer", (weights, factor, wishes, threads), stops=True, patience=PATIENCE)


def remote_detailer(  # noqa: D417, `stop` is said by its name
    weights: Weights, factor: int, wishes: SamplingOptions, threads: int, *, stop: Callable[[], None]
) -> Detailer:
    """Return the detailer of a job over networks that this process loads once.

    Args:
        weights: the networks.
        factor: how far tiles are enlarged.
        wishes: what the job asks of the network.
        threads: those of the faithful part.
    """
    from fluxvision.engine.flux.backend import FluxDetailer  # noqa: PLC0415, PyTorch takes seconds

    networks, room = _load_once(weights)
    return FluxDetailer(networks, factor, wishes, stop, threads, room=room)


def cuda_devices(wish: str) -> tuple[str, ...]:
    """Return the GPUs of this machine that `flux_device` leaves open, by the names that CUDA_VISIBLE_DEVICES takes."""
    if wish not in ANY or find_spec("torch") is None:
        return ()
    torch: Any = import_module("torch")
    return _device_names(torch.cuda.device_count())


def _device_names(count: int) -> tuple[str, ...]:
    named = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    return tuple(named[:count] or map(str, range(count)))


def _load_once(weights: Weights) -> tuple[Networks, MemoryBudget]:
    """Return the networks and what they have room for; others that were loaded before are given up first.

    What a single worker gives up when memory runs out must not change its bytes: fewer tiles at once, and the text
    encoders on the processor. 8 bits and smaller tiles are the job's business: they are the same for all workers.

    Raises `Unavailable` where they cannot be loaded, and what says that memory ran out as it is.
    """
    if weights not in _kept:
        while _kept:
            _kept.popitem()[1][0].close()
        networks = _load_networks(weights)
        _kept[weights] = networks, MemoryBudget(0, (FallbackStep("text encoder on the CPU", networks.offload_text),))
    return _kept[weights]


def _load_networks(weights: Weights) -> Networks:
    try:
        return load_networks(
            weights.row,
            weights.model,
            revision=weights.revision,
            device=weights.device,
            speed=weights.speed,
            agreed=weights.agreed,
        )
    except Unavailable:
        raise
    except Exception as reason:  # whatever foreign code says of a broken file, driver or package
        if is_out_of_memory(reason):
            raise
        raise Unavailable(NOT_LOADED, param="engine") from None
