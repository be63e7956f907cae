"""What a server and its envoy on a cluster say to each other."""

from __future__ import annotations

from dataclasses import dataclass

from fluxvision.engine.teams.memory import Shape
from fluxvision.engine.teams.recipe import Notes, Recipe
from fluxvision.engine.tile import TileJob


@dataclass(frozen=True, slots=True)
class Job:
    """Asks for batches of a work, whose pictures lie in a block at `places`. Each is asked for with a `Next`."""

    recipe: Recipe
    work: TileJob
    names: tuple[str, ...]
    places: tuple[Shape, ...]
    batches: tuple[range, ...]


@dataclass(frozen=True, slots=True)
class Next:
    """Asks for the next batch."""


@dataclass(frozen=True, slots=True)
class Made:
    """A batch, whose tiles lie in a block at `places`; or why there is none."""

    places: tuple[Shape, ...] = ()
    error: Exception | None = None


@dataclass(frozen=True, slots=True)
class Told:
    """What workers told of a batch, or what a job waits for."""

    notes: Notes = ()
    notice: str = ""
