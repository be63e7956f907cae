"""Where a mask forbids new detail, there is no noise either; the picture's edge of the mask is soft on both sides."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fakes.flux_runs import PHOTO, ROW, apart, run, without
from fakes.flux_stub import Stub, texture
from fluxvision.engine.backends.registry import TileInput, TileOrigin
from fluxvision.engine.flux.backend import FluxDetailer, SamplingOptions
from fluxvision.engine.flux.latents import cut_latent_grid, guard_band

WISHES = SamplingOptions("words", 0.6, seed=3)


def go_on():
    """Never stops."""


def imagined(allowed):
    """Return a stub that was asked to re-imagine a tile of 4 × 6 cells on the grid."""
    stub = Stub(texture, ROW)
    base = np.ascontiguousarray(PHOTO[:49, :66].transpose(2, 0, 1), np.float32) / 255
    base = np.repeat(np.repeat(base, 2, axis=1), 2, axis=2)
    source = base[:, ::2, ::2]
    FluxDetailer(stub, 2, WISHES, go_on).detail([TileInput(source, base, TileOrigin(0, 0), allowed)])
    return stub


def half(columns):
    """Return a mask that allows detail from this source column on."""
    allowed = np.zeros((1, 49, 66), np.float32)
    allowed[:, :, columns:] = 1
    return allowed


def test_noise_stays_within_the_mask():
    """Cells far from the mask come out of the loop as they went in; those within it as they would without a mask."""
    masked, free = imagined(half(32)), imagined(None)
    source = masked.encoded[0]
    found, wanted = masked.decoded[0], free.decoded[0]
    # Column 32 doubled is the first of cell 4: from cell 3 on all is free, cells 1 and 2 fade, cell 0 is the source.
    assert torch.equal(found[..., :1], source[..., :1])
    assert torch.equal(found[..., 3:], wanted[..., 3:])
    change = ((found - source) / (wanted - source)).mean(dim=(0, 1, 2))[:4]
    assert change.tolist() == pytest.approx([0, 0.25, 0.75, 1], abs=0.01)


def test_a_mask_that_allows_all_is_none():
    """Not a bit is different."""
    everywhere = imagined(np.full((1, 49, 66), 0.5, np.float32))
    assert torch.equal(everywhere.decoded[0], imagined(None).decoded[0])


def test_tiles_of_a_batch_have_masks_of_their_own():
    """A tile that is free beside one that is half free: each is as by itself."""
    alone = [imagined(allowed).decoded[0] for allowed in (half(32), None)]
    stub = Stub(texture, ROW)
    base = np.ascontiguousarray(PHOTO[:49, :66].transpose(2, 0, 1), np.float32) / 255
    base = np.repeat(np.repeat(base, 2, axis=1), 2, axis=2)
    windows = [TileInput(base[:, ::2, ::2], base, TileOrigin(0, 0), allowed) for allowed in (half(32), None)]
    FluxDetailer(stub, 2, WISHES, go_on).detail(windows)
    assert torch.equal(stub.decoded[0], torch.cat(alone))


@settings(max_examples=40, deadline=None)
@given(
    st.tuples(st.integers(-40, 200), st.integers(-40, 200)),
    st.tuples(st.integers(0, 19), st.integers(0, 29)),
    st.sampled_from([1, 2, 4]),
)
def test_all_that_may_change_is_free(place, pixel, factor):
    """Wherever a tile lies: the cell of each allowed pixel and its neighbours are 1, and four cells away all is 0."""
    allowed = np.zeros((1, 20, 30), np.float32)
    allowed[0, pixel[0], pixel[1]] = 0.1
    found = cut_latent_grid(TileOrigin(*place), (20 * factor, 30 * factor), 16)
    mask = guard_band(found, allowed, factor)[0].numpy()
    down, across = ((at * factor + off) // 16 for at, off in zip(pixel, (found.down, found.across), strict=True))
    assert mask[max(0, down - 1) : down + 2, max(0, across - 1) : across + 2].min() == 1
    # Beyond its edges a tile is mirrored, and so is what is allowed there.
    inside = np.zeros(mask.shape, bool)
    inside[found.down // 16 + 1 : -3, found.across // 16 + 1 : -3] = True
    far = np.hypot(*(np.indices(mask.shape) - np.array([down, across])[:, None, None])) > 6
    mirrored = pixel[0] < 5 or pixel[1] < 5 or pixel[0] > 14 or pixel[1] > 24
    assert mirrored or mask[far & inside].max(initial=0) == 0


@pytest.mark.parametrize("scale", [1, 2, 3.5, 4])
@pytest.mark.parametrize("batch", [1, 4])
def test_outside_the_mask_every_byte_is_the_faithful_enlargement(scale, batch):
    """Whatever the scale and the batch: no new detail, no noise, no rounding."""
    mask = np.zeros(PHOTO.shape[:2], np.uint8)
    mask[8:30, 34:60] = 255
    stub = Stub(texture, ROW)
    masked, _ = run(PHOTO, scale, stub, mask=mask, batch=batch)
    plain = without("photo", scale)
    grown = np.zeros(masked.shape[:2], bool)
    # A soft edge of the mask lies within it; a cubic kernel reaches two source pixels further.
    top, bottom, left, right = (round(at * scale) for at in (8 - 2, 30 + 2, 34 - 2, 60 + 2))
    grown[top:bottom, left:right] = True
    assert np.array_equal(masked[~grown], plain[~grown])
    inner = masked[round(14 * scale) : round(24 * scale), round(40 * scale) : round(54 * scale)]
    whole = plain[round(14 * scale) : round(24 * scale), round(40 * scale) : round(54 * scale)]
    assert apart(inner, whole).mean() > 1
    assert stub.forwards
