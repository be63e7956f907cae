"""Jobs for executors: pictures, and the bytes that are right."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import replace

import numpy as np

from fluxvision.engine.backends.registry import BY_NAME, load_backend
from fluxvision.engine.executors.threads import ThreadExecutor
from fluxvision.engine.pipeline import Request, plan_tiles
from fluxvision.engine.resample import one_blas_thread
from fluxvision.engine.tile_inference import TileJob

COLOR = np.random.default_rng(5).integers(0, 256, (300, 340, 3), np.uint8)
PATIENCE = 60.0
PICTURES = {
    "colour": (COLOR, None, None),
    "grey": (COLOR[..., :1], None, None),
    "deep": (COLOR.astype(np.uint16) * 257, None, None),
    "alpha": (COLOR, COLOR[..., 1], None),
    "mask": (COLOR, None, np.where(np.arange(340) < 150, 255, 0).astype(np.uint8)[None].repeat(300, 0)),
    "small": (COLOR[:40, :30], None, None),
}


def work(picture="colour", batch=2, creativity=0.6):
    """Return a job of some tiles."""
    color, alpha, mask = PICTURES[picture]
    row = replace(BY_NAME["mock"], batch=batch)
    height, width = color.shape[0] * 3, color.shape[1] * 3
    return TileJob(color, alpha, mask, creativity, 3, row, *plan_tiles(Request(color, width, height), row))


def go_on():
    """Never stops."""


def samples(executor, of, stop=go_on, **rest):
    """Return the bytes of each batch."""
    one_blas_thread()
    with closing(executor.make(of, stop, **rest)) as batches:
        return [b"".join(tile.tobytes() for tile in batch) for batch in batches]


def expected(of, **rest):
    """Return the bytes that threads of this process make."""
    return samples(ThreadExecutor([load_backend("mock")], 2), of, **rest)


def until(true, patience=PATIENCE):
    """Wait until something is true."""
    ends = time.monotonic() + patience
    while not true():
        assert time.monotonic() < ends
        time.sleep(0.02)
