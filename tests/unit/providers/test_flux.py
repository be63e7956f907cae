"""The provider `flux`, with tiny networks of the real architectures: from request to pixels, and all refusals."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

from fakes import server as served
from fakes.flux_calls import call, opened, samples
from fakes.reports import run_job
from fluxvision import cli, imaging
from fluxvision.core.callbacks import JobCallbacks
from fluxvision.core.errors import Cancelled, InvalidRequest, UpstreamError, UpstreamRefused
from fluxvision.core.load_settings import load_settings
from fluxvision.create_gateway import create_gateway
from fluxvision.gateway.gateway import Gateway
from fluxvision.providers import embedded, flux

PROMPT = "crisp feathers"
PATIENCE = 120.0
"""Seconds for a new process to import PyTorch and load the models, however slow the machine."""


@pytest.fixture(scope="module")
def shared(weights):
    """Providers of both architectures that stay loaded."""
    rows = {"flux2-klein-4b": "flux2", "flux1-schnell": "flux1"}
    return {name: opened(weights, name, model=folder) for name, folder in rows.items()}


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    Image.fromarray(data.astronaut()[60:84, 180:212]).save(path)
    return path


@pytest.mark.parametrize("name", ["flux2-klein-4b", "flux1-schnell"])
async def test_pixels_and_facts(shared, photo, folder, name):
    """The raster has the size asked for; seed, words, network, licence and times are told, and no path."""
    outcome = await shared[name].run(call(photo, seed=5, prompt=PROMPT), JobCallbacks(), folder)
    raster, details = outcome.picture, outcome.details
    assert (raster.width, raster.height, raster.bands, raster.bits) == (64, 48, 3, 8)
    assert raster.path.stat().st_size == 64 * 48 * 3
    assert (outcome.seed, details["engine"], details["licence"]) == (5, name, "Apache-2.0")
    assert (details["weights"], details["revision"]) == ("flux2" if name.startswith("flux2") else "flux1", None)
    assert outcome.caption == f"{PROMPT}. {details['caption']}".removesuffix(". ")
    assert set(outcome.timings) == {"load", "caption", "enlarge"}
    assert all(seconds >= 0 for seconds in outcome.timings.values())
    assert str(folder.parent) not in repr(details)


@pytest.mark.parametrize("name", ["flux2-klein-4b", "flux1-schnell"])
async def test_a_seed_is_a_picture(shared, photo, folder, name):
    """The same seed gives the same bytes, another seed others."""
    made = [samples(await shared[name].run(call(photo, seed=seed), JobCallbacks(), folder)) for seed in (1, 1, 2)]
    assert made[0] == made[1]
    assert made[0] != made[2]


@pytest.mark.parametrize("wish", [{"creativity": 0.8}, {"steps": 12}, {"resemblance": 3}])
async def test_wishes_have_an_effect(shared, photo, folder, wish):
    """Over their whole range creativity, steps and resemblance make another picture of the same seed."""
    provider = shared["flux2-klein-4b"]
    plain, other = [await provider.run(call(photo, **words), JobCallbacks(), folder) for words in ({}, wish)]
    assert samples(plain) != samples(other)


async def test_no_creativity_is_faithful(shared, photo, folder):
    """Without creativity nothing is looked at or imagined: the seed changes nothing, and the words are the caller's."""
    provider = shared["flux2-klein-4b"]
    one, two = [
        await provider.run(call(photo, creativity=0, prompt=PROMPT, seed=seed), JobCallbacks(), folder)
        for seed in (1, 2)
    ]
    assert samples(one) == samples(two)
    assert (one.caption, one.details["caption"]) == (PROMPT, "")


