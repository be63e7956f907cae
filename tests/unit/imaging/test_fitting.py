"""Finished pixels reach an exact box."""

import numpy as np
import pytest

from fluxvision.core.types import Fit, RawImage
from fluxvision.engine.resample import band_matrix
from fluxvision.imaging.transform import fit_raster

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
