"""Blending is invisible where tiles agree, smooth where they do not, and says which it was."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fluxvision.engine.blend import Blender, fade_border, ramp_weights
from fluxvision.engine.tiling import plan_axis


def blended(image, rows, columns, bits=8, disturb=lambda tile, _index: tile):
    strips = []
    blender = Blender(rows, columns, image.shape[0], bits, strips.append)
    index = 0
    for down in rows.spans:
        for across in columns.spans:
            tile = image[:, down.start : down.stop, across.start : across.stop].copy()
            blender.add(disturb(tile, index))
            index += 1
    return np.concatenate(strips), blender.seam_ratio


def tiling(height, width, factor=2):
    return (
        plan_axis(height // factor, height, tile=40, halo=8, overlap=4),
        plan_axis(width // factor, width, tile=40, halo=8, overlap=4),
    )


@settings(max_examples=40, deadline=None)
@given(st.integers(10, 150), st.integers(10, 150), st.integers(1, 4), st.sampled_from([8, 16]), st.integers(0, 99))
def test_agreeing_tiles_give_the_picture_back(height, width, bands, bits, seed):
    """Cutting a picture into tiles and blending them returns every sample exactly, for any size and band count."""
    peak = 2**bits - 1
    whole = np.random.default_rng(seed).integers(0, peak + 1, (height * 2, width * 2, bands))
    image = (whole / peak).astype(np.float32).transpose(2, 0, 1)
    out, ratio = blended(image, *tiling(height * 2, width * 2), bits)
    assert out.dtype == (np.uint8 if bits == 8 else np.uint16)
    assert np.abs(out.astype(int) - whole).max() <= (0 if bits == 8 else 1)
    if ratio is not None:
        assert ratio == pytest.approx(1.0, abs=1e-3)


def test_a_step_between_tiles_is_seen_by_the_ratio():
    """Tiles of different brightness on a flat picture have a seam ratio above 1.02."""
    image = np.full((3, 120, 160), 0.5, np.float32)
    _, ratio = blended(image, *tiling(120, 160), disturb=lambda tile, index: tile + np.float32(0.02 * (index % 2)))
    assert ratio > 1.02


def test_textures_that_disagree_are_seen_by_the_ratio():
    """Tiles of independent noise average out in the overlap: the ratio falls below 0.98."""
    rng = np.random.default_rng(0)
    image = np.full((3, 120, 160), 0.5, np.float32)
    _, ratio = blended(
        image, *tiling(120, 160), disturb=lambda tile, _i: tile + rng.normal(0, 0.1, tile.shape).astype(np.float32)
    )
    assert ratio < 0.98


def test_a_step_fades_over_the_whole_overlap():
    """A brightness difference between two tiles is spread: no neighbouring pixels differ by a quarter of it."""
    image = np.full((1, 40, 100), 0.4, np.float32)
    rows, columns = plan_axis(20, 40, tile=40, halo=8, overlap=4), plan_axis(50, 100, tile=45, halo=8, overlap=4)
    assert len(columns.spans) == 2
    out, _ = blended(image, rows, columns, 16, lambda tile, index: tile + np.float32(0.2 * index))
    steps = np.abs(np.diff(out[20, :, 0].astype(float))) / 65535
    assert steps.max() < 0.05
    assert out[20, -1, 0] - out[20, 0, 0] == pytest.approx(0.2 * 65535, abs=2)


@pytest.mark.parametrize("share", [0.25, 1.0])
@pytest.mark.parametrize("length", [1, 2, 7, 16])
def test_a_ramp_and_its_mirror_sum_to_one(length, share):
    """What one tile gives up the other takes over."""
    weights = ramp_weights(length, share)
    assert np.allclose(weights + weights[::-1], 1, atol=1e-6)


def test_a_lone_tile_has_no_border():
    """One tile has no seam ratio and is not faded."""
    rows, columns = plan_axis(10, 20, tile=60, halo=8, overlap=4), plan_axis(10, 20, tile=60, halo=8, overlap=4)
    tile = np.full((3, 20, 20), 0.25, np.float32)
    fade_border(tile, 1, rows.spans[0])
    assert (tile == 0.25).all()
    assert blended(tile, rows, columns)[1] is None
