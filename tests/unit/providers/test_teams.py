"""Providers whose tiles are made by a team: from the settings to the pixels."""

import asyncio
import base64
import io

import numpy as np
import psutil
import pytest
from PIL import Image
from skimage import data

from fakes import server as served
from fluxvision import imaging
from fluxvision.core.errors import UpstreamRefused
from fluxvision.core.load_settings import load_settings
from fluxvision.core.types import Call, JobCallbacks
from fluxvision.engine.flux import remote
from fluxvision.providers import embedded, flux

UNREACHABLE = "ray://127.0.0.1:9"


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    Image.fromarray(data.astronaut()[60:84, 180:212]).save(path)
    return path


def call(path, **body):
    source = imaging.probe(path, imaging.Limits())
    return Call("embedded", "span", {"size": (64, 48), "creativity": 0.3, **body}, source, None)


def made(provider, of, folder):
    """Run a call, end the provider, and return the pixels."""

    async def run():
        try:
            return await provider.run(of, JobCallbacks(), folder)
        finally:
            await provider.aclose()

    return asyncio.run(run()).picture.path.read_bytes()


def settings(**given):
    return load_settings({}, given)


def test_embedded_makes_the_same_picture_in_two_processes(photo, tmp_path):
    """The setting `worker_processes` changes where the tiles are made and no byte; closing ends the processes."""
    before = set(psutil.Process().children())
    plain = embedded.configured(settings(threads=2))["embedded"]
    divided = embedded.configured(settings(threads=2, worker_processes=2))["embedded"]
    assert made(divided, call(photo), tmp_path) == made(plain, call(photo), tmp_path)
    assert set(psutil.Process().children()) == before


@pytest.mark.parametrize("engine", ["mock", "span"])
def test_every_engine_is_a_recipe(photo, tmp_path, engine):
    """The recipe of an engine is the engine that this process would run."""
    plain = embedded.configured(settings())["embedded"]
    divided = embedded.configured(settings(worker_processes=1))["embedded"]
    of = call(photo, backend=engine)
    assert made(divided, of, tmp_path) == made(plain, of, tmp_path)


def test_no_setting_means_no_team():
    """By default there is no process and no cluster."""
    assert embedded.configured(settings())["embedded"]._team is None


def test_a_cluster_that_is_not_there_lets_the_next_provider_go_on(photo, tmp_path):
    """The refusal names the setting, is no reason to rest the provider, and goes on to the next one."""
    pytest.importorskip("ray", reason="needs the extra cluster")
    provider = embedded.configured(settings(cluster=UNREACHABLE))["embedded"]
    with pytest.raises(UpstreamRefused, match="setting cluster") as caught:
        made(provider, call(photo), tmp_path)
    assert caught.value.goes_on
    assert not caught.value.counts
    assert not list(tmp_path.glob("*.raw"))


@pytest.mark.parametrize(
    ("visible", "count", "names"),
    [
        (None, 0, ()),
        (None, 2, ("0", "1")),
        ("3,5", 2, ("3", "5")),
        ("GPU-a, GPU-b,GPU-c", 2, ("GPU-a", "GPU-b")),
    ],
)
def test_devices_are_those_that_this_process_may_see(monkeypatch, visible, count, names):
    """Workers get names that mean the same to them as to this process."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert remote._device_names(count) == names


@pytest.mark.parametrize("wish", ["cpu", "cuda:1", "mps"])
def test_a_wish_for_one_device_is_kept(wish):
    """Who names a device gets that one alone."""
    assert remote.cuda_devices(wish) == ()


def test_flux_makes_the_same_picture_in_two_processes(photo, tmp_path):
    """Networks that workers load make the bytes of those in this process, which then loads none."""
    pytest.importorskip("torch", reason="needs the extra flux")
    from fakes.flux_models import make_flux2  # noqa: PLC0415, takes seconds

    make_flux2(tmp_path / "flux2")
    given = {
        "flux_model": str(tmp_path / "flux2"),
        "flux_device": "cpu",
        "captioner": "none",
        "flux_resume": "none",
        "threads": 2,
    }
    of = call(photo, prompt="crisp feathers", seed=3)
    plain = flux.configured(settings(**given))["flux"]
    divided = flux.configured(settings(**given, worker_processes=2))["flux"]
    first = made(divided, of, tmp_path)
    assert first == made(plain, of, tmp_path)


def test_a_request_over_http_is_made_in_two_processes(photo, tmp_path):
    """A whole server with `worker_processes=2` answers as one without."""
    divided = answer(photo, tmp_path / "divided", worker_processes="2")
    assert divided == answer(photo, tmp_path / "plain")


def answer(photo, folder, **given):
    """Send a picture to a server and return the pixels of the result."""
    with served.Server(folder, given, module=("fluxvision", "serve")) as server:
        found = server.edit(
            ("model", "flux-vision-upscaler"),
            ("image", photo.read_bytes(), "photo.png"),
            ("response_format", "b64_json"),
        )
    assert (found.status, found.headers["x-fluxvision-provider"]) == (200, "embedded")
    with Image.open(io.BytesIO(base64.b64decode(found.json()["data"][0]["b64_json"]))) as picture:
        return np.asarray(picture).tobytes()
