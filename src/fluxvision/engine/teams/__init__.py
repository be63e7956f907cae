"""TEAMS: one row per place where tiles can be made beside the threads of this process.

A team is workers that stay between jobs. For each job it is a crew: it makes the job's tiles, and the bytes are those
of `crew.Threads`. A worker that dies loses nothing: what it was at is handed out again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Protocol, cast

from fluxvision.engine.crew import Crew
from fluxvision.engine.teams.recipe import Recipe

__all__ = ["TEAMS", "Recipe", "Row", "Team", "Terms", "assemble"]


@dataclass(frozen=True, slots=True)
class Terms:
    """What a team is to be.

    `workers` is how many there are, on a cluster at most; 0: one for each of `devices`, on a cluster as many as have
    room. `devices` are the GPUs of this machine as CUDA_VISIBLE_DEVICES names them; worker after worker gets one.
    `cluster` is the cluster's address, empty for this machine. `gpus` is how many GPUs each worker needs there.
    """

    workers: int = 0
    devices: Sequence[str] = ()
    cluster: str = ""
    gpus: float = 0.0


class Team(Protocol):
    """Workers that stay between jobs; safe for many jobs at once. None is started before the first tile is wanted."""

    def crew(self, recipe: Recipe) -> Crew:
        """Return the crew of a job whose backend is made by `recipe`."""
        ...

    def close(self) -> None:
        """End all workers. Jobs that are at work end with `Unavailable`."""
        ...


@dataclass(frozen=True, slots=True)
class Row:
    """A kind of team; `entry` is "module:Class", which is made of `Terms`."""

    name: str
    title: str
    entry: str

    def open(self, terms: Terms) -> Team:
        """Return a team on these terms."""
        module, _, attribute = self.entry.partition(":")
        return cast("Team", getattr(import_module(module), attribute)(terms))


TEAMS: tuple[Row, ...] = (
    Row("processes", "Processes on this machine", "fluxvision.engine.teams.processes:Processes"),
    Row("ray", "A Ray cluster", "fluxvision.engine.teams.cluster:Cluster"),
)
BY_NAME = {row.name: row for row in TEAMS}


def assemble(terms: Terms) -> Team | None:
    """Return the team that the terms mean; None where the threads of this process will do."""
    if terms.cluster:
        return BY_NAME["ray"].open(terms)
    if terms.workers or len(terms.devices) > 1:
        return BY_NAME["processes"].open(terms)
    return None
