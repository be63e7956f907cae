"""What FLUX enlarges agrees with its source to the value that is set, whatever tiny random networks imagine."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from skimage import data

pytest.importorskip("torch", reason="needs the extra flux")

from fakes.flux_calls import call, opened, samples
from fluxvision.core.callbacks import JobCallbacks
from fluxvision.core.errors import Cancelled
from fluxvision.engine.fidelity import measure_fidelity
from fluxvision.engine.flux.memory_budget import BATCH
from fluxvision.providers import flux

WIDE = (12, 170)
"""Rows and columns of a picture that has several tiles."""
TILE = 192


def small(weights, device="cpu", **ways):
    """Return a provider with small tiles that looks at no picture."""
    made = opened(weights, tile=TILE, ways=ways)
    made.models.source = flux.ModelSource(str(weights / "flux2"), None, device, "none", "")
    return made


@pytest.fixture(scope="module")
def provider(weights):
    """A provider that stays loaded, with small tiles; nothing is kept on disk."""
    return small(weights)


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """A photograph, and its samples."""
    path = tmp_path_factory.mktemp("in") / "wide.png"
    color = np.ascontiguousarray(data.astronaut()[60 : 60 + WIDE[0], 90 : 90 + WIDE[1]])
    Image.fromarray(color).save(path)
    return path, color


async def made(provider, path, scale, folder, *, fidelity=45.0, passes="auto", callbacks=None, **wishes):
    """Enlarge a picture."""
    with Image.open(path) as picture:
        size = round(picture.width * scale), round(picture.height * scale)
    provider._config = flux.UpscaleConfig(provider._config.row, 2, passes=passes, fidelity=fidelity)
    return await provider.run(call(path, size, seed=3, **wishes), callbacks or JobCallbacks(), folder)


ONE, TWO = (2, "auto", 1), (4, "2", 2)


@pytest.mark.parametrize(
    ("scale", "passes", "count", "fidelity", "creativity"),
    [
        *(
            (*way, *value)
            for way in ((1.5, "auto", 1), ONE, (2.5, "2", 2), (4, "1", 1), TWO)
            for value in ((35, 1.0), (60, 0.3))
        ),
        *((*way, *value) for way in (ONE, TWO) for value in ((45, 0.3), (50, 1.0))),
    ],
)
async def test_the_set_value_is_reached(  # noqa: PLR0917, fixtures
    provider, wide, folder, scale, passes, count, creativity, fidelity
):
    """The finished picture measures it or more against the original, after two passes, too, and that is told."""
    path, color = wide
    wishes = {"fidelity": fidelity, "passes": passes, "creativity": creativity}
    outcome = await made(provider, path, scale, folder, **wishes)
    found = measure_fidelity(outcome.picture, color).lr_psnr_db
    assert found >= fidelity
    assert outcome.details["consistency"] == {"wanted_db": fidelity, "reached_db": found}
    assert outcome.details["passes"] == count
    assert outcome.details["tiles"] > count


async def test_the_more_is_set_the_more_is_held(provider, wide, folder):
    """From nothing to 60 dB each value makes another picture, nearer to the source."""
    path, _ = wide
    values = (0, 5, 10, 20, 30, 45, 60)
    outcomes = [await made(provider, path, 2, folder, fidelity=value, creativity=1.0) for value in values]
    reached = [one.details["consistency"]["reached_db"] for one in outcomes]
    assert reached == sorted(set(reached))
    assert reached[0] < 35


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA"])
async def test_grey_and_transparent_pictures(provider, tmp_path, folder, mode):
    """The value is that of the colours, where they are opaque."""
    picture = Image.fromarray(data.astronaut()[60:84, 90:180]).convert(mode)
    if "A" in mode:
        alpha = np.full((24, 90), 255, np.uint8)
        alpha[:, :40] = 9
        picture.putalpha(Image.fromarray(alpha))
    picture.save(tmp_path / "in.png")
    pixels = np.asarray(picture).reshape(24, 90, -1)
    bands = pixels.shape[2] - ("A" in mode)
    outcome = await made(provider, tmp_path / "in.png", 2, folder, fidelity=52.0, creativity=0.8)
    found = measure_fidelity(outcome.picture, pixels[..., :bands], alpha=pixels[..., bands] if "A" in mode else None)
    assert found.lr_psnr_db >= 52
    assert outcome.details["consistency"]["reached_db"] == found.lr_psnr_db


async def test_what_cannot_be_reached_is_told(provider, tmp_path, folder):
    """A chequerboard of pixels has no such enlargement: the picture is made, and the true value stands beside."""
    chequers = np.repeat((np.indices((24, 32)).sum(axis=0)[..., None] % 2 * 255).astype(np.uint8), 3, axis=2)
    Image.fromarray(chequers).save(tmp_path / "in.png")
    outcome = await made(provider, tmp_path / "in.png", 2, folder, creativity=0.5)
    reached = measure_fidelity(outcome.picture, chequers).lr_psnr_db
    assert outcome.details["consistency"] == {"wanted_db": 45, "reached_db": reached}
    assert reached < 20


async def test_unenlarged_the_setting_does_not_apply(provider, wide, folder):
    """At factor 1 only colours are held: the bytes are the same whatever is set, and no value is told."""
    outcomes = [await made(provider, wide[0], 1, folder, fidelity=value, creativity=0.5) for value in (0, 60)]
    assert samples(outcomes[0]) == samples(outcomes[1])
    assert [one.details["consistency"] for one in outcomes] == [None, None]


@pytest.mark.parametrize("scale", [1.5, 2, 4])
async def test_without_creativity_no_less_than_45_is_held(provider, wide, folder, scale):
    """A faithful picture is near its source even where the setting asks for nothing, nearer where it asks for more."""
    path, color = wide
    for fidelity, wanted in ((0, 45), (52, 52)):
        outcome = await made(provider, path, scale, folder, fidelity=fidelity, creativity=0)
        reached = measure_fidelity(outcome.picture, color).lr_psnr_db
        assert outcome.details["consistency"] == {"wanted_db": wanted, "reached_db": reached}
        assert reached >= wanted


@pytest.mark.parametrize("fidelity", [0, 45, 55])
async def test_outside_the_mask_nothing_is_held_anew(provider, wide, tmp_path, folder, fidelity):
    """Whatever is set, the bytes there are those of creativity 0, and the whole picture reaches the value."""
    path, color = wide
    allowed = np.full((*WIDE, 4), 255, np.uint8)
    allowed[:, 65:, 3] = 0  # between two overlaps of tiles
    Image.fromarray(allowed).save(tmp_path / "mask.png")
    plain = await made(provider, path, 2, folder, fidelity=fidelity, creativity=0)
    masked = await made(provider, path, 2, folder, fidelity=fidelity, creativity=1.0, mask=tmp_path / "mask.png")
    one, two = (np.frombuffer(samples(it), np.uint8).reshape(24, 340, 3) for it in (plain, masked))
    assert np.array_equal(one[:, :126], two[:, :126])
    assert not np.array_equal(one[:, 134:], two[:, 134:])
    assert measure_fidelity(masked.picture, color).lr_psnr_db >= fidelity


async def test_the_value_holds_on_several_devices(provider, weights, wide, folder):
    """Two devices make the bytes of one."""
    here = await made(provider, wide[0], 2, folder, fidelity=52.0, creativity=1.0)
    there = small(weights, "cpu,cpu")
    outcome = await made(there, wide[0], 2, folder, fidelity=52.0, creativity=1.0)
    await there.aclose()
    assert samples(outcome) == samples(here)
    assert outcome.details["consistency"] == here.details["consistency"]


async def test_a_kept_tile_of_another_value_is_not_read(weights, wide, tmp_path, folder):
    """A job that was broken off goes on with the value it began with; with another one it begins anew."""
    jobs = tmp_path / "jobs"
    resumed = []
    for fidelity, broken in ((45.0, True), (50.0, True), (45.0, False)):
        callbacks = JobCallbacks()
        if broken:
            callbacks = JobCallbacks(
                lambda done, total, cancel=callbacks.cancel: done == total - 1 and cancel.set(), callbacks.cancel
            )
        provider = small(weights, checkpoint_folder=jobs, fidelity=fidelity)
        size = WIDE[1] * 4, WIDE[0] * 4
        try:
            outcome = await provider.run(call(wide[0], size, seed=3, creativity=0.3), callbacks, folder)
            resumed.append(outcome.details["resumed_tiles"])
        except Cancelled:
            resumed.append(sum(1 for _ in jobs.rglob("*") if _.is_file()))
        await provider.aclose()
    assert resumed[0] * 2 == resumed[1]
    assert 0 < resumed[2] <= resumed[0] * BATCH


async def test_a_cancel_at_the_last_look_leaves_no_file(provider, wide, folder, monkeypatch):
    """Whoever goes while the finished picture is corrected leaves nothing behind."""
    from fluxvision.engine.flux import upscale  # noqa: PLC0415, what is patched

    def gone(*_args, **_rest):
        raise Cancelled("stopped")

    monkeypatch.setattr(upscale, "correct_fidelity", gone)
    with pytest.raises(Cancelled):
        await made(provider, wide[0], 2, folder)
    assert list(folder.iterdir()) == []
