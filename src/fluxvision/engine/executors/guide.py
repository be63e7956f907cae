"""A crew whose tiles have words of their own, which are found here before the tiles are made elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import replace

from fluxvision.engine.executors.threads import Crew
from fluxvision.engine.resample import Array
from fluxvision.engine.tile import Stop, Work

Words = Callable[[Sequence[Array]], list[str]]
"""Says what guides the detail in each of some windows of the source, float32 (3, rows, columns)."""


class Guided:
    """Sends words along with the tiles of another crew. A tile without any detail gets none."""

    def __init__(self, crew: Crew, words: Words) -> None:
        """Ask `words`, a batch at a time."""
        self._crew, self._words = crew, words

    def make(
        self, work: Work, stop: Stop, batches: Sequence[range] | None = None
    ) -> Generator[list[Array], None, None]:
        """Yield what the crew makes; all words are there before its first tile is begun."""
        found = [""] * work.total
        for batch in work.batches if batches is None else batches:
            stop()
            seen = [number for number in batch if not work.is_protected(number)]
            if seen:
                for number, words in zip(seen, self._words([work.source(one) for one in seen]), strict=True):
                    found[number] = words
        yield from self._crew.make(replace(work, words=tuple(found)), stop, batches)
