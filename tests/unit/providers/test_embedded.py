"""The provider that is always there."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageDraw
from skimage import data

from fluxvision import imaging
from fluxvision.catalog.catalog import CATALOG, configure_offers, model_params
from fluxvision.core.callbacks import JobCallbacks
from fluxvision.core.errors import Cancelled, ConfigError, InvalidRequest, Unavailable
from fluxvision.core.load_settings import load_settings
from fluxvision.core.types import Call
from fluxvision.engine import BACKENDS, Request, enlarge
from fluxvision.engine.backends import vulkan
from fluxvision.engine.backends.registry import RESTORED, TWICE, TWICE_RESTORED
from fluxvision.providers.embedded import GRAPHIC_CREATIVITY, GRAPHIC_NOTE, Provider, choose_backend, configured


def call(path, size, mask=None, **body):
    source = imaging.probe(path, imaging.Limits())
    return Call("embedded", "span", {"size": size, "creativity": 0.3, "restoration": 1.0, **body}, source, mask)


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    Image.fromarray(data.astronaut()[:80, 180:276]).save(path)
    return path


async def test_pixels_and_facts(photo, folder):
    """The raster has the size asked for; engine, seed and fidelity are told."""
    outcome = await Provider().run(call(photo, (144, 120)), JobCallbacks(), folder)
    raster = outcome.picture
    assert (raster.width, raster.height, raster.bands, raster.bits) == (144, 120, 3, 8)
    assert raster.path.stat().st_size == 144 * 120 * 3
    assert (outcome.details["engine"], outcome.details["device"]) == ("span", "cpu")


async def test_above_four_times_each_pass_is_told(photo, folder):
    """The details have a line for each pass; up to that there is none."""
    outcome = await Provider().run(call(photo, (96 * 5, 80 * 5)), JobCallbacks(), folder)
    assert outcome.picture.width == 480
    assert [one["size"] for one in outcome.details["passes"]] == ["384x320", "480x400"]
    titles = [BACKENDS[0].title, TWICE.title]
    assert [one["networks"] for one in outcome.details["passes"]] == titles
    assert sum(one["tiles"] for one in outcome.details["passes"]) == outcome.details["tiles"]
    assert "passes" not in (await Provider().run(call(photo, (96, 80)), JobCallbacks(), folder)).details


async def test_with_a_mask_the_rest_is_as_faithful_as_without_creativity(photo, folder, tmp_path):
    """At twice the size the pixels outside a mask are those of creativity 0."""
    path = tmp_path / "mask.png"
    mask = Image.new("RGBA", (96, 80), (0, 0, 0, 255))
    mask.paste((0, 0, 0, 0), (64, 0, 96, 80))
    mask.save(path)
    masked = call(photo, (192, 160), imaging.probe(path, imaging.Limits()))
    made = pixels((await Provider().run(masked, JobCallbacks(), folder)).picture)
    plain = pixels((await Provider().run(call(photo, (192, 160), creativity=0), JobCallbacks(), folder)).picture)
    assert np.array_equal(made[:, :100], plain[:, :100])
    assert not np.array_equal(made[:, 140:], plain[:, 140:])


async def test_depth_and_alpha_survive(tmp_path, folder):
    """16-bit RGBA comes out as 16-bit RGBA."""
    import pyvips  # noqa: PLC0415, Pillow cannot write 16-bit colour

    samples = np.random.default_rng(0).integers(0, 65536, (24, 24, 4), np.uint16)
    path = tmp_path / "deep.png"
    pyvips.Image.new_from_array(samples).copy(interpretation="rgb16").pngsave(str(path), bitdepth=16)
    outcome = await Provider().run(call(path, (48, 48)), JobCallbacks(), folder)
    assert (outcome.picture.bands, outcome.picture.bits) == (4, 16)


async def test_a_cancelled_job_leaves_no_file(photo, folder):
    """Cancelling ends with `Cancelled` and an empty folder."""
    callbacks = JobCallbacks()
    callbacks.cancel.set()
    with pytest.raises(Cancelled):
        await Provider().run(call(photo, (384, 320)), callbacks, folder)
    assert list(folder.iterdir()) == []


async def test_cancelling_the_task_leaves_no_file(photo, folder):
    """The same when the task is cancelled in the middle of the work."""
    task = asyncio.create_task(Provider().run(call(photo, (384, 320)), JobCallbacks(), folder))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert list(folder.iterdir()) == []


async def test_a_damaged_picture_is_the_callers(tmp_path, folder):
    """A file that breaks while its pixels are read is an `InvalidRequest` naming image."""
    path = tmp_path / "cut.jpg"
    Image.effect_noise((200, 200), 90).convert("RGB").save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InvalidRequest) as caught:
        await Provider().run(call(path, (400, 400)), JobCallbacks(), folder)
    assert caught.value.param == "image"
    assert list(folder.iterdir()) == []


@pytest.fixture
def networks(tmp_path):
    """A folder with a network that doubles each pixel."""
    folder = tmp_path / "networks"
    folder.mkdir()
    lines = ["7767517", "2 2", "Input data 0 1 data", "Interp up 1 1 data out 0=1 1=2.0 2=2.0", ""]
    (folder / "twice.param").write_text("\n".join(lines))
    (folder / "twice.bin").touch()
    return folder


async def test_a_network_of_ones_own(photo, folder, networks):
    """An engine that the settings name is used under its name; a path is none."""
    provider = configured(load_settings({"FLUXVISION_MODELS_DIR": str(networks)}))["embedded"]
    own = call(photo, (192, 160), backend="twice", creativity=1)
    provider.check(own)
    outcome = await provider.run(own, JobCallbacks(), folder)
    assert outcome.details["engine"] == "twice"
    path = call(photo, (192, 160), backend=str(networks / "twice.param"))
    with pytest.raises(InvalidRequest, match="no engine"):
        provider.check(path)


def test_networks_of_ones_own_are_values_of_engine(networks):
    """They join those of the package; one with the name of one of those is refused."""
    models = configure_offers(CATALOG, load_settings({"FLUXVISION_MODELS_DIR": str(networks)}))
    assert next(row for row in model_params(models[0]) if row.name == "engine").choices[-1] == "twice"
    for suffix in ("param", "bin"):
        (networks / f"span.{suffix}").touch()
    with pytest.raises(ConfigError, match=r"^models_dir: span is the name of an engine already"):
        configure_offers(CATALOG, load_settings({"FLUXVISION_MODELS_DIR": str(networks)}))


async def test_the_device_of_the_settings_is_used(photo, folder, monkeypatch):
    """A GPU that is not there is an error naming the setting; `auto` then means the CPU."""
    monkeypatch.setattr(vulkan, "find_gpus", tuple)
    for device in ("auto", "gpu"):
        provider = configured(load_settings({"FLUXVISION_DEVICE": device}))["embedded"]
        work = provider.run(call(photo, (192, 160)), JobCallbacks(), folder)
        if device == "auto":
            assert (await work).details["device"] == "cpu"
        else:
            with pytest.raises(Unavailable, match=r"^device: there is no gpu with a Vulkan driver"):
                await work


def test_an_engine_is_chosen_by_name():
    """Asked for, it is that one; missing weights name the extra; without a name it is SPAN."""
    assert choose_backend(None).name == "span"
    for row in BACKENDS:
        if row.installed:
            assert choose_backend(row.name) is row
        else:
            with pytest.raises(InvalidRequest, match=rf"fluxvision\[{row.extra}\]"):
                choose_backend(row.name)
    for name in ("nonsense", RESTORED.name):
        with pytest.raises(InvalidRequest, match="no engine"):
            choose_backend(name)


@pytest.fixture
def noisy(tmp_path):
    samples = data.astronaut()[:128, 180:308].astype(float) + np.random.default_rng(0).normal(0, 15, (128, 128, 3))
    path = tmp_path / "noisy.png"
    Image.fromarray(samples.clip(0, 255).astype(np.uint8)).save(path)
    return path


@pytest.fixture
def compressed(tmp_path):
    path = tmp_path / "compressed.jpg"
    Image.fromarray(data.astronaut()[:80, 180:276]).save(path, quality=70)
    return path


async def run(path, factor, folder, **body):
    source = imaging.probe(path, imaging.Limits())
    size = source.width * factor, source.height * factor
    return await Provider().run(call(path, size, **body), JobCallbacks(), folder)


def pixels(raster):
    kind = np.uint8 if raster.bits == 8 else np.uint16
    return np.fromfile(raster.path, kind).reshape(raster.height, raster.width, raster.bands)


async def test_noise_is_measured_and_removed(noisy, folder):
    """The noise of a picture is told, removed before it is enlarged, and the reference is what it was enlarged from."""
    outcome = await run(noisy, 2, folder)
    assert 7 < outcome.damage.noise < 12  # of luma, in which the noise of three channels averages out
    assert outcome.damage.restored == 1.0
    left = pixels(outcome.reference).astype(float) - data.astronaut()[:128, 180:308]
    assert left.std() < 9
    assert outcome.picture.width == 256


@pytest.mark.parametrize("strength", [0.0, 0.5])
async def test_a_share_of_the_noise_is_removed(noisy, folder, strength):
    """0 leaves the picture as it is and has no reference; a half takes half of the change."""
    outcome = await run(noisy, 1, folder, restoration=strength)
    whole = await run(noisy, 1, folder, restoration=1.0)
    source = imaging.decode(imaging.probe(noisy, imaging.Limits())).color.astype(float)
    assert outcome.damage.restored == strength
    assert (outcome.reference is None) == (strength == 0)
    taken, most = pixels(outcome.picture) - source, pixels(whole.picture) - source
    assert np.abs(taken - strength * most).max() <= 1


async def test_a_clean_picture_is_not_touched(photo, folder):
    """Its pixels at factor 1 are those of the file, and nothing is compared with anything else."""
    outcome = await run(photo, 1, folder)
    assert np.array_equal(pixels(outcome.picture), np.asarray(Image.open(photo)))
    assert (outcome.damage.restored, outcome.reference, outcome.details["networks"]) == (0.0, None, "none")


@pytest.mark.parametrize(
    ("fixture", "asked", "row"),
    [
        ("photo", (1.0, 2), TWICE),
        ("photo", (1.0, 3), BACKENDS[0]),
        ("compressed", (0.0, 2), TWICE),
        ("compressed", (1.0, 2), TWICE_RESTORED),
        ("compressed", (1.0, 3), RESTORED),
        ("noisy", (1.0, 2), TWICE),
    ],
)
async def test_a_source_and_a_factor_have_their_own_networks(request, folder, fixture, asked, row):
    """The bytes are those of the networks for the factor, and of those for sources that lost compression alone.

    `asked` is the share of restoration and the factor.
    """
    restoration, scale = asked
    path = request.getfixturevalue(fixture)
    outcome = await run(path, scale, folder, restoration=restoration)
    color = imaging.decode(imaging.probe(path, imaging.Limits())).color if outcome.reference is None else None
    color = pixels(outcome.reference) if color is None else color
    strips = []
    size = scale * color.shape[1], scale * color.shape[0]
    enlarge(Request(color, *size, creativity=0.3, backend=row.name), strips.append)
    assert np.array_equal(pixels(outcome.picture), np.concatenate(strips))
    assert (outcome.details["engine"], outcome.details["networks"]) == ("span", row.title)


async def test_alpha_stays_at_factor_one(tmp_path, folder):
    """A picture that is not enlarged keeps its alpha."""
    path = tmp_path / "alpha.png"
    samples = np.random.default_rng(0).integers(0, 256, (24, 24, 4), np.uint8)
    Image.fromarray(samples).save(path)
    assert np.array_equal(pixels((await run(path, 1, folder)).picture)[:, :, 3], samples[:, :, 3])


async def test_less_is_invented_on_a_screenshot(tmp_path, folder):
    """A flat graphic gets less creativity, with a reason, unless the caller gave one."""
    page = Image.new("RGB", (120, 90), "white")
    ImageDraw.Draw(page).multiline_text((10, 10), "Settings  Network  Sound  Display\n" * 12, fill="black")
    path = tmp_path / "page.png"
    page.save(path)
    outcome = await run(path, 2, folder)
    assert outcome.damage.graphic
    assert outcome.adjusted == {"creativity": (GRAPHIC_CREATIVITY, GRAPHIC_NOTE)}
    assert outcome.details["creativity"] == GRAPHIC_CREATIVITY
    asked = replace(call(path, (240, 180)), parameter_names={"creativity": "creativity"})
    outcome = await Provider().run(asked, JobCallbacks(), folder)
    assert (outcome.adjusted, outcome.details["creativity"]) == ({}, 0.3)


async def test_a_photograph_is_no_graphic(photo, folder):
    """Nothing is adjusted for it."""
    outcome = await run(photo, 2, folder)
    assert (outcome.damage.graphic, outcome.adjusted) == (False, {})
