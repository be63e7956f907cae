"""Jobs of the provider `flux`: passes, captions of tiles, a device that is short of memory, and settings."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from skimage import data

from fakes import cli_process
from fakes.flux_calls import call, opened, samples
from fluxvision.core.callbacks import JobCallbacks
from fluxvision.core.errors import Cancelled, UpstreamError, UpstreamRefused
from fluxvision.core.load_settings import load_settings
from fluxvision.engine.fidelity import measure_fidelity
from fluxvision.engine.flux import model_cache, options
from fluxvision.engine.flux.memory_budget import FallbackStep
from fluxvision.engine.flux.options import AccelerationConfig
from fluxvision.engine.flux.passes import CALMER, plan_passes
from fluxvision.providers import flux

FULL = "CUDA out of memory. Tried to allocate 2.00 GiB"
TILE = 256
"""Sides of small tiles, so that a small picture has several."""
LONG = (12, 340)
"""Rows and columns of a picture that has four of them at factor 2."""


@pytest.fixture(scope="module")
def provider(weights):
    """A provider that stays loaded; nothing is kept on disk."""
    return opened(weights)


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    Image.fromarray(data.astronaut()[60:84, 180:212]).save(path)
    return path


@pytest.fixture
def long(tmp_path):
    """A picture that has several tiles."""
    path = tmp_path / "long.png"
    Image.fromarray(data.astronaut()[60 : 60 + LONG[0], 90 : 90 + LONG[1]]).save(path)
    return path


@pytest.mark.parametrize(
    ("scale", "creativity", "wish", "factors"),
    [
        (1, 0.3, "2", [1]),
        (2, 0.3, "2", [2]),
        (2.5, 0.3, "auto", [3]),
        (2.5, 0.3, "2", [2, 3]),
        (3.1, 0.3, "auto", [2, 4]),
        (4, 0.3, "auto", [2, 4]),
        (4, 0.3, "2", [2, 4]),
        (4, 0.3, "1", [4]),
        (4, 0, "2", [4]),
    ],
)
def test_passes(scale, creativity, wish, factors):
    """Far enlargements take two ways, the second calmer and with its own noise; the last has the size asked for."""
    target = round(100 * scale), round(60 * scale)
    found = plan_passes((100, 60), target, creativity, wish)
    assert [one.factor for one in found] == factors
    assert (found[-1].width, found[-1].height) == target
    if len(found) > 1:
        assert (found[0].width, found[0].height, found[0].creativity) == (200, 120, creativity)
        assert found[1].creativity == pytest.approx(creativity * CALMER)
        assert found[0].stream != found[1].stream


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
async def test_two_passes(provider, tmp_path, folder, mode, monkeypatch):
    """The second makes another picture than one alone, which shrinks to the source as well; progress counts both."""
    Image.fromarray(data.astronaut()[60:84, 180:212]).convert(mode).save(tmp_path / "in.png")
    seen, made = [], {}
    for wish in ("1", "2"):
        monkeypatch.setattr(provider, "_config", flux.UpscaleConfig(provider._config.row, 2, passes=wish, fidelity=45))
        callbacks = JobCallbacks(lambda done, total: seen.append((done, total)))
        made[wish] = await provider.run(call(tmp_path / "in.png", (128, 96)), callbacks, folder)
    assert seen == [(1, 1), (1, 2), (2, 2)]
    assert [made[wish].details["passes"] for wish in made] == [1, 2]
    assert samples(made["1"]) != samples(made["2"])
    assert len(list(folder.iterdir())) == 2, "what lies between is gone"
    source = np.asarray(Image.open(tmp_path / "in.png")).reshape(24, 32, -1)
    if mode == "RGB":
        lower = [measure_fidelity(one.picture, source).lr_psnr_db for one in made.values()]
        assert min(lower) >= 45, "held to the source by the last pass, whatever was imagined before"


async def test_outside_the_mask_two_passes_change_nothing(provider, photo, tmp_path, folder, monkeypatch):
    """Where nothing may be invented the bytes are those of creativity 0, after two passes, too."""
    allowed = np.full((24, 32, 4), 255, np.uint8)
    allowed[:, 20:, 3] = 0
    Image.fromarray(allowed).save(tmp_path / "mask.png")
    monkeypatch.setattr(provider, "_config", flux.UpscaleConfig(provider._config.row, 2, passes="2"))
    calls = (call(photo, (128, 96), tmp_path / "mask.png"), call(photo, (128, 96), creativity=0))
    outcomes = [await provider.run(one, JobCallbacks(), folder) for one in calls]
    masked, plain = (np.frombuffer(samples(one), np.uint8).reshape(96, 128, 3) for one in outcomes)
    assert [one.details["passes"] for one in outcomes] == [2, 1]
    assert np.array_equal(masked[:, :72], plain[:, :72])
    assert not np.array_equal(masked[:, 96:], plain[:, 96:])


async def test_no_creativity_is_near_the_source(provider, photo, folder):
    """At creativity 0 the result, reduced, is the source to 45 dB or better, at every scale."""
    source = np.asarray(Image.open(photo))
    for size in ((32, 24), (48, 36), (64, 48), (128, 96)):
        outcome = await provider.run(call(photo, size, creativity=0), JobCallbacks(), folder)
        assert measure_fidelity(outcome.picture, source).lr_psnr_db >= 45


async def test_tiles_with_captions_of_their_own(weights, long, folder, monkeypatch):
    """Each tile is looked at, together with others, and guided by its caption and the prompt; the whole is told."""
    provider = opened(weights, tile=TILE, ways={"tile_captions": True})
    loaded = provider.models.get()
    asked, embedded = [], []
    describe, embed = loaded.captioner._sight.describe, loaded.networks.embed
    monkeypatch.setattr(
        loaded.captioner._sight, "describe", lambda *given: (asked.append(len(given[0])), describe(*given))[1]
    )
    monkeypatch.setattr(loaded.networks, "embed", lambda words: (embedded.append(words), embed(words))[1])
    outcome = await provider.run(call(long, (680, 24), prompt="soft fur"), JobCallbacks(), folder)
    assert outcome.details["tiles"] == 4
    assert asked == [1, 4], "one look at the whole, one at all tiles"
    [words] = embedded
    assert len(words) == 4
    assert all(one.startswith("soft fur") for one in words)
    assert outcome.details["caption"] in outcome.caption
    assert outcome.details["tile_captions"] is True
    again = await provider.run(call(long, (680, 24), prompt="soft fur"), JobCallbacks(), folder)
    assert (asked, samples(again)) == ([1, 4], samples(outcome))
    await provider.aclose()


async def test_a_second_pass_that_was_left_goes_on(weights, tmp_path, folder):
    """Finished tiles of the first pass and of the second are not made again, and bytes are the same."""
    Image.fromarray(data.astronaut()[60:72, 90:265]).save(tmp_path / "wide.png")
    wanted, jobs = call(tmp_path / "wide.png", (700, 48), seed=3), tmp_path / "jobs"
    plain, keeping = opened(weights, tile=TILE), opened(weights, tile=TILE, ways={"checkpoint_folder": jobs})
    undisturbed = await plain.run(wanted, JobCallbacks(), folder)
    tiles = undisturbed.details["tiles"]
    seen = []

    def progress(done, total):
        seen.append(total)
        if done > tiles - 2:
            callbacks.cancel.set()

    callbacks = JobCallbacks(progress)
    with pytest.raises(Cancelled):
        await keeping.run(wanted, callbacks, folder)
    assert set(seen) == {tiles}
    assert len(list(jobs.iterdir())) == 2, "a folder for each pass"
    resumed = await keeping.run(wanted, JobCallbacks(), folder)
    assert tiles - 4 <= resumed.details["resumed_tiles"] <= tiles
    assert samples(resumed) == samples(undisturbed)
    assert list(jobs.iterdir()) == []
    again = await keeping.run(wanted, JobCallbacks(), folder)
    assert again.details["resumed_tiles"] == 0
    other = await keeping.run(call(tmp_path / "wide.png", (700, 48), seed=3, prompt="fur"), JobCallbacks(), folder)
    assert other.details["resumed_tiles"] == 0
    for one in (plain, keeping):
        await one.aclose()


def short(monkeypatch, provider, fits):
    """Let the device be short: a forward fails unless `fits` says that there is room.

    Return what there is room for, and a list of the cells in a tile that each forward was asked for.
    """
    loaded = provider.models.get()
    velocity, seen = loaded.networks.velocity, []

    def tight(latents, *args, **rest):
        seen.append(latents[0, 0].numel())
        if not fits(loaded.budget, latents):
            raise RuntimeError(FULL)
        return velocity(latents, *args, **rest)

    monkeypatch.setattr(loaded.networks, "velocity", tight)
    return loaded.budget, seen


RUNGS = {
    "batch 2": lambda _room, latents: len(latents) <= 2,
    "fp8": lambda room, _latents: "fp8" in room.taken_steps,
    "tile 128": lambda room, _latents: room.tile <= 128,
}


@pytest.mark.parametrize("last", RUNGS)
async def test_a_device_that_is_short_of_memory(weights, long, folder, last, monkeypatch):
    """The picture is made with less, which is told, and the next one begins with that at once.

    Whoever follows never sees the job go back, though smaller tiles begin it anew.
    """
    provider = opened(weights, tile=TILE)
    provider.models.source = flux.ModelSource(str(weights / "flux2"), None, "cpu", "none", "")
    plain = await provider.run(call(long, (680, 24)), JobCallbacks(), folder)
    room, seen = short(monkeypatch, provider, RUNGS[last])
    told = []
    callbacks = JobCallbacks(lambda done, total: told.append(done / total))
    outcome = await provider.run(call(long, (680, 24)), callbacks, folder)
    memory = outcome.details["memory"]
    assert memory[-1] == last
    assert told == sorted(set(told))
    assert told[-1] == 1
    assert memory == ["batch 2", "batch 1", "fp8", "tile 192", "tile 128"][: len(memory)]
    if last.startswith("tile"):
        assert outcome.details["tiles"] >= plain.details["tiles"]
        assert seen[-1] < seen[0]
    else:
        assert (outcome.details["tiles"], seen[-1]) == (plain.details["tiles"], seen[0])
    assert (outcome.picture.width, outcome.picture.height) == (680, 24)
    again = await provider.run(call(long, (680, 24)), JobCallbacks(), folder)
    assert (again.details["memory"], samples(again)) == (memory, samples(outcome))
    assert room.taken_steps == memory
    await provider.aclose()


async def test_a_job_that_begins_anew_late(weights, folder, tmp_path, monkeypatch):
    """Memory that runs out after some tiles: progress never falls, and the larger tiles that were kept go, too."""
    Image.fromarray(data.astronaut()[60:72, :500]).save(tmp_path / "wide.png")
    monkeypatch.setattr(options, "AT_ONCE", 1)  # batch after batch
    provider = opened(weights, tile=TILE, ways={"checkpoint_folder": tmp_path / "jobs"})
    provider.models.source = flux.ModelSource(str(weights / "flux2"), None, "cpu", "none", "")
    room, seen = short(monkeypatch, provider, lambda room, _latents: room.tile < TILE or len(seen) < 10)
    while len(room._steps) or room.batch > 1:
        room.release_next()
    told, folders = [], []

    def progress(done, total):
        told.append((done, total))
        folders.append(len(list((tmp_path / "jobs").iterdir())))

    outcome = await provider.run(call(tmp_path / "wide.png", (1000, 24)), JobCallbacks(progress), folder)
    assert outcome.details["memory"][-1] == "tile 192"
    shares = [done / total for done, total in told]
    assert len({total for _, total in told}) == 2, "there were other tiles before"
    assert (shares, shares[-1]) == (sorted(set(shares)), 1)
    assert (max(folders), list((tmp_path / "jobs").iterdir())) == (2, [])
    await provider.aclose()


async def test_the_text_encoder_and_the_captioner_make_room(weights, photo, folder, monkeypatch):
    """What lies beside the transformer is moved away together, before its precision is touched."""
    provider = opened(weights)
    loaded = provider.models.get()
    moved, networks = [], loaded.networks
    monkeypatch.setattr(networks, "offload_text", lambda: moved.append("text") or True)
    monkeypatch.setattr(loaded.captioner, "to", moved.append)
    loaded.budget._steps[0] = model_cache.fallback_steps([networks], loaded.captioner)[0]
    short(
        monkeypatch, provider, lambda room, _latents: room.taken_steps[-1:] == ["text encoder and captioner on the CPU"]
    )
    outcome = await provider.run(call(photo), JobCallbacks(), folder)
    assert (moved, outcome.details["memory"][-1]) == (["text", "cpu"], "text encoder and captioner on the CPU")
    await provider.aclose()


async def test_a_captioner_that_does_not_fit(weights, photo, folder, monkeypatch):
    """Memory that runs out before the first tile takes the same rungs, and the job begins anew."""
    provider = opened(weights)
    loaded = provider.models.get()
    caption = loaded.captioner.caption
    loaded.budget._steps.appendleft(FallbackStep("something", lambda: True))

    def tight(picture):
        if "something" not in loaded.budget.taken_steps:
            raise RuntimeError(FULL)
        return caption(picture)

    monkeypatch.setattr(loaded.captioner, "caption", tight)
    outcome = await provider.run(call(photo), JobCallbacks(), folder)
    assert outcome.details["memory"] == ["batch 2", "batch 1", "something"]
    await provider.aclose()


@pytest.mark.parametrize(("fault", "sentence"), [(FULL, flux.NO_ROOM), ("device-side assert triggered", flux.FAILED)])
async def test_a_device_that_has_no_room_at_all(  # noqa: PLR0917, fixtures
    weights, photo, folder, monkeypatch, fault, sentence
):
    """At the ladder's end, or for another fault, it is the provider's failure in one sentence, and no file is left."""
    provider = opened(weights)

    def fails(*_args, **_rest):
        raise RuntimeError(fault)

    monkeypatch.setattr(provider.models.get().networks, "velocity", fails)
    with pytest.raises(UpstreamError) as caught:
        await provider.run(call(photo), JobCallbacks(), folder)
    assert (caught.value.message, list(folder.iterdir())) == (sentence, [])
    assert sentence.count(".") == 1
    await provider.aclose()


async def test_a_licence_that_must_be_agreed_to(weights, photo, folder):
    """Weights that not everyone may use are not loaded unasked, and the refusal says why."""
    provider = opened(weights, "flux1-dev")
    with pytest.raises(UpstreamRefused, match="Non-Commercial"):
        await provider.run(call(photo), JobCallbacks(), folder)
    await provider.aclose()


def test_the_command_that_fetches_weights_tells_their_licence():
    """Before anything is downloaded; here nothing can be, which is an error of its own."""
    done = cli_process.run("weights", "flux1-dev", command=cli_process.REAL, HF_HUB_OFFLINE="1")
    said = done.stderr.decode()
    assert done.returncode != 0
    assert "Non-Commercial License" in said.split("could not be fetched")[0]


def test_settings_reach_the_provider(tmp_path, monkeypatch):
    """Speed, passes, captions of tiles, the licence and the folder of finished tiles are the operator's."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    plain = flux.configured(load_settings({"FLUXVISION_FLUX_MODEL": "/weights"}))["flux"]
    assert plain.models.source.speed == AccelerationConfig(compile=True, fp8=False)
    assert plain.models.source.agreed is False
    assert (plain._config.passes, plain._config.tile_captions, plain._config.fidelity) == ("auto", False, None)
    assert plain._config.checkpoint_folder == tmp_path / "fluxvision" / "jobs"
    chosen = {
        "MODEL": "/weights",
        "COMPILE": "false",
        "FP8": "true",
        "PASSES": "2",
        "FIDELITY": "52.5",
        "TILE_CAPTIONS": "true",
        "LICENCE_AGREED": "true",
        "RESUME": "none",
    }
    other = flux.configured(load_settings({f"FLUXVISION_FLUX_{name}": value for name, value in chosen.items()}))["flux"]
    assert other.models.source.speed == AccelerationConfig(compile=False, fp8=True)
    assert other.models.source.agreed is True
    assert (other._config.passes, other._config.tile_captions, other._config.checkpoint_folder) == ("2", True, None)
    assert other._config.fidelity == 52.5
