"""Several passes over one picture."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some
from skimage import data

from fluxvision import engine
from fluxvision.core.callbacks import JobCallbacks
from fluxvision.core.errors import Cancelled
from fluxvision.core.images import RawImage
from fluxvision.engine import pass_sizes, planned_memory
from fluxvision.engine.backends.registry import BY_NAME, load_backend
from fluxvision.engine.enlarge_to_file import LATER_CREATIVITY, enlarge_in_passes, enlarge_to_raster
from fluxvision.engine.executors.threads import ThreadExecutor
from fluxvision.engine.fidelity import measure_fidelity

MOCK = BY_NAME["mock"]
COLOR = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
ALPHA = np.full((30, 40), 255, np.uint8)
sides = some.integers(1, 3000)
factors = some.integers(100, 1600).map(lambda hundredths: Fraction(hundredths, 100))


def request(width, height, **facts):
    return engine.Request(facts.pop("color", COLOR), width, height, backend="mock", threads=1, **facts)


def samples(raster: RawImage):
    kind = np.uint8 if raster.bits == 8 else np.uint16
    return np.fromfile(raster.path, kind).reshape(raster.height, raster.width, raster.bands)


@given(sides, sides, factors, factors)
def test_each_pass_enlarges_four_times_at_most(width, height, across, down):
    """The last makes the target; none shrinks; there are two above x4 on any axis and one up to that."""
    target = round(width * across), round(height * down)
    sizes = pass_sizes((width, height), target)
    assert sizes[-1] == target
    for old, new in zip([(width, height), *sizes], sizes, strict=False):
        assert all(one <= two <= 4 * one for one, two in zip(old, new, strict=True))
    assert len(sizes) == (1 if target[0] <= 4 * width and target[1] <= 4 * height else 2)


@pytest.mark.parametrize("alpha", [None, ALPHA], ids=["opaque", "alpha"])
@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_eight_times_is_four_times_and_then_twice(alpha, depth, tmp_path):
    """The second pass enlarges the file that the first wrote, at a third of its creativity, and leaves one file."""
    color = COLOR.astype(depth)
    deep = None if alpha is None else np.full(alpha.shape, np.iinfo(depth).max, depth)
    whole, passes = enlarge_in_passes(request(320, 240, color=color, alpha=deep, creativity=0.6), tmp_path)
    assert [(one.width, one.height) for one in passes] == [(160, 120), (320, 240)]
    assert [one.creativity for one in passes] == [0.6, 0.6 * LATER_CREATIVITY]
    assert list(tmp_path.iterdir()) == [whole.path]
    if alpha is None:
        first, _ = enlarge_to_raster(request(160, 120, color=color, creativity=0.6), tmp_path)
        by_hand = request(320, 240, color=samples(first), creativity=0.6 * LATER_CREATIVITY)
        assert (samples(whole) == samples(enlarge_to_raster(by_hand, tmp_path)[0])).all()
    else:
        assert (samples(whole)[..., 3] == np.iinfo(depth).max).all()


def test_up_to_four_times_there_is_one_pass(tmp_path):
    """The samples are those of the engine alone."""
    raster, passes = enlarge_in_passes(request(160, 90), tmp_path)
    assert len(passes) == 1
    assert (samples(raster) == samples(enlarge_to_raster(request(160, 90), tmp_path)[0])).all()


def test_the_result_of_two_passes_still_reduces_to_the_source(tmp_path):
    """Each pass is consistent with what it enlarges, and so is the whole: over 40 dB."""
    face = np.ascontiguousarray(data.astronaut()[80:104, 200:232])
    raster, _ = enlarge_in_passes(engine.Request(face, 256, 192, threads=1), tmp_path)
    assert measure_fidelity(raster, face).lr_psnr_db > 40


@pytest.mark.parametrize(
    ("width", "facts", "later"),
    [
        (256, {}, "span-x2"),
        (272, {}, "span"),
        (256, {"creativity": 0}, "span"),
        (256, {"mask": np.full((24, 32), 255, np.uint8)}, "span"),
    ],
    ids=["twice", "more", "faithful", "masked"],
)
def test_a_second_pass_of_twice_the_size_has_its_network(tmp_path, width, facts, later):
    """It is made by the row for that, unless a part of it must be as faithful as it can be."""
    face = np.ascontiguousarray(data.astronaut()[80:104, 200:232])
    asked = engine.Request(face, width, width * 3 // 4, threads=1, **facts)
    _, passes = enlarge_in_passes(asked, tmp_path)
    assert [one.row.name for one in passes] == ["span", later]


def test_every_pass_has_its_executor(tmp_path):
    """What makes the tiles is asked for by the name of the pass's engine."""
    face, asked = np.ascontiguousarray(data.astronaut()[80:104, 200:232]), []

    def executor(name):
        asked.append(name)
        return ThreadExecutor([load_backend(name)], 1)

    request = engine.Request(face, 256, 192, threads=1)
    there, _ = enlarge_in_passes(request, tmp_path, executor)
    here, _ = enlarge_in_passes(request, tmp_path)
    assert asked == ["span", "span-x2"]
    assert (samples(there) == samples(here)).all()


def test_a_mask_holds_in_every_pass(tmp_path):
    """Where nothing may be invented the samples are those without creativity."""
    mask = np.zeros((30, 40), np.uint8)
    mask[:, 30:] = 255
    masked, _ = enlarge_in_passes(request(320, 240, mask=mask, creativity=1), tmp_path)
    plain, _ = enlarge_in_passes(request(320, 240, creativity=0), tmp_path)
    assert (samples(masked)[:, :160] == samples(plain)[:, :160]).all()
    assert (samples(masked)[:, 280:] != samples(plain)[:, 280:]).any()


def test_progress_counts_the_tiles_of_all_passes(tmp_path):
    """The total is the same from the first tile on, and is reached."""
    told = []
    color = np.zeros((100, 100, 3), np.uint8)
    callbacks = JobCallbacks(progress=lambda done, total: told.append((done, total)))
    _, passes = enlarge_in_passes(request(500, 500, color=color, callbacks=callbacks), tmp_path)
    total = sum(one.result.tiles for one in passes)
    assert told == [(done, total) for done in range(1, total + 1)]


def test_a_job_that_is_cancelled_in_its_second_pass_leaves_no_file(tmp_path):
    """The first pass's file goes too."""
    callbacks = JobCallbacks(
        progress=lambda _done, _total: callbacks.cancel.set() if len(list(tmp_path.iterdir())) == 2 else None
    )
    with pytest.raises(Cancelled):
        enlarge_in_passes(request(320, 240, callbacks=callbacks), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_memory_of_two_passes_is_that_of_the_larger_and_a_mask():
    """A pass is planned for what it enlarges."""
    whole = planned_memory(MOCK, (400, 300), (3200, 2400), bands=3, bits=8)
    passes = [
        planned_memory(MOCK, (400, 300), (1600, 1200), bands=3, bits=8),
        planned_memory(MOCK, (1600, 1200), (3200, 2400), bands=3, bits=8),
    ]
    assert whole == max(passes) + 1600 * 1200
