"""A tile is held to its source until it is near enough, on the pixels of the result."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from skimage import data

from fluxvision.core.images import RawImage
from fluxvision.engine import back_projection
from fluxvision.engine.back_projection import (
    SHARE,
    AxisMapping,
    Scale,
    axis_mapping,
    correct_raster,
    enlarge_window,
    error_allowance,
    shrink_window,
)
from fluxvision.engine.fidelity import measure_fidelity
from fluxvision.engine.tiling import plan_axis

RATIOS = (1.05, 1.5, 2, 3.3, 4)
PHOTO = np.ascontiguousarray(data.astronaut()[60:100, 190:238])
CHEQUERS = np.repeat((np.indices((40, 48)).sum(axis=0)[..., None] % 2 * 255).astype(np.uint8), 3, axis=2)
"""Black beside white: no enlargement between them shrinks to it."""


class Counting(Scale):
    """Judges all of a window and remembers what it found."""

    seen: list[float]

    def __new__(cls, *_args):
        """Have a list, which a frozen object cannot be given later."""
        made = super().__new__(cls)
        object.__setattr__(made, "seen", [])
        return made

    def error(self, difference):
        """Note the error."""
        self.seen.append(super().error(difference))
        return self.seen[-1]


def whole(color, ratio):
    """Return a picture's source as a tile sees it, and where it lies: all of it."""
    height, width = color.shape[:2]
    source = np.ascontiguousarray(color.transpose(2, 0, 1), np.float32) / 255
    tall, wide = round(height * ratio), round(width * ratio)
    return source, AxisMapping(height, tall, 0, height, 0, tall), AxisMapping(width, wide, 0, width, 0, wide)


def wild(rows, columns, seed=0):
    """Return random pixels."""
    return np.random.default_rng(seed).random((3, rows.last, columns.last), np.float32)


def held(color, ratio, psnr, *, most=32, start=None, **rest):
    """Hold a picture; return it with the errors on the way."""
    source, rows, columns = whole(color, ratio)
    scale = Counting(slice(None), slice(None))
    fine = wild(rows, columns) if start is None else start
    error = error_allowance(psnr, 255, rows, columns)
    made = correct_raster(fine, source, rows, columns, scale, error=error, least=0, most=most, **rest)
    return made, scale.seen


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("psnr", [35, 45, 50])
def test_a_tile_of_a_whole_picture_reaches_what_is_measured(ratio, psnr, tmp_path):
    """From random pixels, at any ratio: rounded to 8 bits, the finished picture measures what was wanted, not more."""
    made, _ = held(PHOTO, ratio, psnr)
    path = tmp_path / "out.raw"
    np.floor(made.transpose(1, 2, 0) * 255 + 0.5).astype(np.uint8).tofile(path)
    found = measure_fidelity(RawImage(path, made.shape[2], made.shape[1], 3, 8), PHOTO)
    assert psnr <= found.lr_psnr_db < psnr + 1.5


def test_easy_tiles_end_early():
    """What is near from the beginning is not touched; the more is wanted, the more corrections there are."""
    source, rows, columns = whole(PHOTO, 2)
    near = np.clip(enlarge_window(source, rows, columns), 0, 1)
    start = near.copy()
    made, seen = held(PHOTO, 2, 20, start=start)
    assert (len(seen), np.array_equal(made, near)) == (1, True)
    counts = [len(held(PHOTO, 2, psnr)[1]) - 1 for psnr in (0, 20, 35, 45, 60)]
    assert counts == sorted(set(counts))
    assert counts[0] == 0
    assert counts[-1] < 32


def test_what_cannot_be_reached_ends_at_the_most():
    """A chequerboard of pixels comes as near as it may, stays within 0..1, and costs no more than was allowed."""
    made, seen = held(CHEQUERS, 2, 45, most=8)
    assert (len(seen), made.min() >= 0, made.max() <= 1) == (8, True, True)
    assert -10 * np.log10(seen[-1]) < 20
    assert seen == sorted(seen, reverse=True)


def test_nothing_changes_where_nothing_may():
    """Outside `where` every byte stays, and inside the tile is held."""
    source, rows, columns = whole(PHOTO, 2)
    start = wild(rows, columns)
    where = np.zeros((1, rows.last, columns.last), np.bool_)
    where[:, :, 40:] = True
    made, seen = held(PHOTO, 2, 45, start=start.copy(), where=where)
    assert np.array_equal(made[:, :, :40], start[:, :, :40])
    assert np.square(shrink_window(made, rows, columns) - source)[:, :, 24:].mean() < 1e-4
    assert len(seen) == 32


def test_opaque_pixels_are_judged_by_themselves():
    """A difference that is small over all pixels counts where only the opaque ones are seen."""
    difference = np.zeros((3, 8, 8), np.float32)
    difference[:, 0, 0] = 0.5
    opaque = np.zeros((8, 8), np.bool_)
    everything = slice(None), slice(None)
    assert Scale(*everything, opaque).error(difference) == pytest.approx(0.25 / 64)
    opaque[0, :2] = True
    assert Scale(*everything, opaque).error(difference) == pytest.approx(0.125)
    assert Scale(slice(1, None), slice(None), opaque).error(difference) == 0


@pytest.mark.parametrize("ratio", RATIOS)
def test_a_window_is_a_part_of_the_picture(ratio):
    """Where it sees enough, a window shrinks and grows as the whole picture does, wherever its borders fall."""
    source, rows, columns = whole(PHOTO, ratio)
    fine = wild(rows, columns)
    coarse, large = shrink_window(fine, rows, columns), enlarge_window(source, rows, columns)
    lines = [
        plan_axis(size, line.last, tile=24, halo=6, overlap=2)
        for size, line in zip((40, 48), (rows, columns), strict=True)
    ]
    for down, across in product(lines[0].spans, lines[1].spans):
        part = axis_mapping(lines[0], down), axis_mapping(lines[1], across)
        inner = tuple(line.own(span) for line, span in zip(part, (down, across), strict=True))
        shown = slice(part[0].first, part[0].last), slice(part[1].first, part[1].last)
        found = shrink_window(np.ascontiguousarray(fine[:, shown[0], shown[1]]), *part)[:, inner[0], inner[1]]
        there = [slice(own.start + line.low, own.stop + line.low) for own, line in zip(inner, part, strict=True)]
        assert np.abs(found - coarse[:, there[0], there[1]]).max() < 1e-5
        seen = np.ascontiguousarray(source[:, part[0].low : part[0].high, part[1].low : part[1].high])
        grown = enlarge_window(seen, *part)
        rise, left = down.start - part[0].first, across.start - part[1].first
        own = grown[:, rise : rise + down.length, left : left + across.length]
        assert np.abs(own - large[:, down.start : down.stop, across.start : across.stop]).max() < 1e-5


@pytest.mark.parametrize("ratio", RATIOS)
def test_rounding_is_known_beforehand(ratio):
    """What a tile may lose less because of 8 bits is what rounding to them costs, to a twentieth."""
    _, rows, columns = whole(np.zeros((200, 240, 3), np.uint8), ratio)
    fine = wild(rows, columns)
    lost = np.square(shrink_window(np.round(fine * 255) / 255 - fine, rows, columns), dtype=np.float64).mean()
    assert 10**-5 * SHARE - error_allowance(50, 255, rows, columns) == pytest.approx(lost, rel=0.05)
    assert error_allowance(99, 255, rows, columns) > 0


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
