"""CheckpointedExecutor: reads batches that a killed process has finished, and makes only the others.

A batch is identified by everything that its bytes depend on: the windows of the source, the job's parameters, and the
caller's key of networks, prompts and code.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import astuple
from hashlib import blake2b
from typing import Any, Protocol

from numpy.typing import NDArray

from fluxvision.engine.executors.base import TileExecutor
from fluxvision.engine.resample import Array
from fluxvision.engine.tile_inference import Stop, TileJob

DIGEST = 20
"""Bytes of the digests of jobs and batches."""
FORMAT = 1
"""Increased when the same job gives other bytes."""


class CheckpointStore(Protocol):
    """Stores the batches of one job by name. It may lose batches, but never changes them, and raises nothing."""

    def has(self, name: str) -> bool:
        """Return whether there seems to be a batch."""
        ...

    def get(self, name: str) -> list[Array] | None:
        """Return a batch, None when it is missing."""
        ...

    def put(self, name: str, tiles: Sequence[Array]) -> None:
        """Store a batch if there is space."""
        ...

    def forget(self) -> None:
        """Delete all batches of the job."""
        ...


class CheckpointedExecutor:
    """Stores the batches that another executor makes, and reads those already stored. `resumed_tiles` were read."""

    def __init__(
        self, executor: TileExecutor, open_store: Callable[[str], CheckpointStore], key: Callable[[], str]
    ) -> None:
        """Store batches in the store that `open_store` returns for a job's digest.

        `key` returns everything else that tiles depend on: networks, number formats, prompts, code. When it changes
        during the job, later batches are not stored.
        """
        self._executor, self._open_store, self._key = executor, open_store, key
        self._store: CheckpointStore | None = None
        self.resumed_tiles = 0

    def make(
        self, work: TileJob, stop: Stop, batches: Sequence[range] | None = None
    ) -> Generator[list[Array], None, None]:
        """Yield batches in their order, each read or made."""
        key = self._key()
        facts = _recipe_facts(work, key)
        store = self._store = self._open_store(_job_hash(work, facts))
        wanted = work.batches if batches is None else batches
        names = {batch: _batch_hash(work, facts, batch) for batch in wanted}
        known = {batch for batch in wanted if store.has(names[batch])}
        with closing(self._executor.make(work, stop, [batch for batch in wanted if batch not in known])) as fresh:
            for batch in wanted:
                tiles = store.get(names[batch]) if batch in known else None
                if tiles is not None:
                    stop()
                    self.resumed_tiles += len(tiles)
                    yield tiles
                    continue
                if batch in known:  # damaged, or deleted in the meantime
                    with closing(self._executor.make(work, stop, [batch])) as again:
                        tiles = next(again)
                else:
                    tiles = next(fresh)
                if self._key() == key:
                    store.put(names[batch], tiles)
                yield tiles

    def forget(self) -> None:
        """Delete the stored batches of the finished job."""
        if self._store is not None:
            self._store.forget()


def _recipe_facts(work: TileJob, key: str) -> bytes:
    """Return everything that all batches of a job depend on, except the pictures."""
    shapes = [None if image is None else (image.dtype.str, image.shape) for image in _job_images(work)]
    facts = (
        FORMAT,
        key,
        work.creativity,
        work.seed,
        astuple(work.row),
        astuple(work.rows),
        astuple(work.columns),
        work.prompts,
    )
    return repr((*facts, shapes)).encode()


def _job_hash(work: TileJob, facts: bytes) -> str:
    found = blake2b(facts, digest_size=DIGEST)
    for image in _job_images(work):
        if image is not None:
            for start in range(0, len(image), 256):  # a band of rows is copied at a time
                found.update(image[start : start + 256].tobytes())
    return found.hexdigest()


def _batch_hash(work: TileJob, facts: bytes, batch: range) -> str:
    found = blake2b(facts, digest_size=DIGEST)
    for number in batch:
        found.update(f"{number};".encode())
        for image in _job_images(work):
            if image is not None:
                index = work.window(number, of_canvas=image is work.canvas)
                found.update(image[index].tobytes())
    return found.hexdigest()


def _job_images(work: TileJob) -> tuple[NDArray[Any] | None, ...]:
    return work.color, work.alpha, work.mask, work.canvas
