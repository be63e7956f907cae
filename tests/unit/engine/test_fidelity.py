"""Fidelity is measured on the finished samples."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import color, data

from fluxvision.core.images import RawImage
from fluxvision.engine.fidelity import CAP, ciede2000, measure_fidelity, to_lab


def measured(tmp_path: Path, fine, source, **rest):
    path = tmp_path / "fine.raw"
    fine.tofile(path)
    height, width, bands = fine.shape
    return measure_fidelity(
        RawImage(path, width, height, bands, fine.dtype.itemsize * 8), source, seam_ratio=1.0, **rest
    )


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
    monkeypatch.setattr("fluxvision.engine.fidelity.CHUNK", 16_000)
    assert measured(tmp_path, fine, source).lr_psnr_db == pytest.approx(whole.lr_psnr_db, abs=0.01)


@pytest.mark.parametrize("ratio", [2, 2.5, 4])
def test_a_crop_is_compared_with_its_part_of_the_source(tmp_path, ratio):
    """Cropping the enlarged picture changes the figure little; comparing it with the wrong place changes it much."""
    source = np.ascontiguousarray(data.astronaut()[60:120, 180:260])
    inner = (round(80 * ratio), round(60 * ratio))
    fine = np.asarray(Image.fromarray(source).resize(inner, Image.Resampling.LANCZOS))
    whole = measured(tmp_path, fine, source)
    left, top = 21, 14
    crop = np.ascontiguousarray(fine[top : top + 80, left : left + 100])
    found = measured(tmp_path, crop, source, inner=inner, offset=(left, top))
    assert found.lr_psnr_db == pytest.approx(whole.lr_psnr_db, abs=3)
    assert measured(tmp_path, crop, source, inner=inner, offset=(left + 9, top)).lr_psnr_db < whole.lr_psnr_db - 6


def test_a_border_does_not_count(tmp_path):
    """Padding around the picture leaves the figure as it is."""
    rng = np.random.default_rng(6)
    source = rng.integers(0, 256, (30, 40, 3), np.uint8)
    fine = np.repeat(np.repeat(source, 2, axis=0), 2, axis=1)
    padded = np.zeros((100, 90, 4), np.uint8)
    padded[20:80, 5:85, :3] = fine
    plain = measured(tmp_path, fine, source)
    assert measured(tmp_path, padded, source, inner=(80, 60), offset=(-5, -20)).lr_psnr_db == plain.lr_psnr_db


def test_a_smaller_result_is_not_compared(tmp_path):
    """There is no figure where the result has fewer pixels than the source."""
    assert measured(tmp_path, np.zeros((9, 9, 3), np.uint8), np.zeros((18, 18, 3), np.uint8)) is None


def test_transparent_pixels_do_not_count(tmp_path):
    """Where the source is not opaque, nothing is compared."""
    source = np.full((20, 20, 3), 50, np.uint8)
    fine = np.full((40, 40, 3), 50, np.uint8)
    fine[:, 20:] = 255
    alpha = np.full((20, 20), 255, np.uint8)
    alpha[:, 8:] = 0
    assert measured(tmp_path, fine, source, alpha=alpha).lr_psnr_db == CAP


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
    assert np.allclose(wanted, ciede2000(to_lab(first), to_lab(second)), atol=0.05)
