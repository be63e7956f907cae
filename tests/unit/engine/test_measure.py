"""Fidelity is measured on the finished samples."""

from pathlib import Path

import numpy as np
import pytest
from skimage import color

from fluxvision.engine.grid import axis
from fluxvision.engine.measure import CAP, ciede2000, lab, measure
from fluxvision.engine.pipeline import Result
from fluxvision.types import Raster


def measured(tmp_path: Path, fine, source):
    path = tmp_path / "fine.raw"
    fine.tofile(path)
    height, width, bands = fine.shape
    lines = [axis(a, b, tile=64, halo=4, overlap=1) for a, b in zip(source.shape, fine.shape, strict=False)][:2]
    raster = Raster(path, width, height, bands, fine.dtype.itemsize * 8)
    return measure(raster, source, Result(*lines, seam_ratio=1.0))


def test_repeated_pixels_are_exactly_faithful_when_flat(tmp_path):
    """A flat picture enlarged to a flat picture has no error at all."""
    source = np.full((30, 40, 3), 77, np.uint8)
    found = measured(tmp_path, np.full((90, 120, 3), 77, np.uint8), source)
    assert found.lr_psnr_db == CAP
    assert found.delta_e == 0


@pytest.mark.parametrize(("dtype", "peak"), [(np.uint8, 255), (np.uint16, 65535)])
def test_a_known_error_gives_its_known_psnr(tmp_path, dtype, peak):
    """A constant offset has the PSNR of its size."""
    source = np.full((40, 40, 1), round(peak * 0.5), dtype)
    fine = np.full((80, 80, 1), round(peak * 0.6), dtype)
    error = (int(fine[0, 0, 0]) - int(source[0, 0, 0])) / peak
    assert measured(tmp_path, fine, source).lr_psnr_db == pytest.approx(-20 * np.log10(error), abs=0.01)


def test_chunks_do_not_change_the_figure(tmp_path, monkeypatch):
    """Many small chunks give what one large one gives."""
    rng = np.random.default_rng(0)
    source = rng.integers(0, 256, (150, 90, 3), np.uint8)
    fine = rng.integers(0, 256, (375, 225, 3), np.uint8)
    whole = measured(tmp_path, fine, source)
    monkeypatch.setattr("fluxvision.engine.measure.CHUNK", 16_000)
    assert measured(tmp_path, fine, source).lr_psnr_db == pytest.approx(whole.lr_psnr_db, abs=0.01)


def test_alpha_does_not_count(tmp_path):
    """A fourth band is left out of the comparison."""
    source = np.full((20, 20, 3), 9, np.uint8)
    fine = np.full((40, 40, 4), 9, np.uint8)
    fine[..., 3] = 200
    assert measured(tmp_path, fine, source).lr_psnr_db == CAP


def test_colour_difference_agrees_with_an_independent_one():
    """CIEDE2000 and CIELAB agree with scikit-image's on random colours."""
    rng = np.random.default_rng(4)
    first, second = rng.random((3, 500)), rng.random((3, 500))
    wanted = color.deltaE_ciede2000(color.rgb2lab(first.T), color.rgb2lab(second.T))
    assert np.allclose(wanted, ciede2000(lab(first), lab(second)), atol=0.05)
