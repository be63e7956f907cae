"""FLUX in the workers of a team: the networks are loaded once in each, and every job has a detailer of its own.

Importable without torch.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from fluxvision.engine.backends import Detailer
from fluxvision.engine.flux.networks import Networks, load
from fluxvision.engine.flux.room import Room, Rung
from fluxvision.engine.flux.rows import FluxRow
from fluxvision.engine.flux.speed import Speed
from fluxvision.engine.flux.wishes import Wishes
from fluxvision.engine.teams import Recipe

ANY = frozenset({"auto", "cuda"})
"""Wishes for a device that any GPU fulfils."""


@dataclass(frozen=True, slots=True)
class Weights:
    """Which networks, where their weights are, and how they run; see `networks.load`."""

    row: FluxRow
    model: str
    revision: str | None = None
    device: str = "auto"
    speed: Speed = field(default_factory=Speed)
    agreed: bool = False


class Elsewhere:
    """Stands for networks that workers load: nothing can be asked of it, and nothing be given up here."""

    def __init__(self, device: str) -> None:
        """Have the device and number format that the wish means."""
        loading: Any = import_module("fluxvision.engine.flux.loading")
        self.device = loading.pick_device(device)
        self.dtype = loading.pick_dtype("auto", self.device)
        self.pulled: dict[str, Any] = {}

    def offload_text(self) -> bool:
        """Do nothing: every worker does that for itself."""
        return False

    def quantize(self) -> bool:
        """Do nothing: all workers have to compute alike."""
        return False

    def close(self) -> None:
        """Do nothing: the team is closed."""


def recipe(weights: Weights, factor: int, wishes: Wishes, threads: int) -> Recipe:
    """Return what makes the detailer of a job in a worker."""
    return Recipe(f"{__name__}:detailer", (weights, factor, wishes, threads), stops=True)


def detailer(  # noqa: D417, `stop` is said by its name
    weights: Weights, factor: int, wishes: Wishes, threads: int, *, stop: Callable[[], None]
) -> Detailer:
    """Return the detailer of a job over networks that this process loads once.

    Args:
        weights: the networks.
        factor: how far tiles are enlarged.
        wishes: what the job asks of the network.
        threads: those of the faithful part.
    """
    from fluxvision.engine.flux.detailer import FluxDetailer  # noqa: PLC0415, PyTorch takes seconds

    networks, room = _loaded(weights)
    return FluxDetailer(networks, factor, wishes, stop, threads, room=room)


def devices(wish: str) -> tuple[str, ...]:
    """Return the GPUs of this machine that `flux_device` leaves open, by the names that CUDA_VISIBLE_DEVICES takes."""
    if wish not in ANY or find_spec("torch") is None:
        return ()
    torch: Any = import_module("torch")
    return _names(torch.cuda.device_count())


def _names(count: int) -> tuple[str, ...]:
    named = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    return tuple(named[:count] or map(str, range(count)))


@lru_cache(maxsize=1)
def _loaded(weights: Weights) -> tuple[Networks, Room]:
    """Return the networks and what they have room for.

    What a single worker gives up when memory runs out must not change its bytes: fewer tiles at once, and the text
    encoders on the processor. Smaller tiles are the job's business, and 8 bits the operator's.
    """
    networks = load(
        weights.row,
        weights.model,
        revision=weights.revision,
        device=weights.device,
        speed=weights.speed,
        agreed=weights.agreed,
    )
    return networks, Room(0, (Rung("text encoder on the CPU", networks.offload_text),))
