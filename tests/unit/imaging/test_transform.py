"""Finished pixels reach an exact box."""

import tracemalloc

import numpy as np
import pytest

from fluxvision.core.images import RawImage
from fluxvision.core.types import Fit
from fluxvision.engine.resample import band_matrix
from fluxvision.gateway.resource_estimate import WEIGHTS
from fluxvision.imaging.transform import blend_rasters, fit_raster, soften_mask

MODES = ("contain", "cover", "pad", "stretch")


def raster(tmp_path, samples):
    path = tmp_path / "in.raw"
    samples.tofile(path)
    height, width, bands = samples.shape
    return RawImage(path, width, height, bands, samples.dtype.itemsize * 8)


def pixels(result):
    dtype = np.uint8 if result.bits == 8 else np.uint16
    return np.fromfile(result.path, dtype).reshape(result.height, result.width, result.bands)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("bands", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("box", [(100, 100), (90, 40), (31, 77), (300, 200)])
def test_the_colour_survives_and_the_box_is_exact(tmp_path, mode, bands, dtype, box):
    """A flat picture keeps its value in every mode, depth and band count, and fills the box that its mode fills."""
    peak = np.iinfo(dtype).max
    flat = np.full((60, 90, bands), round(peak * 0.76), dtype)
    if bands in {2, 4}:
        flat[..., -1] = peak
    result = fit_raster(raster(tmp_path, flat), Fit(*box, mode), tmp_path / "out.raw")
    out = pixels(result)
    if mode != "contain":
        assert (result.width, result.height) == box
    assert np.abs(out[out.shape[0] // 2, out.shape[1] // 2, 0].astype(int) - round(peak * 0.76)) <= peak // 255
    if mode == "pad" and box == (100, 100):
        assert out.shape[2] in {2, 4}
        assert (out[0, :, -1] == 0).all()
        assert (out[50, :, -1] == peak).all()


def test_cover_crops_around_the_centre(tmp_path):
    """The middle of the picture stays in the middle."""
    ramp = np.repeat(np.arange(200, dtype=np.uint8)[None, :, None], 50, axis=0)
    out = pixels(fit_raster(raster(tmp_path, ramp), Fit(50, 50, "cover"), tmp_path / "out.raw"))
    assert (out[0, 0, 0], out[0, -1, 0]) == (75, 124)


def test_transparent_colour_does_not_bleed(tmp_path):
    """Shrinking weighs colour by alpha: what is transparent leaves no fringe."""
    samples = np.zeros((64, 64, 4), np.uint8)
    samples[:, 32:] = (200, 100, 50, 255)
    out = pixels(fit_raster(raster(tmp_path, samples), Fit(32, 32, "stretch"), tmp_path / "out.raw"))
    seen = out[out[..., 3] > 10]
    assert np.abs(seen[:, :3].astype(int) - (200, 100, 50)).max() <= 6


@pytest.mark.parametrize("size", [(120, 80), (240, 160), (150, 97), (61, 41), (33, 22), (120, 20), (30, 90)])
def test_nothing_moves(tmp_path, size):
    """Enlarged or reduced, the picture lies where a resampling from pixel centres puts it."""
    samples = np.random.default_rng(0).integers(0, 256, (5, 8, 1), np.uint8).repeat(8, axis=0).repeat(8, axis=1)[:, :60]
    width, height = size
    out = pixels(fit_raster(raster(tmp_path, samples), Fit(width, height, "stretch"), tmp_path / "out.raw"))
    kernels = ["cubic" if now >= was else "lanczos" for now, was in zip(size, (60, 40), strict=True)]
    across = band_matrix(60, 60 / width, count=width, kernel=kernels[0])
    down = band_matrix(40, 40 / height, count=height, kernel=kernels[1])
    wanted = across.columns(down.rows(samples[..., 0].astype(np.float32)))
    assert np.abs(out[..., 0] - np.clip(wanted, 0, 255)).max() <= 4


def test_an_inner_size_comes_before_the_rasters_own_shape(tmp_path):
    """A picture that was rounded on its way is straightened to the size that was promised, then cropped or padded."""
    ramp = np.repeat(np.arange(0, 176, 2, dtype=np.uint8)[None, :, None], 40, axis=0)  # 88 wide for a promise of 90
    fit = Fit(50, 30, "cover", (90, 41))
    out = pixels(fit_raster(raster(tmp_path, ramp), fit, tmp_path / "out.raw"))
    assert out.shape == (30, 50, 1)
    assert abs(int(out[0, 0, 0]) - 39) <= 1
    assert abs(int(out[0, -1, 0]) - 39 - 49 * 2 * 88 / 90) <= 1
    out = pixels(fit_raster(raster(tmp_path, ramp), Fit(90, 61, "pad", (90, 41)), tmp_path / "out.raw"))
    assert (out[:10, :, 1] == 0).all()
    assert (out[10:51, :, 1] == 255).all()
    assert (out[51:, :, 1] == 0).all()


def blending_raster(path, samples):
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
    out = blend_rasters(
        blending_raster(tmp_path / "low", low), blending_raster(tmp_path / "high", high), weight, tmp_path / "out"
    )
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
            blending_raster(tmp_path / "low", low),
            blending_raster(tmp_path / "high", high),
            soften_mask(mask),
            tmp_path / "out",
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
