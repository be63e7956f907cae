"""Resampling is exact where it can be, and agrees with Pillow where both do the same."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fluxvision.engine.resample import KERNELS, band_matrix


@given(
    st.integers(1, 200), st.floats(0.25, 4.0), st.integers(1, 200), st.sampled_from(sorted(KERNELS)), st.floats(-5, 5)
)
def test_a_constant_stays_constant(length, ratio, count, kernel, start):
    """Weights of every output pixel sum to one, also at the edges."""
    image = np.full((1, length, 3), 0.7, np.float32)
    out = band_matrix(length, ratio, start=start, count=count, kernel=kernel).rows(image)
    assert (1, count, 3) == out.shape
    assert np.allclose(out, 0.7, atol=1e-5)


@pytest.mark.parametrize(("size", "count"), [(64, 16), (64, 32), (63, 21), (50, 200), (48, 96)])
@pytest.mark.parametrize(("kernel", "filter_"), [("cubic", Image.BICUBIC), ("lanczos", Image.LANCZOS)])
def test_pillow_agrees_inside(size, count, kernel, filter_):
    """Away from the edges, which Pillow renormalises and we repeat, both resamplers give the same values."""
    rng = np.random.default_rng(1)
    image = rng.random((size, size)).astype(np.float32)
    wanted = np.asarray(Image.fromarray(image).resize((count, count), filter_))
    matrix = band_matrix(size, size / count, count=count, kernel=kernel)
    ours = matrix.columns(matrix.rows(image[None]))[0]
    edge = max(4, count // 5)
    assert np.allclose(wanted[edge:-edge, edge:-edge], ours[edge:-edge, edge:-edge], atol=2e-5)


def test_a_part_is_the_same_part_of_the_whole():
    """Resampling a window with its start gives the pixels that resampling the whole gives there."""
    rng = np.random.default_rng(2)
    line = rng.random((1, 1, 400)).astype(np.float32)
    whole = band_matrix(400, 1.6, count=250, kernel="lanczos").columns(line)
    part = band_matrix(200, 1.6, start=60 * 1.6 - 50, count=60, kernel="lanczos").columns(line[:, :, 50:250])
    assert np.allclose(whole[:, :, 60:120], part, atol=1e-5)
