"""Tiles go through FLUX in batches, whose division, order and place change nothing of a tile."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import cycle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fakes.flux_models import make_flux1, make_flux2
from fakes.flux_runs import PHOTO, PICTURES, ROW, apart, run
from fakes.flux_stub import DENOISERS, Stub, texture
from fluxvision.engine.backends.registry import TileInput, TileOrigin
from fluxvision.engine.flux import networks
from fluxvision.engine.flux.backend import FluxDetailer, SamplingOptions, backend_row
from fluxvision.engine.flux.memory_budget import BATCH
from fluxvision.engine.flux.options import PLAIN
from fluxvision.engine.flux.registry import BY_NAME
from fluxvision.engine.pipeline import Request, plan_tiles
from fluxvision.engine.tile_inference import TileJob, make_tiles

MASK = np.zeros(PHOTO.shape[:2], np.uint8)
MASK[10:40, 20:] = 255
WISHES = SamplingOptions("words", 0.5, seed=1)


def go_on():
    """Never stops."""


def whole(scale, mask=None):
    """Return a job at the photo, and its tiles made one by one."""
    row = backend_row(ROW, scale)
    height, width = PHOTO.shape[:2]
    work = TileJob(PHOTO, None, mask, 0.5, 1, row, *plan_tiles(Request(PHOTO, width * scale, height * scale), row))
    detailer = FluxDetailer(Stub(texture, ROW), scale, WISHES, go_on)
    return work, [make_tiles(work, detailer, [number], go_on)[0].tobytes() for number in range(work.total)]


@cache
def job(masked):
    """Return a job of a dozen tiles, and each tile made alone."""
    return whole(3, MASK if masked else None)


@settings(max_examples=12, deadline=None)
@given(st.booleans(), st.randoms(use_true_random=False), st.integers(1, 5))
def test_any_order_and_any_division_make_the_same_tiles(masked, chance, size):
    """Tiles are the same bytes, whichever go together, in whatever order, masked or not."""
    work, alone = job(masked)
    numbers = list(range(work.total))
    chance.shuffle(numbers)
    detailer = FluxDetailer(Stub(texture, ROW), 3, WISHES, go_on)
    for first in range(0, len(numbers), size):
        some = numbers[first : first + size]
        made = make_tiles(work, detailer, some, go_on)
        assert [tile.tobytes() for tile in made] == [alone[number] for number in some]


@pytest.mark.parametrize("denoiser", DENOISERS)
@pytest.mark.parametrize("at_once", [1, 3])
@pytest.mark.parametrize("batch", [2, 5, 100])
def test_batches_and_workers_change_no_byte(batch, at_once, denoiser):
    """A picture is the same whatever its division into batches and however many are at work."""
    stub = Stub(DENOISERS[denoiser], ROW)
    out, result = run(PHOTO, 3, stub, batch=batch, at_once=at_once)
    assert np.array_equal(out, run(PHOTO, 3, Stub(DENOISERS[denoiser], ROW), batch=1)[0])
    tiles = len(result.rows.spans) * len(result.columns.spans)
    sizes = [len(one) for one in stub.encoded]
    assert (sum(sizes), max(sizes)) == (tiles, min(batch, BATCH))


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """Tiny networks of both architectures."""
    root = tmp_path_factory.mktemp("weights")
    rows = {"flux2-klein-4b": make_flux2(root / "flux2"), "flux1-schnell": make_flux1(root / "flux1")}
    return {
        name: networks.load_networks(BY_NAME[name], folder, device="cpu", speed=PLAIN) for name, folder in rows.items()
    }


@pytest.mark.parametrize("name", ["flux2-klein-4b", "flux1-schnell"])
def test_real_networks_make_of_a_batch_what_they_make_of_each(real, name):
    """To float tolerance: products of other sizes are added up in another order. Every tile has its own noise."""
    detailer = FluxDetailer(real[name], 2, SamplingOptions("a heron", 0.4, seed=3), go_on)
    base = [np.ascontiguousarray(PHOTO[:32, at : at + 40].transpose(2, 0, 1), np.float32) / 255 for at in (0, 9, 20)]
    places = [TileOrigin(0, 0), TileOrigin(5, 37), TileOrigin(-9, 300)]
    windows = [TileInput(one[:, ::2, ::2], one, place) for one, place in zip(base, places, strict=True)]
    together = detailer.detail(windows)
    for window, made in zip(windows, together, strict=True):
        assert np.abs(made - detailer.detail([window])[0]).max() < 1e-4
    moved = detailer.detail([replace(windows[0], place=TileOrigin(160, 0))])[0]
    assert np.abs(moved - together[0]).max() > 1e-3


@pytest.mark.parametrize(("phase", "picture"), [*zip(range(16), cycle(PICTURES), strict=False)])
def test_tiles_are_invisible_at_every_phase_of_the_grid(picture, phase):
    """Wherever cells lie in the picture, down and across, the seam ratio is 1.00 ± 0.02."""

    class Shifted(FluxDetailer):
        def detail(self, windows):
            """Look at the picture as if it began elsewhere on the grid of cells."""
            at = [TileOrigin(one.place.top + phase, one.place.left + 16 - phase) for one in windows]
            return super().detail([replace(one, place=place) for one, place in zip(windows, at, strict=True)])

    denoiser = list(DENOISERS.values())[phase % len(DENOISERS)]
    _, result = run(PICTURES[picture], 1.5, Stub(denoiser, ROW), kind=Shifted, batch=3)
    assert result.seam_ratio == pytest.approx(1.0, abs=0.02)


def test_each_tile_has_its_own_words():
    """What is said of a tile's window guides that tile: one prompt per picture of the batch, none for all."""
    stub, seen = Stub(texture, ROW), []

    def prompts(sources):
        seen.extend(sources)
        return [f"tile {index}" for index, _ in enumerate(sources)]

    detailer = FluxDetailer(stub, 2, WISHES, go_on, prompts=prompts)
    base = np.full((3, 32, 32), 0.5, np.float32)
    windows = [TileInput(base[:, ::2, ::2] * share, base, TileOrigin(0, 0)) for share in (0.2, 0.5, 0.9)]
    detailer.detail(windows)
    assert stub.embedded == [["tile 0", "tile 1", "tile 2"]]
    assert {tuple(one.prompt) for one in stub.forwards} == {("tile 0", "tile 1", "tile 2")}
    assert [float(one.mean()) for one in seen] == pytest.approx([0.1, 0.25, 0.45])


