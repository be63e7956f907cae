"""Weights decide which picture is seen where."""

import tracemalloc

import numpy as np
import pytest

from fluxvision.core.types import RawImage
from fluxvision.gateway.job_resources import WEIGHTS
from fluxvision.imaging.transform import blend_rasters, soften_mask


def raster(path, samples):
    samples.tofile(path)
    height, width, bands = samples.shape
    return RawImage(path, width, height, bands, samples.dtype.itemsize * 8)


def noise(shape, dtype, seed):
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, shape, dtype)


@pytest.mark.parametrize("bands", [(1, 1), (1, 2), (3, 3), (3, 4)])
@pytest.mark.parametrize("dtypes", [(np.uint8, np.uint8), (np.uint16, np.uint8), (np.uint8, np.uint16)])
def test_each_side_is_exact_where_it_alone_counts(bands, dtypes, tmp_path):
    """Weight 0 shows the lower picture and weight 1 the upper one, in the deeper one's bits; alpha is the upper's."""
    low, high = (noise((30, 40, count), dtype, count) for count, dtype in zip(bands, dtypes, strict=True))
    weight = np.zeros((30, 40), np.float32)
    weight[:, 20:] = 1
    out = blend_rasters(raster(tmp_path / "low", low), raster(tmp_path / "high", high), weight, tmp_path / "out")
    deepest = np.uint16 if np.uint16 in dtypes else np.uint8
    found = np.fromfile(out.path, deepest).reshape(30, 40, bands[1])
    low, high = (
        one.astype(np.uint32) * (257 if one.dtype == np.uint8 and deepest == np.uint16 else 1) for one in (low, high)
    )
    assert (found[:, :20, : bands[0]] == low[:, :20]).all()
    assert (found[:, 20:] == high[:, 20:]).all()
    assert (found[..., bands[0] :] == high[..., bands[0] :]).all()


def test_a_soft_edge_begins_inside_the_free_part():
    """The protected part stays at 0; from there the weight rises to 1 over three pixels; a grey mask stays grey."""
    mask = np.zeros((9, 20), np.uint8)
    mask[:, 10:] = 255
    line = soften_mask(mask)[4]
    assert line[:11].tolist() == [0] * 11
    assert line[11:].tolist() == [0.25, 0.75, *[1] * 7]
    assert soften_mask(np.full((5, 5), 102, np.uint8)) == pytest.approx(np.full((5, 5), 0.4))


@pytest.mark.parametrize("factor", [1, 1.5, 2, 3.7, 4])
def test_an_enlarged_weight_stays_inside_the_free_part(factor, tmp_path):
    """No pixel of the protected part changes at any factor, along straight, slanted and curved edges."""
    down, across = np.mgrid[0:40, 0:50]
    for free in (across > 25, across + down > 50, np.hypot(across - 25, down - 20) < 12):
        mask = np.where(free, 255, 0).astype(np.uint8)
        height, width = round(40 * factor), round(50 * factor)
        low, high = np.zeros((height, width, 1), np.uint8), np.full((height, width, 1), 255, np.uint8)
        out = blend_rasters(
            raster(tmp_path / "low", low), raster(tmp_path / "high", high), soften_mask(mask), tmp_path / "out"
        )
        found = np.fromfile(out.path, np.uint8).reshape(height, width)
        rows = ((np.arange(height) + 0.5) * 40 / height).astype(int)
        columns = ((np.arange(width) + 0.5) * 50 / width).astype(int)
        assert (found[mask[rows][:, columns] == 0] == 0).all()
        assert found.max() == 255


def test_weights_take_as_much_memory_as_is_planned():
    """Never more than four arrays of weights stand beside each other."""
    mask = np.random.default_rng(0).integers(0, 256, (600, 1000), np.uint8)
    tracemalloc.start()
    try:
        soften_mask(mask)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak <= WEIGHTS * mask.size + 100_000
