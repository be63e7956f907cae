"""Which GPU is used, and that one which computes something else is not."""

from __future__ import annotations

import numpy as np
import pytest

from fluxvision.core.errors import InternalError, Unavailable
from fluxvision.engine.backends import ncnn, vulkan
from fluxvision.engine.backends.registry import BY_NAME, TileInput, TileOrigin
from fluxvision.engine.backends.vulkan import Gpu

SPAN = BY_NAME["span"]
REAL = ncnn.Network
SOFTWARE, SMALL, LARGE = Gpu(0, "llvmpipe", "software"), Gpu(1, "Iris", "integrated"), Gpu(2, "Arc", "discrete")
TILE = vulkan.sample_tile()[:, :16, :16]


def enlarged(tile):
    """A network without weights."""
    return np.repeat(np.repeat(tile, 4, axis=1), 4, axis=2)


def altered(change):
    """The same network with a driver that computes something else."""

    def run(tile):
        fine = enlarged(tile)
        return fine if change(fine) is None else change(fine)

    return run


def one_sample(fine):
    fine[1, 2, 3] += 0.5


def a_little(fine):
    fine += 5e-5


def everywhere(fine):
    fine += 1e-3


def not_a_number(fine):
    fine[0, 0, 0] = np.nan


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (one_sample, "by 3e-06 in the mean and 0.5 at most"),
        (everywhere, "by 0.001 in the mean and 0.001 at most"),
        (not_a_number, "its results are no picture"),
        (lambda fine: fine[:, ::2], "its results are no picture"),
    ],
)
def test_a_gpu_that_computes_something_else_is_found_out(change, reason):
    """One wrong sample, a small error everywhere, no number, and another size."""
    with pytest.raises(InternalError, match=f"{reason}$"):
        vulkan.verify(enlarged, altered(change))


def test_a_gpu_may_round_differently():
    """An eightieth of an 8-bit step is no error; the speed is told."""
    assert vulkan.verify(enlarged, altered(a_little)) > 0


def test_both_runs_are_compared():
    """A driver whose second result differs from the first is found out too."""
    results = iter([enlarged(vulkan.sample_tile()), np.zeros((3, 256, 256), np.float32)])
    with pytest.raises(InternalError, match="differ"):
        vulkan.verify(enlarged, lambda _tile: next(results))


@pytest.mark.parametrize(
    ("device", "gpus", "found"),
    [
        ("cpu", (LARGE,), None),
        ("auto", (), None),
        ("auto", (SOFTWARE,), None),
        ("auto", (SOFTWARE, SMALL, LARGE), LARGE),
        ("auto", (SOFTWARE, SMALL), SMALL),
        ("gpu", (SOFTWARE, SMALL, LARGE), LARGE),
        ("gpu", (SOFTWARE,), SOFTWARE),
        ("gpu:1", (SOFTWARE, SMALL, LARGE), SMALL),
    ],
)
def test_the_device_of_a_setting(device, gpus, found, monkeypatch):
    """The discrete GPU is preferred to the integrated one; a software one is used only when it is asked for."""
    monkeypatch.setattr(vulkan, "find_gpus", lambda: gpus)
    assert vulkan.choose_gpu(device) is found


@pytest.mark.parametrize(("device", "gpus", "there"), [("gpu", (), "none"), ("gpu:3", (SMALL,), "gpu:1 .Iris.")])
def test_a_gpu_that_is_not_there_is_an_error_naming_the_setting(device, gpus, there, monkeypatch):
    """The sentence lists the GPUs that there are."""
    monkeypatch.setattr(vulkan, "find_gpus", lambda: gpus)
    with pytest.raises(Unavailable, match=rf"^device: there is no {device} .* GPUs found: {there}\.$") as caught:
        vulkan.choose_gpu(device)
    assert caught.value.param == "device"


def test_looking_for_gpus_prints_nothing(capfd):
    """The search of ncnn for drivers is hidden."""
    vulkan.find_gpus.cache_clear()
    vulkan.find_gpus()
    assert capfd.readouterr() == ("", "")


