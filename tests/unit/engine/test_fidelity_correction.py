"""A finished picture is held to its source in its file."""

from __future__ import annotations

import numpy as np
import pytest
from skimage import data

from fluxvision.core.callbacks import JobCallbacks
from fluxvision.core.errors import Cancelled
from fluxvision.core.images import RawImage
from fluxvision.engine import fidelity_correction
from fluxvision.engine.fidelity import measure_fidelity
from fluxvision.engine.fidelity_correction import correct_fidelity
from fluxvision.engine.resample import band_matrix

PHOTO = np.ascontiguousarray(data.astronaut()[60:150, 190:260])
RATIOS = (1.3, 2, 4)


def joined(color, ratio, folder, *, alpha=None, bits=8):
    """Write an enlargement with a strip of noise in the middle, as where two tiles disagree; return it and its file."""
    height, width = color.shape[:2]
    tall, wide = round(height * ratio), round(width * ratio)
    found = color.transpose(2, 0, 1).astype(np.float32) / np.iinfo(color.dtype).max
    found = band_matrix(height, height / tall, count=tall).rows(
        band_matrix(width, width / wide, count=wide).columns(found)
    )
    middle = slice(wide // 2 - 8, wide // 2 + 8)
    found[:, :, middle] += 0.2 * (np.random.default_rng(0).random(found[:, :, middle].shape, np.float32) - 0.5)
    peak = 2**bits - 1
    samples = np.round(np.clip(found, 0, 1) * peak).astype(f"u{bits // 8}").transpose(1, 2, 0)
    if alpha is not None:
        samples = np.dstack([samples, np.repeat(np.repeat(alpha, ratio, 0), ratio, 1)])
    raster = RawImage(folder / "out.raw", wide, tall, samples.shape[2], bits)
    np.ascontiguousarray(samples).tofile(raster.path)
    return samples, raster


def pixels(raster):
    """Return what is in the file."""
    return np.fromfile(raster.path, f"u{raster.bits // 8}").reshape(raster.height, raster.width, raster.bands)


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize(("bits", "wanted"), [(8, 45), (8, 55), (16, 60)])
def test_a_picture_that_misses_the_value_reaches_it(ratio, bits, wanted, tmp_path):
    """What is told is what a measurement of the file finds, and that is what was wanted."""
    color = PHOTO if bits == 8 else PHOTO.astype(np.uint16) * 257
    before, raster = joined(color, ratio, tmp_path, bits=bits)
    assert measure_fidelity(raster, color).lr_psnr_db < wanted
    found = correct_fidelity(raster, color, wanted, JobCallbacks())
    assert found == measure_fidelity(raster, color).lr_psnr_db >= wanted
    assert not np.array_equal(pixels(raster), before)


@pytest.mark.parametrize("kind", ["grey", "alpha", "grey and alpha"])
def test_grey_and_transparent_pictures(kind, tmp_path):
    """One band is held like three; the alpha channel stays as it is, and only opaque pixels are measured."""
    color = PHOTO[..., :1] if "grey" in kind else PHOTO
    alpha = None
    if "alpha" in kind:
        alpha = np.full(PHOTO.shape[:2], 255, np.uint8)
        alpha[:30] = 0
    before, raster = joined(color, 2, tmp_path, alpha=alpha)
    found = correct_fidelity(raster, color, 50, JobCallbacks(), alpha=alpha)
    assert found == measure_fidelity(raster, color, alpha=alpha).lr_psnr_db >= 50
    assert np.array_equal(pixels(raster)[..., color.shape[2] :], before[..., color.shape[2] :])


@pytest.mark.parametrize("ratio", RATIOS)
def test_strips_change_nothing(ratio, tmp_path, monkeypatch):
    """However many rows are corrected in one go, the bytes are the same, to the rounding of sums."""
    made = []
    for chunk in (10**7, 1):
        monkeypatch.setattr(fidelity_correction, "CHUNK", chunk)
        _, raster = joined(PHOTO, ratio, tmp_path)
        correct_fidelity(raster, PHOTO, 50, JobCallbacks())
        made.append(pixels(raster).astype(int))
    assert np.abs(made[0] - made[1]).max() <= 1
    assert (made[0] != made[1]).mean() < 1e-3


def test_what_is_near_enough_is_not_touched(tmp_path):
    """A picture that keeps the promise goes out as it is."""
    before, raster = joined(PHOTO, 2, tmp_path)
    near = measure_fidelity(raster, PHOTO).lr_psnr_db
    assert correct_fidelity(raster, PHOTO, near, JobCallbacks()) == near
    assert np.array_equal(pixels(raster), before)


def test_what_may_not_be_corrected_is_told(tmp_path):
    """Without corrections nothing is, and the value is the true one."""
    before, raster = joined(PHOTO, 2, tmp_path)
    assert (
        correct_fidelity(raster, PHOTO, 55, JobCallbacks(), most=0) == measure_fidelity(raster, PHOTO).lr_psnr_db < 55
    )
    assert np.array_equal(pixels(raster), before)


def test_what_cannot_be_reached_is_told(tmp_path):
    """A chequerboard of pixels comes nearer, not near enough, and the value is the true one."""
    chequers = np.repeat((np.indices((48, 40)).sum(axis=0)[..., None] % 2 * 255).astype(np.uint8), 3, axis=2)
    _, raster = joined(chequers, 2, tmp_path)
    before = measure_fidelity(raster, chequers).lr_psnr_db
    assert (
        before
        < correct_fidelity(raster, chequers, 45, JobCallbacks())
        == measure_fidelity(raster, chequers).lr_psnr_db
        < 20
    )


def test_the_mask_is_kept(tmp_path):
    """Where no detail is allowed every byte stays, to a pixel of the source, and the rest comes nearer."""
    mask = np.zeros(PHOTO.shape[:2], np.uint8)
    mask[:, 35:] = 255
    before, raster = joined(PHOTO, 2, tmp_path)
    at_first = measure_fidelity(raster, PHOTO).lr_psnr_db
    assert at_first < correct_fidelity(raster, PHOTO, 60, JobCallbacks(), mask=mask)
    assert np.array_equal(pixels(raster)[:, :68], before[:, :68])
    assert not np.array_equal(pixels(raster)[:, 68:], before[:, 68:])


def test_a_cancel_ends_it_before_the_next_strip(tmp_path, monkeypatch):
    """Whoever goes while strips are corrected waits for the one at work, and nothing is measured any more."""
    monkeypatch.setattr(fidelity_correction, "CHUNK", 1)
    _, raster = joined(PHOTO, 2, tmp_path)
    callbacks, strips, add = JobCallbacks(), [], fidelity_correction._add_correction

    def going(*given):
        strips.append(given)
        callbacks.cancel.set()
        add(*given)

    monkeypatch.setattr(fidelity_correction, "_add_correction", going)
    with pytest.raises(Cancelled):
        correct_fidelity(raster, PHOTO, 60, callbacks)
    assert len(strips) == 1
