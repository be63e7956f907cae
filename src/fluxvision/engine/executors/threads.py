"""Where tiles are made: the port, and its first row, the threads of this process."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Protocol

from fluxvision.engine.backends.registry import Detailer
from fluxvision.engine.resample import Array
from fluxvision.engine.tile import Stop, TileJob, make_tiles


class TileExecutor(Protocol):
    """Makes all tiles of a job. The bytes are the same for every crew of any size."""

    def make(
        self, work: TileJob, stop: Stop, batches: Sequence[range] | None = None
    ) -> Generator[list[Array], None, None]:
        """Yield `batches` of `work.batches`, None for all, in their order, each as its tiles.

        `stop` is called now and then and raises to end the work; closing the iterator ends it, too.
        """
        ...


class ThreadExecutor:
    """Some threads of this process, which share one running backend."""

    def __init__(self, backend: Detailer, at_once: int) -> None:
        """Have up to `at_once` batches at work."""
        self._backend, self._at_once = backend, at_once

    def make(
        self, work: TileJob, stop: Stop, batches: Sequence[range] | None = None
    ) -> Generator[list[Array], None, None]:
        """Yield finished batches while later ones are at work."""
        waiting: deque[Future[list[Array]]] = deque()
        with ThreadPoolExecutor(self._at_once, thread_name_prefix="tile") as pool:
            try:
                for batch in work.batches if batches is None else batches:
                    waiting.append(pool.submit(make_tiles, work, self._backend, batch, stop))
                    if len(waiting) > self._at_once:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()


Words = Callable[[Sequence[Array]], list[str]]
"""Says what guides the detail in each of some windows of the source, float32 (3, rows, columns)."""


class PerTilePromptExecutor:
    """Sends words along with the tiles of another crew. A tile without any detail gets none."""

    def __init__(self, crew: TileExecutor, words: Words) -> None:
        """Ask `words`, a batch at a time."""
        self._crew, self._words = crew, words

    def make(
        self, work: TileJob, stop: Stop, batches: Sequence[range] | None = None
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