@pytest.fixture
def driver(monkeypatch):
    """A machine with one GPU; its networks are those of the CPU with `change` applied to what they make."""
    facts = {"change": lambda made: made, "calls": 0}

    class Faked(REAL):
        def __init__(self, name, package, pool, threads, gpu=None):
            super().__init__(name, package, pool, threads)
            self.gpu = gpu

        def run(self, tile):
            made = super().run(tile)
            facts["calls"] += self.gpu is not None
            return made if self.gpu is None else facts["change"](made)

    monkeypatch.setattr(vulkan, "find_gpus", lambda: (LARGE,))
    monkeypatch.setattr(ncnn, "Network", Faked)
    ncnn._load_verified.cache_clear()
    yield facts
    ncnn._load_verified.cache_clear()


def made_by(networks):
    return networks.base(TILE), networks.detail([TileInput(TILE, TILE, TileOrigin(0, 0))])[0]


def test_a_verified_gpu_makes_the_tiles(driver):
    """Both networks run there, and the backend names the device."""
    networks = ncnn.Networks(SPAN, device="gpu")
    driver["calls"] = 0
    made_by(networks)
    assert driver["calls"] == 2
    assert networks.device == "gpu:2 (Arc)"


def test_a_wrong_driver_that_was_asked_for_is_an_error(driver):
    """The sentence names the setting, the GPU, the engine and the difference."""
    driver["change"] = lambda made: made + 0.25
    with pytest.raises(Unavailable, match=r"^device: gpu:2 \(Arc\) cannot .* engine span: its .* by 0.2 ") as caught:
        ncnn.Networks(SPAN, device="gpu")
    assert caught.value.param == "device"


def test_a_wrong_driver_is_not_used_by_itself(driver, caplog):
    """With `auto` the CPU is used, with one warning, and the samples are the CPU's."""
    driver["change"] = lambda made: made + 0.25
    networks = ncnn.Networks(SPAN, device="auto")
    ncnn.Networks(SPAN, 2, device="auto")
    assert networks.device == "cpu"
    for mine, plain in zip(made_by(networks), made_by(ncnn.Networks(SPAN)), strict=True):
        assert (mine == plain).all()
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert caplog.messages[0].endswith("The CPU is used.")


def test_a_slow_gpu_is_not_used_by_itself(driver):
    """With `auto` a GPU must be faster than all tiles at work on the CPU; one as fast as the CPU is not."""
    assert ncnn.Networks(SPAN, device="auto").device == "cpu"
    assert ncnn.Networks(SPAN, device="gpu").device == "gpu:2 (Arc)"
    assert driver["calls"] > 0


@pytest.mark.parametrize("failure", ["black", "short"])
def test_a_tile_that_fails_on_the_gpu_is_made_by_the_cpu(failure, driver):
    """A driver that runs out of memory in the middle costs time, not the picture."""
    networks = ncnn.Networks(SPAN, device="gpu")

    def fail(made):
        if failure == "short":
            raise MemoryError
        return made * 0

    driver["change"] = fail
    for mine, plain in zip(made_by(networks), made_by(ncnn.Networks(SPAN)), strict=True):
        assert (mine == plain).all()


@pytest.mark.slow
@pytest.mark.skipif(not vulkan.find_gpus(), reason="there is no Vulkan driver")
@pytest.mark.parametrize("gpu", vulkan.find_gpus(), ids=lambda gpu: gpu.name)
def test_the_gpus_of_this_machine(gpu):
    """Each driver that is there computes what the CPU computes, on a tile that it was not verified on."""
    networks = ncnn.Networks(SPAN, device=f"gpu:{gpu.index}")
    for mine, plain in zip(made_by(networks), made_by(ncnn.Networks(SPAN)), strict=True):
        assert np.abs(mine - plain).max() < vulkan.LARGEST_DIFFERENCE
