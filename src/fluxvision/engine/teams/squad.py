"""What a team is to one job: its crew, which remembers what the workers told of how they made the tiles."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Protocol

from fluxvision.engine.resample import Array
from fluxvision.engine.teams.recipe import Notes, Recipe
from fluxvision.engine.tile import Stop, TileJob

Tell = Callable[[Notes], None]
"""Takes the notes of a batch, from any thread."""


class Makes(Protocol):
    """The team, as its crews see it."""

    def make(
        self, recipe: Recipe, work: TileJob, stop: Stop, batches: Sequence[range], tell: Tell
    ) -> Generator[list[Array], None, None]:
        """Yield the batches of a work in order."""
        ...


class Squad:
    """The team at one job."""

    def __init__(self, team: Makes, recipe: Recipe) -> None:
        """Make the job's tiles by a recipe."""
        self._team, self._recipe = team, recipe
        self._notes: dict[tuple[str, str], None] = {}

    @property
    def notes(self) -> Notes:
        """What the workers told so far, each once."""
        return tuple(self._notes)

    def make(
        self, work: TileJob, stop: Stop, batches: Sequence[range] | None = None
    ) -> Generator[list[Array], None, None]:
        """Yield finished batches in order, while later ones are at work."""
        wanted = work.batches if batches is None else batches
        return self._team.make(self._recipe, work, stop, wanted, self._tell)

    def _tell(self, notes: Notes) -> None:
        self._notes.update(dict.fromkeys(notes))
