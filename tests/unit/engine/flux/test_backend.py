"""FLUX in the pipeline, by networks whose answer is known: what is kept, what is limited, what the network is told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import data
from skimage.registration import phase_cross_correlation

from fakes.flux_runs import COLUMNS, PHOTO, PICTURES, ROW, ROWS, WHOLE, Faithful, apart, run, without
from fakes.flux_stub import CHANNELS, DENOISERS, Stub, constant, identity, latents_of, texture
from fluxvision.core.callbacks import JobCallbacks
from fluxvision.core.errors import Cancelled
from fluxvision.core.images import RawImage
from fluxvision.engine import Request, back_projection, enlarge
from fluxvision.engine.backends.registry import TileInput, TileOrigin
from fluxvision.engine.fidelity import ciede2000, measure_fidelity, to_lab
from fluxvision.engine.flux import noise, sampling
from fluxvision.engine.flux.backend import FEWEST, FluxDetailer, SamplingOptions, backend_row
from fluxvision.engine.flux.registry import BY_NAME, FLUX
from fluxvision.engine.tiling import reflect_indices

SCALES = (1, 1.5, 2, 3, 4)


def measured(out, color, folder):
    path = Path(folder, "out.raw")
    out.tofile(path)
    return measure_fidelity(RawImage(path, out.shape[1], out.shape[0], 3, 8), color)


def colours(samples):
    """Return the colours of a picture's low band as CIELAB."""
    low = back_projection.low_band(
        np.ascontiguousarray(samples.transpose(2, 0, 1), np.float32) / 255, back_projection.WAVELET_LEVELS
    )
    return to_lab(low.reshape(3, -1))


@pytest.mark.parametrize("scale", SCALES)
def test_a_network_that_changes_nothing_changes_nothing(scale, tmp_path):
    """The way through latents, noise, steps and colour lock returns the faithful enlargement, to rounding."""
    out, _ = run(PHOTO, scale)
    assert apart(out, run(PHOTO, scale, kind=Faithful)[0]).max() <= 1
    # With imagined detail there may be other back-projections: edges may move by a little.
    assert apart(out, without("photo", scale)).mean() < 0.5
    assert measured(out, PHOTO, tmp_path).lr_psnr_db >= 45


@pytest.mark.parametrize("picture", PICTURES)
@pytest.mark.parametrize("denoiser", DENOISERS)
def test_tiles_are_invisible(picture, denoiser):
    """The seam ratio is 1.00 ± 0.02, whatever the picture and whatever is made of it."""
    _, result = run(PICTURES[picture], 1.5, Stub(DENOISERS[denoiser], ROW))
    assert result.seam_ratio == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize("denoiser", DENOISERS)
@pytest.mark.parametrize(("rows", "columns"), [(40, 61), (41, 47), (43, 57), (50, 66)])
def test_tiles_are_invisible_at_every_phase(rows, columns, denoiser):
    """The same wherever tiles begin between the cells of the latent grid."""
    color = np.ascontiguousarray(data.astronaut()[60 : 60 + rows, 190 : 190 + columns])
    out, result = run(color, 2, Stub(DENOISERS[denoiser], ROW))
    assert out.shape == (2 * rows, 2 * columns, 3)
    assert len({span.source * 2 % 16 for axis in (result.rows, result.columns) for span in axis.spans}) > 1
    assert result.seam_ratio == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize("denoiser", [identity, texture])
def test_bytes_do_not_depend_on_threads(denoiser):
    """One tile after the other or four at once, the first of them late: the same bytes."""
    one, _ = run(PHOTO, 2, Stub(denoiser, ROW), threads=1)
    four, _ = run(PHOTO, 2, Stub(denoiser, ROW, pause=0.3), threads=4, at_once=4)
    assert np.array_equal(one, four)


