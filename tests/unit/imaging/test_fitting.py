"""Finished pixels reach an exact box."""

import numpy as np
import pytest

from fluxvision.imaging.fitting import fitted
from fluxvision.types import Fit, Raster

MODES = ("contain", "cover", "pad", "stretch")


def raster(tmp_path, samples):
    path = tmp_path / "in.raw"
    samples.tofile(path)
    height, width, bands = samples.shape
    return Raster(path, width, height, bands, samples.dtype.itemsize * 8)


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
    result = fitted(raster(tmp_path, flat), Fit(*box, mode), tmp_path / "out.raw")
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
    out = pixels(fitted(raster(tmp_path, ramp), Fit(50, 50, "cover"), tmp_path / "out.raw"))
    assert (out[0, 0, 0], out[0, -1, 0]) == (75, 124)


def test_transparent_colour_does_not_bleed(tmp_path):
    """Shrinking weighs colour by alpha: what is transparent leaves no fringe."""
    samples = np.zeros((64, 64, 4), np.uint8)
    samples[:, 32:] = (200, 100, 50, 255)
    out = pixels(fitted(raster(tmp_path, samples), Fit(32, 32, "stretch"), tmp_path / "out.raw"))
    seen = out[out[..., 3] > 10]
    assert np.abs(seen[:, :3].astype(int) - (200, 100, 50)).max() <= 6
