"""What every engine row promises, run for each row whose weights are installed."""

import dataclasses
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from skimage import data

from fluxvision.core.callbacks import JobCallbacks
from fluxvision.core.errors import Cancelled
from fluxvision.engine import BACKENDS, Request, enlarge, pipeline
from fluxvision.engine.backends import registry

FAST = [row for row in (*BACKENDS, registry.TWICE) if row.name in {"span", "span-x2", "mock"}]
INSTALLED = [row for row in (*BACKENDS, registry.TWICE) if row.installed]


@pytest.fixture(params=FAST, ids=lambda row: row.name)
def row(request, monkeypatch):
    """A row with small tiles, so that a small picture has several."""
    small = dataclasses.replace(request.param, tile=2 * request.param.halo + 28)
    monkeypatch.setitem(pipeline.BY_NAME, small.name, small)
    monkeypatch.setitem(registry.BY_NAME, small.name, small)
    return small


def photo(rows=60, columns=72):
    return np.ascontiguousarray(data.astronaut()[60 : 60 + rows, 180 : 180 + columns])


def run(color, width, height, **rest):
    strips = []
    result = enlarge(Request(color, width, height, **rest), strips.append)
    return np.concatenate(strips), result


def test_bytes_do_not_depend_on_threads(row):
    """One, two and five threads give the same bytes."""
    outs = [run(photo(), 216, 180, backend=row.name, threads=threads)[0] for threads in (1, 2, 5)]
    assert np.array_equal(outs[0], outs[1])
    assert np.array_equal(outs[0], outs[2])


def test_bytes_do_not_depend_on_other_jobs(row):
    """A job beside another that begins and ends meanwhile gives the bytes that it gives alone."""
    alone, _ = run(photo(), 216, 180, backend=row.name)
    with ThreadPoolExecutor(3) as pool:
        beside = pool.submit(run, photo(), 216, 180, backend=row.name)
        for size in (8, 9, 10):
            pool.submit(run, photo(size, size), size * 2, size * 2, backend=row.name)
    assert np.array_equal(alone, beside.result()[0])


@pytest.mark.parametrize(("width", "height"), [(72, 60), (73, 61), (101, 77), (144, 120), (288, 240), (288, 60)])
def test_the_size_is_exactly_the_one_asked_for(row, width, height):
    """Whole, fractional and uneven factors give exactly the pixels asked for."""
    out, _ = run(photo(), width, height, backend=row.name, creativity=0)
    assert out.shape == (height, width, 3)


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (37, 1), (7, 13), (3, 90)])
def test_tiny_and_thin_pictures_work(row, shape):
    """A picture of one pixel, one row or one column is enlarged like any other."""
    color = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    out, _ = run(color, shape[1] * 4, shape[0] * 4, backend=row.name)
    assert out.shape == (shape[0] * 4, shape[1] * 4, 3)


@pytest.mark.parametrize(("dtype", "channels"), [(np.uint8, 1), (np.uint16, 1), (np.uint16, 3)])
def test_grey_and_deep_pictures_stay_what_they_are(row, dtype, channels):
    """Samples keep their type and channels their number; deep samples use more than 8 bits."""
    color = photo().astype(dtype) * (257 if dtype == np.uint16 else 1)
    out, _ = run(np.ascontiguousarray(color[..., :channels]), 144, 120, backend=row.name)
    assert (out.dtype, out.shape[2]) == (dtype, channels)
    if dtype == np.uint16:
        assert len(np.unique(out)) > 256


def test_alpha_is_enlarged_beside_the_colour(row):
    """Alpha comes out as the last band: opaque stays opaque, an edge stays where it was."""
    alpha = np.zeros((60, 72), np.uint8)
    alpha[:, 36:] = 255
    out, _ = run(photo(), 144, 120, alpha=alpha, backend=row.name)
    assert out.shape == (120, 144, 4)
    assert (out[:, :62, 3] < 8).all()
    assert (out[:, 82:, 3] > 247).all()


def test_a_mask_limits_new_detail(row):
    """Where the mask says no, the result is the one without creativity."""
    mask = np.zeros((60, 72), np.uint8)
    mask[:, 48:] = 255
    plain, _ = run(photo(), 288, 240, backend=row.name, creativity=0)
    masked, _ = run(photo(), 288, 240, backend=row.name, creativity=1, mask=mask)
    free, _ = run(photo(), 288, 240, backend=row.name, creativity=1)
    assert np.abs(plain[:, :150].astype(int) - masked[:, :150]).max() <= 3
    assert np.abs(plain[:, 220:].astype(int) - masked[:, 220:]).max() > 8
    assert np.abs(free[:, 240:].astype(int) - masked[:, 240:]).max() <= 3


def test_tiles_are_invisible(row):
    """The seam ratio is 1.00 ± 0.02 on a photo, a gradient and flat grey, for whole and fractional factors."""
    y, x = np.mgrid[0:60, 0:72]
    gradient = np.stack([x * 3, y * 4, x + y], axis=-1).astype(np.uint8)
    for color in (photo(), gradient, np.full((60, 72, 3), 128, np.uint8)):
        for width, height in ((288, 240), (190, 158)):
            _, result = run(color, width, height, backend=row.name)
            assert result.seam_ratio == pytest.approx(1.0, abs=0.02)


def test_progress_counts_every_tile_and_cancel_stops_at_the_next(row):
    """Progress goes from 1 to the number of tiles; a cancel set on the way raises `Cancelled`."""
    seen = []
    run(photo(), 144, 120, backend=row.name, callbacks=JobCallbacks(lambda done, total: seen.append((done, total))))
    total = seen[0][1]
    assert [(n + 1, total) for n in range(total)] == seen
    assert total > 3
    callbacks = JobCallbacks(lambda *_: callbacks.cancel.set())
    with pytest.raises(Cancelled):
        run(photo(), 144, 120, backend=row.name, callbacks=callbacks, threads=1)


def test_creativity_zero_ignores_the_seed_and_more_does_not():
    """A seed changes invented detail and nothing else."""
    assert np.array_equal(run(photo(), 144, 120, creativity=0)[0], run(photo(), 144, 120, creativity=0, seed=3)[0])
    assert not np.array_equal(run(photo(), 144, 120)[0], run(photo(), 144, 120, seed=3)[0])
    assert np.array_equal(run(photo(), 144, 120, seed=3)[0], run(photo(), 144, 120, seed=11)[0])


@pytest.mark.parametrize("installed", INSTALLED, ids=lambda row: row.name)
def test_every_installed_row_enlarges(installed):
    """A row whose weights are there makes a picture that agrees with its source."""
    color = photo(32, 32)
    out, _ = run(color, 128, 128, backend=installed.name)
    assert out.shape == (128, 128, 3)
    assert abs(out.mean() - color.mean()) < 3
