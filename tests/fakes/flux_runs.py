"""FLUX in the pipeline with networks whose answer is known, on small pictures that have several tiles."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
from skimage import data

from fakes.flux_stub import Stub
from fluxvision.core.callbacks import JobCallbacks
from fluxvision.core.errors import Cancelled
from fluxvision.engine import Request, enlarge
from fluxvision.engine.flux.backend import FluxDetailer, SamplingOptions, backend_row
from fluxvision.engine.flux.options import FIDELITY
from fluxvision.engine.flux.registry import BY_NAME

WHOLE = BY_NAME["flux2-klein-4b"]
ROW = replace(WHOLE, tile=128)
"""Small tiles, so that a small picture has several."""
ROWS, COLUMNS = 52, 68
Y, X = np.mgrid[0:ROWS, 0:COLUMNS]
PICTURES = {
    "flat": np.full((ROWS, COLUMNS, 3), 128, np.uint8),
    "gradient": np.stack([X * 3, Y * 4, X + Y], axis=-1).astype(np.uint8),
    "noise": np.random.default_rng(0).integers(96, 160, (ROWS, COLUMNS, 3), np.uint8),
    "photo": np.ascontiguousarray(data.astronaut()[60 : 60 + ROWS, 190 : 190 + COLUMNS]),
}
PHOTO = PICTURES["photo"]


class Faithful(FluxDetailer):
    """Imagines nothing, where the pipeline asks for it."""

    def detail(self, windows):
        """Return the faithful enlargement, as far as a picture can hold it."""
        return [np.clip(window.base, 0, 1) for window in windows]


def run(
    color,
    scale,
    stub=None,
    *,
    wishes=None,
    kind=FluxDetailer,
    at_once=1,
    batch=None,
    callbacks=None,
    threads=2,
    fidelity=FIDELITY,
    **rest,
):
    """Enlarge a picture by way of the pipeline."""
    stub = stub or Stub(row=ROW)
    wishes = wishes or SamplingOptions("words", 0.5, seed=1)
    callbacks = callbacks or JobCallbacks()

    def stop():
        if callbacks.cancel.is_set():
            raise Cancelled("stopped")

    factor = int(np.ceil(scale))
    row = replace(backend_row(stub.row, factor, fidelity), at_once=at_once)
    row = row if batch is None else replace(row, batch=batch)
    size = round(color.shape[1] * scale), round(color.shape[0] * scale)
    request = Request(
        color,
        *size,
        creativity=wishes.creativity,
        seed=wishes.seed,
        threads=threads,
        callbacks=callbacks,
        engine=(row, kind(stub, factor, wishes, stop, threads)),
        **rest,
    )
    strips = []
    result = enlarge(request, strips.append)
    return np.concatenate(strips), result


@cache
def without(picture, scale, row=ROW):
    """Return the enlargement with creativity 0."""
    return run(PICTURES[picture], scale, Stub(row=row), wishes=SamplingOptions("words", 0.0))[0]


def apart(one, other):
    """Return by how much samples differ."""
    return np.abs(one.astype(int) - other)