def test_words_that_come_with_a_tile_guide_it():
    """They go before the words of the job, which guide the tiles that have none."""
    stub = Stub(texture, ROW)
    detailer = FluxDetailer(stub, 2, WISHES, go_on)
    base = np.full((3, 32, 32), 0.5, np.float32)
    windows = [TileInput(base[:, ::2, ::2], base, TileOrigin(0, 0), prompt=words) for words in ("one", None, "")]
    detailer.detail(windows)
    assert {tuple(one.prompt) for one in stub.forwards} == {("one", "words", "")}


def test_a_second_pass_goes_on_from_what_the_first_has_made():
    """The canvas at the tile's place is what gets noise, of its own field; colours are those of the source."""
    base = np.ascontiguousarray(PHOTO[:24, :24].transpose(2, 0, 1), np.float32) / 255
    canvas = np.ascontiguousarray(PHOTO[20:36, 30:46].transpose(2, 0, 1), np.float32) / 255
    made = {}
    for name, window, stream in (
        ("first", TileInput(base, base, TileOrigin(0, 0)), 0),
        ("second", TileInput(base, base, TileOrigin(0, 0), canvas=canvas), 0),
        ("other noise", TileInput(base, base, TileOrigin(0, 0), canvas=canvas), 1),
    ):
        stub = Stub(texture, ROW)
        detailer = FluxDetailer(stub, 1, replace(WISHES, stream=stream), go_on)
        made[name] = detailer.detail([window])[0], stub.encoded[0], stub.forwards[0].latents
    assert not torch.allclose(made["first"][1], made["second"][1])
    assert torch.equal(made["second"][1], made["other noise"][1])
    assert not torch.allclose(made["second"][2], made["other noise"][2])
    assert abs(made["second"][0].mean() - base.mean()) < 0.02


def test_the_canvas_of_a_job_lies_where_the_source_lies():
    """With a canvas that is the source doubled exactly, a second pass changes next to nothing of a first one."""
    doubled = run(PHOTO, 2, batch=4)[0]
    second, _ = run(PHOTO, 4, batch=4, canvas=doubled)
    first, _ = run(PHOTO, 4, batch=4)
    assert apart(first, second).mean() < 2
    moved, _ = run(PHOTO, 4, batch=4, canvas=np.roll(doubled, 6, axis=1))
    assert apart(first, moved).mean() > 2 * apart(first, second).mean()
