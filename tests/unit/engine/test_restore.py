"""The restoration network takes noise and compression away, in tiles that do not show."""

from __future__ import annotations

import os
import subprocess
import sys
from io import BytesIO

import ncnn
import numpy as np
import pytest
from PIL import Image
from skimage import data

from fluxvision.core.errors import Cancelled, Unavailable
from fluxvision.engine import restore as module
from fluxvision.engine.backends import weight_files
from fluxvision.engine.restore import RestorationNetwork, restore
from fluxvision.engine.source_analysis import SourceAnalysis, analyse_source

NOISE = SourceAnalysis(10.0, blotchy=False, jpeg_quality=None, blur=0.0)
CLEAN = SourceAnalysis(0.5, blotchy=False, jpeg_quality=98, blur=0.0)


@pytest.fixture(scope="module")
def network():
    """The loaded network."""
    return RestorationNetwork()


def photo(reduction=2):
    """A photograph without noise."""
    return np.asarray(Image.fromarray(data.astronaut()).reduce(reduction))


def noisy(picture, sigma):
    """A picture with white noise."""
    return (picture + np.random.default_rng(1).normal(0, sigma, picture.shape)).clip(0, 255).astype(np.uint8)


def jpeg(picture, quality):
    """A picture after JPEG."""
    buffer = BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer).convert("RGB"))


def error(one, other):
    """The mean square of a difference."""
    return float(np.square(one.astype(np.float64) - other).mean())


FOREIGN = """
import numpy as np
from fluxvision.engine.restore import RestorationNetwork
from fluxvision.engine.source_analysis import SourceAnalysis

network, analysis = RestorationNetwork(), SourceAnalysis(10.0, blotchy=False, jpeg_quality=98, blur=0.0)
window = np.random.default_rng(0).random((3, 62, 98), np.float32)
first = network.run(window, analysis).copy()
network.clear()
print(float(np.abs(network.run(window, analysis) - first).max()), float(np.abs(first).max()))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the memory is filled by glibc")
def test_nothing_but_the_window_is_read():
    """Where memory holds other numbers than zeros, planes that are no multiple of 16 bytes are restored alike."""
    environment = {**os.environ, "MALLOC_PERTURB_": "170"}
    said = subprocess.run([sys.executable, "-c", FOREIGN], env=environment, check=True, capture_output=True, text=True)
    difference, most = map(float, said.stdout.split())
    assert difference == 0
    assert most < 1.5


@pytest.mark.parametrize("size", [(64, 64), (70, 123), (129, 65), (1, 1), (3, 200)])
@pytest.mark.parametrize("tile", [16, 50, 64])
def test_tiles_make_what_the_whole_makes(size, tile, network, monkeypatch):
    """No tile differs from the whole picture by more than the rounding of a sample."""
    picture = noisy(photo()[: size[0], : size[1]], 10)
    whole = restore(picture, NOISE, 1, network)
    monkeypatch.setattr(module, "TILE", tile)
    difference = np.abs(restore(picture, NOISE, 1, network).astype(int) - whole)
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.01


def test_the_four_pixels_of_a_square_are_channels_in_order(tmp_path):
    """The layer Reorg puts channel, row and column of a square in the order in which the network was trained."""
    path = tmp_path / "param"
    path.write_text("7767517\n2 2\nInput image 0 1 image\nReorg halves 1 1 image halves 0=2\n", encoding="ascii")
    net = ncnn.Net()
    assert net.load_param(str(path)) == 0
    picture = np.random.default_rng(0).random((3, 4, 6), np.float32)
    extractor = net.create_extractor()
    extractor.input("image", ncnn.Mat(picture).clone())
    found = np.array(extractor.extract("halves")[1])
    wanted = picture.reshape(3, 2, 2, 3, 2).transpose(0, 2, 4, 1, 3).reshape(12, 2, 3)
    assert np.array_equal(found, wanted)


@pytest.mark.parametrize(("analysis", "strength"), [(CLEAN, 1.0), (NOISE, 0.0)])
def test_a_clean_picture_is_returned_as_it_is(analysis, strength, network):
    """Without damage, or without strength, the picture is the same object."""
    picture = photo()
    assert restore(picture, analysis, strength, network) is picture


@pytest.mark.parametrize("sigma", [5, 10, 20])
def test_noise_is_taken_away(sigma, network):
    """What the analysis finds is enough to take half of the error of noise away."""
    picture = noisy(photo(), sigma)
    assert error(restore(picture, analyse_source(picture), 1, network), photo()) < 0.5 * error(picture, photo())


@pytest.mark.parametrize("quality", [40, 60, 80])
def test_compression_is_taken_away(quality, network):
    """A JPEG comes a tenth nearer to the original."""
    picture = jpeg(photo(), quality)
    made = restore(picture, analyse_source(picture, quality), 1, network)
    assert error(made, photo()) < 0.9 * error(picture, photo())


def test_half_the_strength_makes_half_the_change(network):
    """The result lies between the picture and its restoration."""
    picture = noisy(photo(), 10)
    whole, half = (restore(picture, NOISE, strength, network).astype(int) for strength in (1, 0.5))
    inside = (whole > 0) & (whole < 255)
    assert np.abs(2 * (half - picture) - (whole - picture))[inside].max() <= 2


def test_every_kind_of_samples_is_restored(network):
    """Grey stays grey, and 16 bits have the values of 8 bits."""
    picture = noisy(photo(), 10)
    eight = restore(picture, NOISE, 1, network)
    sixteen = restore(picture.astype(np.uint16) * 257, NOISE, 1, network)
    assert sixteen.dtype == np.uint16
    assert np.abs(sixteen / 257 - eight).max() <= 0.51
    grey = restore(picture[:, :, :1], NOISE, 1, network)
    assert grey.shape == (*picture.shape[:2], 1)
    assert error(grey, photo()[:, :, :1]) < 0.5 * error(picture[:, :, :1], photo()[:, :, :1])


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_threads_change_no_byte(threads, network, monkeypatch):
    """The same picture has the same bytes on any number of threads."""
    monkeypatch.setattr(module, "TILE", 64)
    picture = noisy(photo(), 10)
    assert np.array_equal(
        restore(picture, NOISE, 1, network, threads=threads), restore(picture, NOISE, 1, network, threads=1)
    )


def test_cancellation_ends_the_work(network, monkeypatch):
    """What is raised before a tile ends the restoration."""
    monkeypatch.setattr(module, "TILE", 16)
    calls = []

    def stop():
        calls.append(1)
        if len(calls) == 3:
            raise Cancelled("The work was cancelled.")

    with pytest.raises(Cancelled):
        restore(photo(), NOISE, 1, network, threads=1, before_tile=stop)
    assert len(calls) < 10


def test_missing_weights_are_an_error_of_ours(tmp_path, monkeypatch):
    """Without its files the network is unavailable."""
    monkeypatch.setattr(weight_files, "OWN", tmp_path)
    with pytest.raises(Unavailable):
        RestorationNetwork()
