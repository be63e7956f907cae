"""Tiles of a picture, made a few at a time."""

from dataclasses import replace

import numpy as np
import pytest

from fluxvision.engine.backends.registry import BY_NAME, load_backend
from fluxvision.engine.pipeline import Request, plan_tiles
from fluxvision.engine.tile_inference import TileJob, make_tiles

MOCK = BY_NAME["mock"]
COLOR = np.random.default_rng(5).integers(0, 256, (150, 170, 3), np.uint8)
MASK = np.zeros(COLOR.shape[:2], np.uint8)
MASK[20:90, 30:100] = 255


def work(row=MOCK, color=COLOR, mask=None, alpha=None):
    rows, columns = plan_tiles(Request(color, color.shape[1] * 3, color.shape[0] * 3), row)
    return TileJob(color, alpha, mask, 0.6, 3, row, rows, columns)


def go_on():
    """Never stops."""


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_batches_hold_every_tile_once(size, replace_row):
    """Batches divide the numbers from 0 up, in order, and the last may be smaller."""
    found = work(replace_row(batch=size))
    assert [number for batch in found.batches for number in batch] == list(range(found.total))
    assert all(len(batch) == size for batch in found.batches[:-1])


@pytest.mark.parametrize("mask", [None, MASK], ids=["all", "masked"])
@pytest.mark.parametrize("alpha", [None, COLOR[..., 0]], ids=["opaque", "alpha"])
@pytest.mark.parametrize("grey", [False, True], ids=["colour", "grey"])
def test_a_tile_is_the_same_alone_and_in_company(mask, alpha, grey):
    """Which tiles are made together, and in which order, changes no byte."""
    found = work(color=COLOR[..., :1] if grey else COLOR, mask=mask, alpha=alpha)
    backend = load_backend("mock")
    alone = [make_tiles(found, backend, [number], go_on)[0] for number in range(found.total)]
    backwards = make_tiles(found, backend, range(found.total)[::-1], go_on)[::-1]
    assert found.total > 3
    for one, other in zip(alone, backwards, strict=True):
        assert one.tobytes() == other.tobytes()


def test_only_tiles_that_may_have_detail_are_given_to_the_network():
    """A tile outside the mask is enlarged faithfully, and the network does not see it."""
    seen = []

    class Spy:
        base = staticmethod(load_backend("mock").base)

        def detail(self, windows):
            seen.append(len(windows))
            return load_backend("mock").detail(windows)

    found = work(mask=MASK)
    make_tiles(found, Spy(), range(found.total), go_on)
    allowed = sum(_allows_detail(found, number) for number in range(found.total))
    assert seen == [allowed]
    assert 0 < allowed < found.total


class Joint:
    """A backend that makes both enlargements in one run, and counts its runs."""

    device = "cpu"

    def __init__(self):
        """Begin to count."""
        self.runs, self.mock = [], load_backend("mock")

    def both(self, tile):
        """Enlarge in both ways."""
        self.runs.append("both")
        return self.mock.base(tile), self.mock.base(tile) + tile[:, :1, :1]

    def base(self, tile):
        """Enlarge faithfully."""
        self.runs.append("base")
        return self.mock.base(tile)

    def detail(self, windows):
        """Enlarge with detail."""
        self.runs.append("detail")
        return [self.both(window.source)[1] for window in windows]


@pytest.mark.parametrize(
    ("mask", "creativity", "runs"),
    [(None, 0.3, ["both"]), (None, 0.0, ["base"]), (MASK, 0.3, ["base", "detail", "both"])],
)
def test_one_run_makes_both_enlargements(mask, creativity, runs):
    """A joint network runs once for a tile; beside a mask, whose outside no seed may change, once for each."""
    found, backend = replace(work(mask=mask), creativity=creativity), Joint()
    number = 0 if mask is None else next(n for n in range(found.total) if _allows_detail(found, n))
    make_tiles(found, backend, [number], go_on)
    assert backend.runs == runs


@pytest.mark.parametrize("seed", range(8))
def test_the_orientation_of_a_joint_network_is_turned_back(seed):
    """A network that does not mind how its source is turned gives the same picture with every seed."""

    class Plain(Joint):
        def both(self, tile):
            """Enlarge by repetition, and a darker one."""
            fine = tile.repeat(4, 1).repeat(4, 2)
            return fine, fine * np.float32(0.5)

    made = [make_tiles(replace(work(), seed=one), Plain(), [0], go_on)[0] for one in (0, seed)]
    assert np.allclose(*made, atol=1e-6)


def _allows_detail(found, number):
    down, across = found.spans(number)
    rows = slice(max(0, down.source), down.source + found.rows.window)
    return bool(MASK[rows, max(0, across.source) : across.source + found.columns.window].any())


def test_work_ends_where_stop_raises():
    """What `stop` raises comes out, before the tile that was to be made."""

    def stop():
        raise InterruptedError

    with pytest.raises(InterruptedError):
        make_tiles(work(), load_backend("mock"), [0], stop)


@pytest.fixture
def replace_row():
    """Return the mock's row with other facts."""
    return lambda **facts: replace(MOCK, **facts)
