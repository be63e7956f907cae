"""An executor that reads what was made before: the same bytes, and nothing is made twice."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fluxvision.engine.backends.registry import BY_NAME, load_backend
from fluxvision.engine.checkpoint import CheckpointedExecutor
from fluxvision.engine.executors.threads import ThreadExecutor
from fluxvision.engine.pipeline import Request, enlarge, plan_tiles
from fluxvision.engine.tile_inference import TileJob

MOCK = replace(BY_NAME["mock"], batch=2)
COLOR = np.random.default_rng(5).integers(0, 256, (150, 170, 3), np.uint8)
MASK = np.full(COLOR.shape[:2], 255, np.uint8)


class Memory:
    """A store in this process."""

    def __init__(self) -> None:
        """Keep nothing yet."""
        self.jobs = {}
        self.lossy = set()

    def __call__(self, job):
        """Return the store of a job."""
        return Shelf(self, self.jobs.setdefault(job, {}), job)


class Shelf:
    """A job's batches."""

    def __init__(self, memory, batches, job) -> None:
        """Use a part of the memory."""
        self._memory, self._batches, self._job = memory, batches, job

    def has(self, name):
        """Tell whether there is a batch."""
        return name in self._batches

    def get(self, name):
        """Return copies, or None where the batch is lost."""
        return None if name in self._memory.lossy else [tile.copy() for tile in self._batches[name]]

    def put(self, name, tiles):
        """Keep copies."""
        self._batches[name] = [tile.copy() for tile in tiles]

    def forget(self):
        """Forget the job."""
        self._memory.jobs.pop(self._job)


class Counting(ThreadExecutor):
    """Threads that tell which batches they made."""

    def __init__(self, made) -> None:
        """Make by the mock."""
        super().__init__([load_backend("mock")], 2)
        self._made = made

    def make(self, work, stop, batches=None):
        """Note the batches."""
        wanted = work.batches if batches is None else batches
        for batch, tiles in zip(wanted, super().make(work, stop, wanted), strict=True):
            self._made.append(batch)
            yield tiles


def go_on():
    """Never stops."""


def work(color=COLOR, row=MOCK, seed=3, creativity=0.6, **rest):
    height, width = color.shape[:2]
    return TileJob(
        color,
        None,
        rest.pop("mask", None),
        creativity,
        seed,
        row,
        *plan_tiles(Request(color, width * 3, height * 3), row),
        **rest,
    )


def run(memory, made, job, key="key", most=None):
    executor = CheckpointedExecutor(Counting(made), memory, key if callable(key) else lambda: key)
    batches = [[tile.tobytes() for tile in tiles] for tiles in islice(executor.make(job, go_on), most)]
    return batches, executor


@settings(max_examples=20, deadline=None)
@given(st.sets(st.integers(0, 30)), st.sets(st.integers(0, 30)))
def test_what_is_kept_is_not_made_and_the_bytes_are_the_same(known, lost):
    """Whichever batches are there, and whichever of them cannot be read: all come in order, the rest is made."""
    job, memory, first, second = work(), Memory(), [], []
    wanted, _ = run(memory, first, job)
    [batches] = memory.jobs.values()
    names = list(batches)
    for index, name in enumerate(names):
        if index not in known:
            del batches[name]
    memory.lossy = {name for index, name in enumerate(names) if index in lost}
    found, executor = run(memory, second, job)
    assert found == wanted
    read = {index for index in range(len(names)) if index in known - lost}
    assert sorted(second, key=lambda one: one.start) == [b for index, b in enumerate(job.batches) if index not in read]
    assert executor.resumed_tiles == sum(len(job.batches[index]) for index in read)


def test_a_job_that_was_left_goes_on_where_it_was():
    """After two batches, only the others are made; when the job is done nothing is left of it."""
    job, memory, first, second = work(), Memory(), [], []
    begun, _ = run(memory, first, job, most=2)
    whole, executor = run(memory, second, job)
    assert whole[:2] == begun
    assert executor.resumed_tiles == 4
    assert {one.start for one in second} == {one.start for one in job.batches[2:]}
    executor.forget()
    assert memory.jobs == {}


OTHERS = {
    "a pixel": work(np.where(np.arange(COLOR.size).reshape(COLOR.shape) == 0, COLOR ^ 1, COLOR)),
    "seed": work(seed=4),
    "creativity": work(creativity=0.7),
    "row": work(row=replace(MOCK, iterations=1)),
    "fidelity": work(row=replace(MOCK, fidelity=45.0)),
    "another fidelity": work(row=replace(MOCK, fidelity=50.0)),
    "batch": work(row=replace(MOCK, batch=3)),
    "mask": work(mask=MASK),
    "canvas": work(canvas=np.repeat(np.repeat(COLOR, 2, axis=0), 2, axis=1)),
    "depth": work(COLOR.astype(np.uint16)),
    "prompts": work(prompts=("words",) * 100),
}


@pytest.mark.parametrize("other", [*OTHERS, "key"])
def test_other_work_is_another_job(other):
    """Whatever differs, no job finds the batches of another."""
    memory, made = Memory(), []
    run(memory, [], work())
    job = OTHERS.get(other, work())
    _, executor = run(memory, made, job, "other" if other == "key" else "key")
    assert (executor.resumed_tiles, len(memory.jobs)) == (0, 2)
    assert sorted(one.start for one in made) == [one.start for one in job.batches]


def test_what_is_made_in_another_way_is_not_kept():
    """When a network changes in the middle of a job, what it makes from then on is not found under the old name."""
    memory, made, again = Memory(), [], []
    wanted, _ = run(memory, made, work(), lambda: "old" if len(made) < 2 else "new")
    assert [len(batches) for batches in memory.jobs.values()] == [1]
    found, _ = run(memory, again, work(), "old")
    assert (found, sorted(one.start for one in again)) == (wanted, [one.start for one in work().batches[1:]])


def test_a_window_that_changed_is_another_batch():
    """Batches are known by their own windows: two jobs that differ in one corner have only other tiles there."""
    memory, corner = Memory(), COLOR.copy()
    corner[-1, -1] ^= 1
    for color in (COLOR, corner):
        run(memory, [], work(color))
    one, two = (set(batches) for batches in memory.jobs.values())
    assert len(one & two) == len(work().batches) - 1


def test_a_picture_by_way_of_a_resumed_executor():
    """The pipeline's strips are the same with an executor that reads, and progress counts every tile."""
    memory, strips, seen = Memory(), {}, []
    for name in ("fresh", "plain", "resumed"):
        strips[name] = []
        executor = (
            None
            if name == "plain"
            else CheckpointedExecutor(ThreadExecutor([load_backend("mock")], 2), memory, lambda: "key")
        )
        request = Request(COLOR, 510, 450, engine=(MOCK, load_backend("mock")), executor=executor)
        seen.append(enlarge(request, lambda strip, name=name: strips[name].append(strip.copy())))
    whole = {name: np.concatenate(found).tobytes() for name, found in strips.items()}
    assert whole["fresh"] == whole["plain"] == whole["resumed"]
    assert executor.resumed_tiles > 4
