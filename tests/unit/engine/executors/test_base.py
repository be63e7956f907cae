"""Prompts that are found here guide tiles that another executor makes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fluxvision.engine.backends.registry import BY_NAME, load_backend
from fluxvision.engine.executors.base import PerTilePromptExecutor
from fluxvision.engine.executors.threads import ThreadExecutor
from fluxvision.engine.pipeline import Request, plan_tiles
from fluxvision.engine.tile_inference import TileJob

ROW = replace(BY_NAME["mock"], batch=2)
COLOR = np.random.default_rng(1).integers(0, 256, (150, 170, 3), np.uint8)
RIGHT = np.where(np.arange(170) < 120, 0, 255).astype(np.uint8)[None].repeat(150, 0)


class Noted:
    """The mock, which notes each tile's words."""

    def __init__(self):
        """Note nothing yet."""
        self._mock, self.prompts = load_backend("mock"), []

    def base(self, tile):
        """Enlarge as the mock does."""
        return self._mock.base(tile)

    def detail(self, windows):
        """Note the words."""
        self.prompts += [window.prompt for window in windows]
        return self._mock.detail(windows)


def go_on():
    """Never stops."""


def mean(windows):
    return [f"{window.mean():.6f}" for window in windows]


def job(mask=None):
    return TileJob(COLOR, None, mask, 0.6, 3, ROW, *plan_tiles(Request(COLOR, 510, 450), ROW))


def made(work, batches=None):
    """Return the words of the tiles in the order in which they were made, and the tiles."""
    backend = Noted()
    tiles = [
        tile
        for some in PerTilePromptExecutor(ThreadExecutor([backend], 1), mean).make(work, go_on, batches)
        for tile in some
    ]
    return backend.prompts, [tile.tobytes() for tile in tiles]


def test_every_tile_has_the_words_of_its_own_window():
    """Of all tiles or of some batches; the words change no tile that does not look at them."""
    work = job()
    expected = [mean([work.source(number)])[0] for number in range(work.total)]
    words, tiles = made(work)
    assert words == expected
    assert tiles == [
        tile.tobytes() for some in ThreadExecutor([load_backend("mock")], 1).make(work, go_on) for tile in some
    ]
    some = work.batches[1:3]
    assert made(work, some)[0] == [expected[number] for batch in some for number in batch]


def test_protected_tiles_are_not_looked_at():
    """Where nothing may be invented there is nothing to say."""
    work = job(RIGHT)
    looked = []
    executor = PerTilePromptExecutor(
        ThreadExecutor([load_backend("mock")], 1), lambda windows: (looked.extend(windows), mean(windows))[1]
    )
    assert len([tile for some in executor.make(work, go_on) for tile in some]) == work.total
    protected = [number for number in range(work.total) if work.is_protected(number)]
    assert len(looked) == work.total - len(protected) < work.total
