"""What a process and its worker say to each other."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fluxvision.engine.resample import Array
from fluxvision.engine.teams.memory import Block, Shape, layout
from fluxvision.engine.teams.recipe import Notes, Recipe
from fluxvision.engine.tile import TileJob

PICTURES = ("color", "alpha", "mask", "canvas")
"""The fields of a work that hold pixels, where they are not None."""
EMPTY = np.zeros((0, 0, 1), np.uint8)


@dataclass(frozen=True, slots=True)
class Order:
    """Asks for a batch; two blocks go with it: the pictures of the work, and room for the tiles.

    `work` has no pixels: `names` says which of its pictures lie at `places`. The tiles go to `room`.
    """

    number: int
    recipe: Recipe
    work: TileJob
    names: tuple[str, ...]
    places: tuple[Shape, ...]
    numbers: tuple[int, ...]
    room: tuple[Shape, ...]


@dataclass(frozen=True, slots=True)
class Stopped:
    """Says that nobody wants an order any more."""

    number: int


@dataclass(frozen=True, slots=True)
class Sign:
    """Says that the worker is alive and at an order."""

    number: int


@dataclass(frozen=True, slots=True)
class Answer:
    """Says that an order is done, and what the backend has to tell, or why it could not be."""

    number: int
    error: Exception | None = None
    notes: Notes = ()


class Shelf:
    """The pictures of one work in shared memory, for all its orders."""

    def __init__(self, work: TileJob) -> None:
        """Copy the pictures; `close` when the work is over."""
        pictures = {name: getattr(work, name) for name in PICTURES if getattr(work, name) is not None}
        self.names = tuple(pictures)
        self.places = layout([(picture.shape, picture.dtype.str) for picture in pictures.values()])
        self.block = Block.fresh(self.places)
        try:
            for target, picture in zip(self.block.arrays(self.places), pictures.values(), strict=True):
                target[...] = picture
        except BaseException:
            self.block.close()
            raise
        self.work = replace(work, color=EMPTY, alpha=None, mask=None, canvas=None)
        self._bands = work.color.shape[2] + (work.alpha is not None)

    def order(self, number: int, recipe: Recipe, numbers: Sequence[int]) -> Order:
        """Return the order for a batch."""
        work = self.work
        if work.words is not None:  # no more than is needed: there may be thousands
            kept = set(numbers)
            work = replace(work, words=tuple(one if at in kept else "" for at, one in enumerate(work.words)))
        spans = [self.work.spans(one) for one in numbers]
        room = layout([((self._bands, down.length, across.length), "<f4") for down, across in spans])
        return Order(number, recipe, work, self.names, self.places, tuple(numbers), room)

    def close(self) -> None:
        """Give the memory up."""
        self.block.close()


def whole(work: TileJob, names: Sequence[str], places: Sequence[Shape], pictures: Block) -> TileJob:
    """Return a work that was sent without its pictures with them."""
    found: dict[str, Any] = dict(zip(names, pictures.arrays(places), strict=True))
    return replace(work, **found)


def put(order: Order, room: Block, tiles: Sequence[Array]) -> None:
    """Write the tiles to where the order wants them."""
    for target, tile in zip(room.arrays(order.room), tiles, strict=True):
        target[...] = tile


def portable(error: Exception) -> Exception:
    """Return the error, or one that says its kind where it cannot be sent."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301, made one line before
    except Exception:  # noqa: BLE001, foreign errors fail in all ways
        return RuntimeError(type(error).__name__)
    return error
