"""Compression is taken out of JPEG pictures."""

from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from skimage import data

from fluxvision.engine import deblock as module
from fluxvision.engine.deblock import CHROMA, COSINES, LUMA, deblock, deblock_strength, quantisation_table


def compressed(samples, quality, subsampling=0):
    buffer = BytesIO()
    Image.fromarray(samples).save(buffer, "JPEG", quality=quality, subsampling=subsampling)
    buffer.seek(0)
    return Image.open(buffer)


def psnr(one, other):
    return 10 * np.log10(255**2 / np.square(one.astype(np.float64) - other).mean())


@pytest.mark.parametrize("quality", [1, 10, 50, 75, 90, 100])
def test_tables_are_those_that_libjpeg_writes(quality):
    """A quality has the quantisation tables that libjpeg stores for it."""
    stored = compressed(np.zeros((8, 8, 3), np.uint8), quality).quantization
    assert [list(quantisation_table(standard, quality).ravel()) for standard in (LUMA, CHROMA)] == [
        stored[0],
        stored[1],
    ]


def test_the_transform_is_orthonormal():
    """The block transform and its transpose undo each other."""
    assert np.abs(COSINES @ COSINES.T - np.eye(8)).max() < 1e-6


@pytest.mark.parametrize("subsampling", [0, 2])
@pytest.mark.parametrize("quality", [40, 60, 75, 90])
def test_a_compressed_photograph_comes_nearer_to_the_original(quality, subsampling):
    """Colour and grey photographs gain PSNR at every quality."""
    original = data.astronaut()[:200, 100:301]
    color = np.asarray(compressed(original, quality, subsampling).convert("RGB"))
    assert psnr(deblock(color, quality), original) > psnr(color, original) + 0.1
    grey = np.asarray(compressed(original[:, :, 1], quality))[:, :, None]
    assert psnr(deblock(grey, quality), original[:, :, 1:2]) > psnr(grey, original[:, :, 1:2]) + 0.1


@pytest.mark.parametrize(("quality", "share"), [(1, 0.6), (75, 0.6), (85, 0.5), (97, 0.38), (98, 0.0), (100, 0.0)])
def test_finer_quantisation_is_changed_less(quality, share):
    """The strength falls above quality 75 and ends above 97, where the picture is returned as it is."""
    assert deblock_strength(quality) == pytest.approx(share)
    color = data.astronaut()[:16, :16]
    assert (deblock(color, quality) is color) == (share == 0)


def test_strips_do_not_show(monkeypatch):
    """The bytes do not depend on how many rows are at work at one time."""
    color = data.coffee()[:150, :90]
    whole = deblock(color, 50)
    monkeypatch.setattr(module, "STRIP", 16)
    assert (deblock(color, 50) == whole).all()


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 3]), st.integers(1, 97), st.integers(0, 255))
def test_every_size_keeps_its_shape_and_flat_pictures_their_value(rows, columns, channels, quality, value):
    """Pictures of any size go through; grey of one value stays near it."""
    color = np.full((rows, columns, channels), value, np.uint8)
    result = deblock(color, quality)
    assert result.shape == color.shape
    assert result.dtype == np.uint8
    assert np.abs(result.astype(int) - color).max() <= np.ceil(0.6 * quantisation_table(LUMA, quality)[0, 0] / 16)
