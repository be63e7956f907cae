"""When memory runs out FLUX goes on with less, rung by rung, and remembers it."""

from __future__ import annotations

import pytest

from fakes.flux_runs import ROW
from fakes.flux_stub import Stub, texture
from fakes.flux_tight import CUDA, WISHES, Tight, windows
from fluxvision.engine.flux.backend import FluxDetailer
from fluxvision.engine.flux.memory_budget import FallbackStep, MemoryBudget, RetryWithSmallerTiles, is_out_of_memory

FAULTS = {
    "cuda": CUDA,
    "mps": RuntimeError("MPS backend out of memory (MPS allocated: 17 GB)"),
    "cpu": RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
    "python": MemoryError(),
}


def go_on():
    """Never stops."""


def detailer(stub, room):
    return FluxDetailer(stub, 2, WISHES, go_on, budget=room)


def room_of(stub, tile=1024):
    return MemoryBudget(tile, (FallbackStep("text", stub.offload_text), FallbackStep("fp8", stub.quantize)))


@pytest.mark.parametrize("where", ["encode", "velocity", "decode"])
@pytest.mark.parametrize("fault", FAULTS)
def test_fewer_tiles_at_once_are_the_same_tiles(fault, where):
    """Wherever and however memory runs out: half as many go together, none is lost, and every byte is the same."""
    plenty = Stub(texture, ROW)
    wanted = detailer(plenty, MemoryBudget(1024)).detail(windows(7))
    tight = Tight(most=2, fault=FAULTS[fault], where=where)
    room = room_of(tight)
    made = detailer(tight, room).detail(windows(7))
    assert [one.tobytes() for one in made] == [one.tobytes() for one in wanted]
    assert (room.taken_steps, room.batch, tight.given) == (["batch 2"], 2, [])
    again = detailer(tight, room)
    tight.tries.clear()
    again.detail(windows(4))
    assert set(tight.tries) == {2}, "what did not fit once is not tried again"


@pytest.mark.parametrize(
    ("needed", "taken", "given"),
    [
        (0, ["batch 2", "batch 1"], []),
        (1, ["batch 2", "batch 1", "text"], ["text"]),
        (2, ["batch 2", "batch 1", "text", "fp8"], ["text", "fp8"]),
    ],
)
def test_the_rungs_come_in_their_order(needed, taken, given):
    """Tiles at once, then the text encoder, then precision; the batch goes on where it was."""
    tight = Tight(given=needed)
    room = room_of(tight)
    made = detailer(tight, room).detail(windows(5))
    assert len(made) == 5
    assert (room.taken_steps, tight.given) == (taken, given)


def test_smaller_tiles_are_another_plan():
    """Where one tile does not fit, the job is told to begin anew, twice; then there is no room, and that is said."""
    tight = Tight(most=0)
    room = room_of(tight)
    for size in (768, 512):
        with pytest.raises(RetryWithSmallerTiles):
            detailer(tight, room).detail(windows(2))
        assert room.tile == size
    with pytest.raises(MemoryError, match="no room for a single tile"):
        detailer(tight, room).detail(windows(2))
    assert room.taken_steps == ["batch 2", "batch 1", "text", "fp8", "tile 768", "tile 512"]


def test_a_batch_that_waited_is_not_tried_with_the_old_tiles():
    """Once tiles are smaller, what was cut before is not given to the network any more."""
    tight = Tight(most=0)
    room = room_of(tight)
    two = detailer(tight, room)
    with pytest.raises(RetryWithSmallerTiles):
        two.detail(windows(1))
    tries = len(tight.tries)
    with pytest.raises(RetryWithSmallerTiles):
        two.detail(windows(1))
    assert len(tight.tries) == tries


def test_what_gives_nothing_is_passed_over():
    """A rung that changes nothing, or for which there is no room itself, is neither told nor the last."""

    def full():
        raise CUDA

    room = MemoryBudget(
        512,
        (FallbackStep("nothing", lambda: False), FallbackStep("full", full), FallbackStep("some", lambda: None)),
        batch=1,
    )
    assert [room.release_next() for _ in range(4)] == [True, True, True, False]
    assert room.taken_steps == ["some", "tile 384", "tile 256"]


def test_words_of_tiles_that_do_not_fit():
    """The captioner's memory is a rung's like the network's."""
    stub = Tight(most=9)
    room, tries = room_of(stub), []

    def prompts(sources):
        tries.append(len(sources))
        if len(stub.given) < 1:
            raise CUDA
        return ["words"] * len(sources)

    made = FluxDetailer(stub, 2, WISHES, go_on, budget=room, prompts=prompts).detail(windows(3))
    assert (len(made), tries, room.taken_steps) == (3, [3, 2, 1, 1, 1, 1], ["batch 2", "batch 1", "text"])


@pytest.mark.parametrize(
    "fault", [RuntimeError("CUDA error: device-side assert triggered"), ValueError("out of memory")]
)
def test_other_faults_are_none_of_memory(fault):
    """They come out as they are, and nothing is given up."""
    assert not is_out_of_memory(fault)
    tight = Tight(most=0, fault=fault)
    room = room_of(tight)
    with pytest.raises(type(fault)):
        detailer(tight, room).detail(windows(2))
    assert room.taken_steps == []