@settings(max_examples=20, deadline=None)
@given(
    st.tuples(st.integers(-200, 900), st.integers(-200, 900)),
    st.tuples(st.integers(4, 50), st.integers(4, 50)),
    st.integers(0, 2**32 - 1),
)
def test_every_tile_sees_its_crop_of_the_field(place, shape, seed):
    """Noise and cells are those of the tile's place in the whole picture, wherever and however large it is."""
    (top, left), stub = place, Stub(row=ROW)
    base = np.random.default_rng(0).random((3, *shape), np.float32)
    detailer = FluxDetailer(stub, 4, SamplingOptions("words", 0.7, seed=seed), lambda: None)
    made = detailer.detail([TileInput(base, base, TileOrigin(top, left))])[0]
    assert np.allclose(made, base, atol=2e-5)
    first = stub.forwards[0]
    _, _, rows, columns = first.latents.shape
    seen = (first.latents - (1 - first.sigma) * first.source) / first.sigma
    field = noise.noise_field(seed, top // 16, left // 16, rows, columns, CHANNELS)
    assert torch.allclose(seen[0], torch.from_numpy(field), atol=1e-4)
    down = reflect_indices(top // 16 * 16 - top, rows * 16, shape[0])
    across = reflect_indices(left // 16 * 16 - left, columns * 16, shape[1])
    assert torch.allclose(first.source, latents_of(torch.from_numpy(base[:, down][:, :, across])[None]), atol=1e-6)
    assert (rows, columns) == tuple((side + 15 + 15) // 16 for side in shape)


def test_all_tiles_of_a_job_have_one_shape():
    """Wherever a tile begins on the grid, the network sees as many cells: at most the row's tile."""
    stub = Stub(row=ROW)
    _, result = run(PHOTO, 3, stub)
    assert sum(map(len, stub.encoded)) == len(result.rows.spans) * len(result.columns.spans) > 6
    assert len({one.shape[1:] for one in stub.encoded}) == 1


@pytest.mark.parametrize("row", FLUX, ids=lambda row: row.name)
@pytest.mark.parametrize("factor", [1, 2, 3, 4])
def test_a_tile_has_no_more_tokens_than_its_row_takes(row, factor):
    """The published networks are given at most the places that they can be given, for tiles of any sides."""
    made = backend_row(row, factor)
    most = 0
    for high in range(int(made.tile / 1.25), int(made.tile * 1.25) + 1):
        wide = min(int(made.tile * 1.25), made.tile**2 // high)
        most = max(most, -(-(high * factor + 15) // 16) * -(-(wide * factor + 15) // 16))
    assert 0.9 * 4096 < most <= row.tokens
    assert 0 < made.overlap <= made.halo < made.tile / 2


def test_without_creativity_no_network_is_asked():
    """Nothing is embedded, encoded or denoised, and what is left is the embedded engine's."""
    stub = Stub(row=WHOLE)
    out, result = run(PHOTO, 4, stub, wishes=SamplingOptions("words", 0.0))
    assert (stub.embedded, stub.encoded, stub.forwards) == ([], [], [])
    assert len(result.rows.spans) == len(result.columns.spans) == 1
    strips = []
    enlarge(Request(PHOTO, COLUMNS * 4, ROWS * 4, creativity=0), strips.append)
    # FLUX's tiles are held where the picture ends and between black and white, the embedded engine's beyond.
    far = apart(out, np.concatenate(strips))
    assert far.max() < 8
    assert (far > 1).mean() < 0.01
    assert (far[16:-16, 16:-16] > 1).mean() < 0.001


@pytest.mark.parametrize("scale", [1.5, 2, 3])
def test_without_creativity_the_embedded_engine_is_near(scale):
    """At factors that its network does not have, the faithful enlargement is the embedded engine's to 45 dB."""
    strips = []
    size = round(COLUMNS * scale), round(ROWS * scale)
    enlarge(Request(PHOTO, *size, creativity=0), strips.append)
    error = np.square(apart(without("photo", scale, WHOLE), np.concatenate(strips)).astype(float)).mean()
    assert 10 * np.log10(255**2 / error) > 45


@pytest.mark.parametrize("picture", PICTURES)
@pytest.mark.parametrize("denoiser", [constant, texture])
def test_no_tile_has_a_colour_of_its_own(picture, denoiser, tmp_path):
    """However wrong the network's colours are, those of the result are the source's: ΔE2000 < 1, at every scale."""
    for scale in (1.5, 4):
        color = PICTURES[picture]
        out, _ = run(color, scale, Stub(denoiser, WHOLE))
        assert ciede2000(colours(out), colours(without(picture, scale, WHOLE))).mean() < 1
        # What a network adds and takes away between one pixel and the next is detail, and no colour.
        assert measured(out, color, tmp_path).delta_e < 1.5


@pytest.mark.parametrize("picture", PICTURES)
@pytest.mark.parametrize("denoiser", [constant, texture])
def test_unenlarged_there_is_new_detail_in_the_old_colours(picture, denoiser):
    """At scale 1 detail is not held back to the source's pixels, and colours are locked all the same."""
    out, _ = run(PICTURES[picture], 1, Stub(denoiser, ROW))
    if picture != "flat" or denoiser is texture:
        assert apart(out, PICTURES[picture]).mean() > 0.2
    assert ciede2000(colours(out), colours(PICTURES[picture])).mean() < 1


def test_unenlarged_full_consistency_would_return_the_source():
    """Why there is none at factor 1: whatever is imagined, back-projection brings every pixel back."""
    source = np.ascontiguousarray(PHOTO.transpose(2, 0, 1), np.float32) / 255
    imagined = np.random.default_rng(0).random(source.shape, np.float32)
    held = back_projection.hold_to_source(imagined, source, 1, iterations=1, weight=1.0)
    assert np.abs(held - source).max() < 1e-6
    assert [backend_row(WHOLE, factor).consistency for factor in (1, 2, 3, 4)] == [0, 1, 1, 1]
    assert [backend_row(WHOLE, factor, 50).fidelity for factor in (1, 2, 3, 4)] == [None, 50, 50, 50]


@pytest.mark.parametrize("denoiser", DENOISERS)
@pytest.mark.parametrize("scale", [1.5, 4])
def test_nothing_moves(scale, denoiser):
    """The result lies where the source lies: less than a quarter of a pixel from the faithful enlargement."""
    out, _ = run(PHOTO, scale, Stub(DENOISERS[denoiser], WHOLE))
    shift, *_ = phase_cross_correlation(
        without("photo", scale, WHOLE).mean(axis=2), out.mean(axis=2), upsample_factor=20
    )
    assert np.abs(shift).max() < 0.25


def test_a_mask_limits_new_detail():
    """Where nothing may be invented the bytes are those of creativity 0; where it may be, those without a mask."""
    mask = np.zeros((ROWS, COLUMNS), np.uint8)
    mask[:, 40:] = 255
    masked, _ = run(PHOTO, 2, Stub(texture, ROW), mask=mask)
    free, _ = run(PHOTO, 2, Stub(texture, ROW))
    plain = without("photo", 2)
    assert np.array_equal(masked[:, :76], plain[:, :76])
    assert apart(masked, free)[:, 96:].max() <= 1
    assert apart(masked, plain)[:, 96:].mean() > 2


def test_a_tile_where_nothing_may_be_invented_is_not_imagined():
    """A mask that forbids all makes no forward."""
    stub = Stub(row=ROW)
    out, _ = run(PHOTO, 2, stub, mask=np.zeros((ROWS, COLUMNS), np.uint8))
    assert np.array_equal(out, without("photo", 2))
    assert stub.forwards == []


def test_cancelling_stops_before_the_next_forward():
    """A cancel during a forward is the last thing that the network is asked."""
    callbacks, stub = JobCallbacks(), Stub(row=ROW)
    stub.before = callbacks.cancel.set
    with pytest.raises(Cancelled):
        run(PHOTO, 2, stub, callbacks=callbacks)
    assert len(stub.forwards) == 1


@pytest.mark.parametrize(
    ("name", "wishes", "prompt", "guidance"),
    [
        ("flux2-klein-4b", SamplingOptions("a heron"), "a heron", 1.0),
        ("flux2-klein-base-4b", SamplingOptions("a heron"), "a heron", 4.0),
        ("flux2-klein-base-4b", SamplingOptions("a heron", guidance=2.5), "a heron", 2.5),
        ("flux1-dev", SamplingOptions(), "", 3.5),
    ],
)
def test_words_and_guidance_reach_the_network(name, wishes, prompt, guidance):
    """The prompt is embedded once for all tiles; guidance is the caller's, else the row's own."""
    stub = Stub(row=replace(BY_NAME[name], tile=128))
    run(PHOTO, 2, stub, wishes=wishes)
    assert stub.embedded == [prompt]
    assert {(one.prompt, one.guidance) for one in stub.forwards} == {(prompt, guidance)}


@pytest.mark.parametrize(
    ("creativity", "wanted", "least", "most"),
    [(0.01, None, FEWEST, FEWEST), (0.3, None, 2, 3), (1.0, None, 4, 4), (0.5, 20, 10, 20), (1.0, 20, 20, 20)],
)
def test_creativity_and_steps_decide_the_forwards(creativity, wanted, least, most):
    """A tile enters at creativity's level of noise, and the levels fall over as many forwards as its share of steps."""
    stub = Stub(row=ROW)
    base = np.full((3, 32, 32), 0.5, np.float32)
    detailer = FluxDetailer(stub, 2, SamplingOptions("words", creativity, steps=wanted), lambda: None)
    detailer.detail([TileInput(base, base, TileOrigin(0, 0))])
    levels = [one.sigma for one in stub.forwards]
    assert least <= len(levels) <= most
    assert levels[0] == sampling.start_sigma(creativity)
    assert levels == sorted(levels, reverse=True)


def test_resemblance_holds_what_is_imagined_to_the_source():
    """With it the network's last latents are nearer to the source's."""
    base = np.ascontiguousarray(PHOTO[:48, :64].transpose(2, 0, 1), np.float32) / 255
    far = []
    for resemblance in (0.0, 0.5, 1.0):
        stub = Stub(constant, ROW)
        wishes = SamplingOptions("words", 0.6, resemblance=resemblance)
        FluxDetailer(stub, 1, wishes, lambda: None).detail([TileInput(base, base, TileOrigin(0, 0))])
        far.append(float((stub.decoded[0] - stub.encoded[0]).square().mean()))
    assert far[0] > 1.2 * far[1] > 1.2**2 * far[2]


@pytest.mark.parametrize("denoiser", [constant, texture])
def test_a_tile_comes_with_its_colours_locked(denoiser):
    """Before any back-projection the low band of an imagined tile is the faithful one's but for what 0..1 cuts off."""
    base = np.ascontiguousarray(PHOTO.transpose(2, 0, 1), np.float32) / 255
    detailer = FluxDetailer(Stub(denoiser, ROW), 4, SamplingOptions("words", 0.5), lambda: None)
    made = detailer.detail([TileInput(base, base, TileOrigin(5, 9))])[0]
    wanted, found = (back_projection.low_band(one, back_projection.WAVELET_LEVELS) for one in (base, made))
    assert np.abs(found - wanted).mean() < (0.02 if denoiser is constant else 0.001)