@pytest.mark.parametrize(("mode", "bands"), [("L", 1), ("LA", 2), ("RGBA", 4)])
async def test_other_kinds_of_pictures(shared, tmp_path, folder, mode, bands):
    """Grey pictures and transparency are shown to the captioner in colour, and come out as they went in."""
    Image.fromarray(data.astronaut()[60:84, 180:212]).convert(mode).save(tmp_path / "in.png")
    outcome = await shared["flux2-klein-4b"].run(call(tmp_path / "in.png"), JobCallbacks(), folder)
    assert outcome.picture.bands == bands


async def test_sixteen_bits(shared, tmp_path, folder):
    """A deep picture stays deep."""
    deep = np.random.default_rng(0).integers(0, 65536, (16, 20), np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    outcome = await shared["flux2-klein-4b"].run(call(tmp_path / "deep.png", (40, 32)), JobCallbacks(), folder)
    assert (outcome.picture.bands, outcome.picture.bits) == (1, 16)


async def test_a_mask_limits_new_detail(shared, photo, tmp_path, folder):
    """Where the mask is opaque the pixels are those without creativity."""
    allowed = np.full((24, 32, 4), 255, np.uint8)
    allowed[:, 20:, 3] = 0
    Image.fromarray(allowed).save(tmp_path / "mask.png")
    calls = (call(photo, mask=tmp_path / "mask.png"), call(photo, creativity=0))
    provider = shared["flux2-klein-4b"]
    made = [np.frombuffer(samples(await provider.run(one, JobCallbacks(), folder)), np.uint8) for one in calls]
    masked, plain = (one.reshape(48, 64, 3).astype(int) for one in made)
    assert np.abs(masked - plain)[:, :36].max() <= 1
    assert np.abs(masked - plain)[:, 48:].max() > 8


@pytest.mark.parametrize(
    ("name", "value"), [("creativity", -0.1), ("creativity", 1.5), ("resemblance", 3.5), ("creativity", float("nan"))]
)
async def test_numbers_out_of_range(weights, photo, folder, name, value):
    """They are refused by name before anything is loaded."""
    provider = opened(weights)
    with pytest.raises(InvalidRequest, match=f"^{name}: ") as early:
        provider.check(call(photo, **{name: value}))
    with pytest.raises(InvalidRequest, match=f"^{name}: "):
        await provider.run(call(photo, **{name: value}), JobCallbacks(), folder)
    assert early.value.param == name
    assert provider.models.loaded is None
    await provider.aclose()


async def test_a_cancelled_call_loads_nothing(weights, photo, folder):
    """Whoever is gone before the work begins makes no model be loaded."""
    provider, callbacks = opened(weights), JobCallbacks()
    callbacks.cancel.set()
    with pytest.raises(Cancelled):
        await provider.run(call(photo), callbacks, folder)
    assert provider.models.loaded is None
    await provider.aclose()


REFUSALS = {
    "extra": ({}, "The flux engine is not installed: pip install 'fluxvision[flux]'."),
    "weights": ({"model": "absent"}, "are not on this machine: fetch them with `fluxvision weights flux2-klein-4b`."),
    "empty folder": ({"model": ""}, "model_index.json is missing"),
    "other network": ({"model": "flux1"}, "The weights are not those of flux2-klein-4b"),
    "captioner": ({"captioner": "absent"}, "fetch them with `fluxvision weights qwen3-vl-2b`."),
    "no device": ({"device": "cuda:9"}, flux.NOT_LOADED),
    "strange device": ({"device": "toaster"}, flux.NOT_LOADED),
}


@pytest.mark.parametrize("fault", REFUSALS)
async def test_what_is_missing(weights, photo, folder, fault, monkeypatch):
    """One clear sentence; ping tells; for a while it is not tried again; then it is, and works once all is there."""
    facts, sentence = REFUSALS[fault]
    provider = opened(weights, **facts)
    assert await provider.ping() is True
    tries = []
    load = provider.models.load
    monkeypatch.setattr(provider.models, "load", lambda: (tries.append(1), load())[1])
    with monkeypatch.context() as patch:
        if fault == "extra":
            patch.setitem(sys.modules, "torch", None)
        for _ in range(2):
            with pytest.raises(UpstreamRefused) as caught:
                await provider.run(call(photo), JobCallbacks(), folder)
            assert sentence in caught.value.message
            assert caught.value.message.count(". ") == 0
            assert str(weights) not in caught.value.message
            assert 0 < caught.value.retry_after <= flux.REST
    assert (len(tries), await provider.ping(), list(folder.iterdir())) == (1, False, [])
    provider.models.failed = 0.0, provider.models.failed[1]  # the rest is over
    monkeypatch.setattr(provider.models, "source", opened(weights).models.source)
    await provider.run(call(photo, (32, 24), creativity=0), JobCallbacks(), folder)
    assert (len(tries), await provider.ping()) == (2, True)
    await provider.aclose()


async def test_a_device_that_fails(weights, photo, folder, monkeypatch):
    """Memory that runs out is the provider's failure: others may go on, no file is left, and the next call works."""
    provider = opened(weights)
    await provider.run(call(photo, (32, 24), creativity=0), JobCallbacks(), folder)
    shutil.rmtree(folder)
    folder.mkdir()

    def full(*_args, **_rest):
        message = "CUDA out of memory. Tried to allocate 2.00 GiB"
        raise RuntimeError(message)

    with monkeypatch.context() as patch:
        patch.setattr(provider.models.loaded.networks, "velocity", full)
        with pytest.raises(UpstreamError, match="ran out of memory") as caught:
            await provider.run(call(photo), JobCallbacks(), folder)
    assert (caught.value.tries_next_provider, caught.value.counts, list(folder.iterdir())) == (True, True, [])
    await provider.run(call(photo), JobCallbacks(), folder)
    await provider.aclose()


async def test_the_models_are_loaded_once(weights, photo, folder, monkeypatch):
    """Calls at the same time share them."""
    provider, tries = opened(weights), []
    load = provider.models.load
    monkeypatch.setattr(provider.models, "load", lambda: (tries.append(1), load())[1])
    await asyncio.gather(*(provider.run(call(photo, seed=seed), JobCallbacks(), folder) for seed in range(3)))
    assert tries == [1]
    await provider.aclose()


async def test_the_revision_is_that_of_the_weights(weights, photo, folder, tmp_path, monkeypatch):
    """Weights in the hub's cache are told by repository and commit."""
    import huggingface_hub  # noqa: PLC0415, of the extra

    commit, repo = "0123456789" * 4, tmp_path / "hub" / "models--someone--flux"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text(commit, encoding="utf-8")
    shutil.copytree(weights / "flux2", repo / "snapshots" / commit)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    provider = opened(weights)
    provider.models.source = flux.ModelSource("someone/flux", None, "cpu", "none", "")
    details = (await provider.run(call(photo, creativity=0), JobCallbacks(), folder)).details
    assert (details["weights"], details["revision"]) == ("someone/flux", commit)
    await provider.aclose()


@pytest.mark.parametrize("strict", [False, True])
async def test_the_gateway_goes_on_without_flux(photo, folder, strict):
    """Weights that are not there cost one try: the CPU makes the picture, which is told, unless that is forbidden."""
    provider = opened(folder / "nowhere")
    gateway = Gateway({"flux": provider, "embedded": embedded.Provider(2)}, allow_degraded=not strict)
    job = gateway.admit("flux-vision-upscaler", {}, imaging.probe(photo, imaging.Limits()), None, "req_1")
    if strict:
        with pytest.raises(UpstreamError, match=r"fluxvision weights|fluxvision\[flux\]"):  # weights or the extra
            await run_job(gateway, job, JobCallbacks(), folder)
    else:
        delivery = await run_job(gateway, job, JobCallbacks(), folder)
        tries = [(attempt.provider, attempt.outcome) for attempt in delivery.attempts]
        assert tries == [("flux", "UPSTREAM_REFUSED"), ("embedded", "ok")]
        assert (delivery.provider, delivery.degraded, delivery.cost) == ("embedded", True, 0)
        assert await gateway.ping() == {"flux": False, "embedded": True}
    await gateway.aclose()


def test_the_provider_is_there_where_weights_are_named():
    """FLUXVISION_FLUX_MODEL alone brings it, with the network that flux_engine names."""
    assert flux.configured(load_settings({})) == {}
    [(name, provider)] = flux.configured(
        load_settings({"FLUXVISION_FLUX_MODEL": "/weights", "FLUXVISION_FLUX_ENGINE": "flux1-dev"})
    ).items()
    assert (name, provider._config.row.name, provider.models.source.model) == ("flux", "flux1-dev", "/weights")


def test_over_http(weights, photo, tmp_path, monkeypatch):
    """A served process takes a form and answers with a PNG that FLUX made, and says so."""
    monkeypatch.setattr(served, "PATIENCE", PATIENCE)
    settings = {
        "flux_model": str(weights / "flux2"),
        "caption_model": str(weights / "captioner"),
        "flux_device": "cpu",
        "flux_resume": str(tmp_path / "jobs"),
        "threads": "2",
    }
    with served.Server(tmp_path / "data", settings, module=("fluxvision", "serve")) as server:
        answer = server.edit(
            ("model", "flux-vision-upscaler"),
            ("image", photo.read_bytes(), "photo.png"),
            ("prompt", PROMPT),
            ("scale_factor", "2"),
            ("seed", "7"),
            ("response_format", "b64_json"),
        )
    assert (answer.status, answer.headers["x-fluxvision-provider"]) == (200, "flux")
    said = answer.json()
    with Image.open(io.BytesIO(base64.b64decode(said["data"][0]["b64_json"]))) as picture:
        assert (picture.format, picture.size) == ("PNG", (64, 48))
    metadata = said["metadata"]
    assert said["data"][0]["revised_prompt"].startswith(PROMPT)
    assert (metadata["engine"], metadata["seed"], metadata["degraded"]) == ("flux2-klein-4b", 7, False)
    assert (metadata["weights"], metadata["licence"]) == ("flux2", "Apache-2.0")
    assert metadata["fidelity"]["lr_psnr_db"] > 20
    assert {"load", "caption", "enlarge", "finish"} <= set(metadata["timings"])
    assert "caption" in metadata
    assert (metadata["passes"], metadata["memory"], metadata["resumed_tiles"]) == (1, [], 0)
    assert (metadata["backend"], metadata["revision"]) == ("flux2-klein-4b", None)
    assert str(weights) not in answer.body.decode()


def test_on_the_command_line(weights, photo, monkeypatch, capsys):
    """`upscale --provider flux --model-path` makes the picture beside its source."""
    monkeypatch.chdir(photo.parent)
    monkeypatch.setenv("FLUXVISION_CAPTIONER", "none")
    monkeypatch.setenv("FLUXVISION_FLUX_DEVICE", "cpu")
    monkeypatch.setenv("FLUXVISION_FLUX_RESUME", "none")

    def unused(*_args):
        raise AssertionError

    rest = dict.fromkeys(("check", "serve", "fetch", "serve_cluster", "serve_mcp", "open_database", "diagnose"), unused)
    dependencies = cli.Dependencies(create_gateway=create_gateway, **rest)
    order = ("upscale", "photo.png", "--provider", "flux", "--model-path", str(weights / "flux2"), "--json")
    code = cli.run_cli(order, dependencies)
    said = capsys.readouterr()
    assert code == 0, said.err
    told = json.loads(said.out)
    assert (told["provider"], told["width"], told["height"]) == ("flux", 64, 48)
    with Image.open(Path("photo@2x.png")) as picture:
        assert picture.size == (64, 48)
