"""TEAMS: one row per place where tiles can be made beside the threads of this process.

A team is workers that stay between jobs. For each job it is a crew: it makes the job's tiles, and the bytes are those
of `crew.Threads`. A worker that dies loses nothing: what it was at is handed out again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Protocol, cast

from fluxvision.engine.executors.threads import TileExecutor
from fluxvision.engine.teams.recipe import Recipe

__all__ = ["TEAMS", "Limits", "Recipe", "Row", "Team", "Terms", "assemble"]


@dataclass(frozen=True, slots=True)
class Limits:
    """How long things may take on a cluster, in seconds.

    Attributes:
        idle: after so long with nothing to do a worker's room is given back.
        turn: after so long it is given back in any case, so that others get it.
        short_turn: the same where another server has work there and no room at all.
        nowhere: how long a job waits for a cluster that has no machine of the kind.
        queue: how long a job waits for its first worker while others have all the room.
        start: in which no worker may start before it is taken for a fault of the cluster.
        join: how long joining may take.
        lost: after so long without an answer the cluster is taken for lost.
        quiet: how long a job waits for room before it is said.
    """

    idle: float = 300.0
    turn: float = 600.0
    short_turn: float = 60.0
    nowhere: float = 60.0
    queue: float = 600.0
    start: float = 20.0
    join: float = 120.0
    lost: float = 20.0
    quiet: float = 5.0


@dataclass(frozen=True, slots=True)
class Terms:
    """What a team is to be.

    `workers` is how many there are, on a cluster at most; 0: one for each of `devices`, on a cluster as many as have
    room. `devices` are the GPUs of this machine as CUDA_VISIBLE_DEVICES names them; worker after worker gets one.
    `cluster` is the cluster's address, empty for this machine. `gpus` is how many GPUs each worker needs there, and
    `limits` how long things may take there.
    """

    workers: int = 0
    devices: Sequence[str] = ()
    cluster: str = ""
    gpus: float = 0.0
    limits: Limits = field(default_factory=Limits)


class Team(Protocol):
    """Workers that stay between jobs; safe for many jobs at once. None is started before the first tile is wanted."""

    def crew(self, recipe: Recipe) -> TileExecutor:
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
