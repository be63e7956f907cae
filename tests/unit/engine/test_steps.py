"""What happens to one tile keeps colour and structure."""

import numpy as np
import pytest

from fluxvision.engine import back_projection


def picture(rows=40, columns=48, seed=3):
    return np.random.default_rng(seed).random((3, rows, columns)).astype(np.float32)


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_back_projection_brings_the_result_closer_to_the_source_each_time(factor):
    """With each iteration the reduced result agrees better with the source."""
    source = back_projection.low_band(picture(), 2)
    start = back_projection.enlarge(source, factor) + 0.1 * picture(40 * factor, 48 * factor, 4)
    errors = []
    for iterations in (0, 1, 2, 4):
        held = back_projection.hold_to_source(start.copy(), source, factor, iterations=iterations, weight=1.0)
        errors.append(float(np.square(back_projection.shrink(held, factor) - source).mean()))
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < errors[0] / 100


def test_the_colour_lock_is_whole_even_where_detail_is_not_trusted():
    """With weight 0 a colour cast is removed and fine differences stay."""
    source = np.full((3, 64, 64), 0.5, np.float32)
    cast = back_projection.enlarge(source, 4) + np.float32(0.1)
    held = back_projection.hold_to_source(cast, source, 4, iterations=1, weight=0.0)
    assert np.allclose(held, 0.5, atol=1e-4)


def test_admitting_nothing_is_the_base_and_everything_the_detail():
    """The amount goes from the base to the detail."""
    base, detail = picture(seed=5), picture(seed=6)
    assert np.allclose(base, back_projection.mix_detail(base, detail.copy(), 0.0))
    assert np.allclose(detail, back_projection.mix_detail(base, detail.copy(), 1.0), atol=1e-6)


def test_a_map_admits_detail_only_where_it_is_one():
    """An amount per pixel leaves the rest untouched."""
    base, detail = picture(seed=5), picture(seed=6)
    amount = np.zeros((1, 40, 48), np.float32)
    amount[:, :, 24:] = 1
    out = back_projection.mix_detail(base, detail.copy(), amount)
    assert np.array_equal(base[:, :, :24], out[:, :, :24])
    assert np.allclose(detail[:, :, 24:], out[:, :, 24:], atol=1e-6)


def test_the_low_band_keeps_a_constant_and_loses_noise():
    """Smoothing keeps the mean and takes the fine away."""
    assert np.allclose(back_projection.low_band(np.full((3, 32, 32), 0.3, np.float32), 4), 0.3, atol=1e-6)
    assert back_projection.low_band(picture(64, 64), 3).std() < picture(64, 64).std() / 5
