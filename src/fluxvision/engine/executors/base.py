"""TileExecutor, the port that makes batches of tiles, and an executor that gives each tile a prompt of its own."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from typing import Protocol

from fluxvision.engine.resample import Array
from fluxvision.engine.tile_inference import Stop, TileJob


class TileExecutor(Protocol):
    """Makes all tiles of a job. The bytes are the same wherever they are made, in whatever order."""

    def make(
        self, work: TileJob, stop: Stop, batches: Sequence[range] | None = None
    ) -> Generator[list[Array], None, None]:
        """Yield `batches` of `work.batches`, None for all, in their order, each as its tiles.

        `stop` is called now and then and raises to end the work; closing the iterator ends it, too.
        """
        ...


Prompts = Callable[[Sequence[Array]], list[str]]
"""Returns what guides the detail in each of some windows of the source, float32 (3, rows, columns)."""


class PerTilePromptExecutor:
    """Sends prompts along with the tiles of another executor. A tile without any detail gets none."""

    def __init__(self, executor: TileExecutor, prompts: Prompts) -> None:
        """Ask `prompts`, a batch at a time."""
        self._executor, self._prompts = executor, prompts

    def make(
        self, work: TileJob, stop: Stop, batches: Sequence[range] | None = None
    ) -> Generator[list[Array], None, None]:
        """Yield what the executor makes; all prompts are there before its first tile is begun."""
        found = [""] * work.total
        for batch in work.batches if batches is None else batches:
            stop()
            seen = [number for number in batch if not work.is_protected(number)]
            if seen:
                for number, prompt in zip(seen, self._prompts([work.source(one) for one in seen]), strict=True):
                    found[number] = prompt
        yield from self._executor.make(replace(work, prompts=tuple(found)), stop, batches)
