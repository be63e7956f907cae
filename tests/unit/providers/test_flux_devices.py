"""FLUX on several devices, each with networks of its own: the bytes of one device, whatever they give up for memory."""

from __future__ import annotations

import threading

import pytest
from PIL import Image
from skimage import data

pytest.importorskip("torch", reason="needs the extra flux")

import torch

from fakes.flux_calls import call, opened, samples
from fakes.flux_tight import Tight
from fluxvision.core.callbacks import JobCallbacks
from fluxvision.core.errors import UpstreamError
from fluxvision.core.load_settings import load_settings
from fluxvision.engine.flux import loading
from fluxvision.engine.flux.memory_budget import device_budget
from fluxvision.providers import flux

TILE = 256
FULL = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """A picture that has several batches of tiles at factor 2."""
    path = tmp_path_factory.mktemp("in") / "wide.png"
    Image.fromarray(data.astronaut()[60:72, :480]).save(path)
    return path


def on(devices, weights, **ways):
    """Return a provider whose networks are on these devices."""
    return opened(weights, tile=TILE, device=devices, captioner="captioner", ways=ways)


def wanted(path, **body):
    return call(path, (960, 24), prompt="soft fur", seed=3, **body)


async def made(provider, of, folder):
    try:
        return await provider.run(of, JobCallbacks(), folder)
    finally:
        await provider.aclose()


@pytest.mark.parametrize(
    ("wish", "count", "devices"),
    [
        ("auto", 0, ("auto",)),
        ("auto", 1, ("auto",)),
        ("auto", 2, ("cuda:0", "cuda:1")),
        ("cuda", 3, ("cuda:0", "cuda:1", "cuda:2")),
        ("cuda:1", 4, ("cuda:1",)),
        ("cuda:0, cuda:2", 4, ("cuda:0", "cuda:2")),
        ("cpu", 2, ("cpu",)),
    ],
)
def test_the_devices_that_a_setting_means(monkeypatch, wish, count, devices):
    """All GPUs where none is named, else those that are named."""
    monkeypatch.setattr(loading.torch.cuda, "device_count", lambda: count)
    assert loading.list_devices(wish) == devices


async def test_two_devices_make_the_bytes_of_one(weights, wide, folder):
    """Each device has its own networks and makes tiles in a thread of its own; all of them are closed."""
    one = await made(on("cpu", weights), wanted(wide), folder)
    provider = on("cpu,cpu", weights)
    loaded, threads = provider.models.get(), [set(), set()]
    first, second = (networks for networks, _ in loaded.replicas)
    assert first is loaded.networks is not second
    for networks, seen in ((first, threads[0]), (second, threads[1])):
        decode = networks.decode
        networks.decode = lambda latents, seen=seen, decode=decode: (seen.add(threading.get_ident()), decode(latents))[
            1
        ]
    two = await made(provider, wanted(wide), folder)
    assert samples(two) == samples(one)
    assert all(threads)
    assert two.details["tiles"] == one.details["tiles"] > 4
    assert first.transformer is second.transformer is None


async def test_settings_name_several_devices(weights):
    """`flux_device` with a comma starts networks on each; kept tiles of one device are those of two."""
    facts = {"flux_model": str(weights / "flux2"), "captioner": "none", "flux_resume": "none"}
    provider = flux.configured(load_settings({}, {**facts, "flux_device": "cpu,cpu"}))["flux"]
    single = flux.configured(load_settings({}, {**facts, "flux_device": "cpu"}))["flux"]
    assert len(provider.models.get().replicas) == 2
    assert provider.models.get().identity == single.models.get().identity
    await provider.aclose()
    await single.aclose()


async def test_tiles_on_two_devices_have_captions_of_their_own(weights, wide, folder, monkeypatch):
    """The one captioner looks at all tiles first; the bytes are those of one device, and others without captions."""
    outcomes = {}
    for devices, captions in (("cpu", True), ("cpu,cpu", True), ("cpu,cpu", False)):
        provider = on(devices, weights, tile_captions=captions)
        captioner = provider.models.get().captioner
        monkeypatch.setattr(captioner._sight, "describe", bricks)
        outcomes[devices, captions] = await made(provider, wanted(wide), folder)
    assert samples(outcomes["cpu,cpu", True]) == samples(outcomes["cpu", True])
    assert samples(outcomes["cpu,cpu", True]) != samples(outcomes["cpu,cpu", False])
    assert [one.details["tile_captions"] for one in outcomes.values()] == [True, True, False]


def bricks(pictures, _words):
    return [f"A wall of {int(1e6 * picture.mean())} bricks." for picture in pictures]


@pytest.mark.parametrize(
    ("fits", "memory"),
    [
        (lambda taken: "fp8" in taken, ["fp8"]),
        (lambda taken: "tile 192" in taken, ["fp8", "tile 192"]),
    ],
)
async def test_what_does_not_fit_on_one_device_is_given_up_on_all(  # noqa: PLR0917, fixtures
    weights, wide, folder, monkeypatch, fits, memory
):
    """All devices go to 8 bits, then all tiles become smaller, and the job begins anew; it is told."""
    provider = on("cpu,cpu", weights)
    loaded = provider.models.get()
    replicas = [networks for networks, _ in loaded.replicas]
    velocity = replicas[1].velocity

    def tight(latents, *given, **rest):
        if not fits(loaded.budget.taken_steps):
            raise FULL
        return velocity(latents, *given, **rest)

    monkeypatch.setattr(replicas[1], "velocity", tight)
    outcome = await provider.run(wanted(wide), JobCallbacks(), folder)
    assert [one for one in outcome.details["memory"] if one[:4] in {"fp8", "tile"}] == memory
    assert all("fp8" in networks.accelerations for networks in replicas)
    await provider.aclose()


async def test_devices_without_room_end_the_job(weights, wide, folder, monkeypatch):
    """When everything was given up it is one sentence, and no file is left."""
    provider = on("cpu,cpu", weights)

    def full(*_args, **_rest):
        raise FULL

    monkeypatch.setattr(provider.models.get().replicas[1][0], "velocity", full)
    with pytest.raises(UpstreamError) as caught:
        await made(provider, wanted(wide), folder)
    assert (caught.value.message, list(folder.iterdir())) == (flux.NO_ROOM, [])


def test_a_device_gives_up_only_what_changes_no_byte():
    """Fewer tiles at once, then the text encoder's place; 8 bits and smaller tiles are the job's business."""
    networks = Tight()
    budget = device_budget(networks)
    while budget.release_next():
        pass
    assert (budget.taken_steps, networks.given) == (["batch 2", "batch 1", "text encoder on the CPU"], ["text"])
