"""What the stages around the network leave of what it makes: of the truth, of the source, of something else."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter
from skimage import data

from fakes.flux_oracle import changed, enlarged, oracle
from fluxvision.engine import back_projection

PHOTOS = {
    "astronaut": data.astronaut()[:384, 64:448],
    "coffee": data.coffee()[:384, 100:484],
    "chelsea": data.chelsea()[:288, 50:434],
}


def noisy(picture, deviation):
    """Return a picture with noise."""
    noise = np.random.default_rng(1).normal(0, deviation, picture.shape)
    return np.clip(np.round(picture + noise), 0, 255).astype(np.uint8)


def blurred(picture, deviation):
    """Return a picture blurred by a Gaussian."""
    return np.round(gaussian_filter(picture.astype(np.float32), (deviation, deviation, 0))).astype(np.uint8)


DAMAGES = {
    "none": (lambda picture: picture, None),
    "blur": (lambda picture: blurred(picture, 1.0), None),
    "noise": (lambda picture: noisy(picture, 10), None),
    "strong noise": (lambda picture: noisy(picture, 20), None),
    "JPEG": (lambda picture: picture, 50),
    "phone": (lambda picture: noisy(blurred(picture, 0.7), 8), 70),
}
"""What happened to a picture, and the quality of the JPEG that it was saved as."""


def damaged(photo, damage, folder):
    """Write a photograph, reduced by 4 and damaged, into a file."""
    truth = np.ascontiguousarray(PHOTOS[photo].transpose(2, 0, 1), np.float32) / 255
    small = np.round(np.clip(back_projection.shrink(truth, 4), 0, 1).transpose(1, 2, 0) * 255).astype(np.uint8)
    change, quality = DAMAGES[damage]
    path = folder / ("in.png" if quality is None else "in.jpg")
    Image.fromarray(change(small)).save(path, **({} if quality is None else {"quality": quality}))
    return path


def psnr(one, other):
    """Return the PSNR of 8-bit samples in dB."""
    return float(-10 * np.log10(np.square(one.astype(float) - other).mean() / 255**2))


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("photo", PHOTOS)
def test_a_perfect_network_delivers_the_truth(photo, damage, tmp_path, folder, monkeypatch):
    """At the defaults, of sources damaged in any way: nothing of their damage is printed back."""
    path = damaged(photo, damage, tmp_path)
    made, _ = enlarged(monkeypatch, oracle(PHOTOS[photo]), path, 4, folder)
    assert psnr(made, PHOTOS[photo]) >= 40


@pytest.mark.parametrize("damage", ["none", "phone"])
def test_a_network_that_changes_nothing_gives_the_source_back(damage, tmp_path, folder, monkeypatch):
    """What is delivered is the faithful enlargement of what restoration left, as without creativity."""
    path = damaged("chelsea", damage, tmp_path)
    same = changed(lambda pixels: pixels)
    made, result = enlarged(monkeypatch, same, path, 2, folder)
    plain, _ = enlarged(monkeypatch, same, path, 2, folder, creativity=0.0)
    assert np.abs(made.astype(int) - plain).mean() < 0.5
    assert result.details["consistency"]["reached_db"] >= 40


def test_the_more_is_set_the_more_is_held(tmp_path, folder, monkeypatch):
    """A network whose picture is a negative is held to each value, and no closer than to the next one."""
    path = damaged("coffee", "none", tmp_path)
    negative = changed(lambda pixels: 1 - pixels)
    values = (5.0, 10.0, 20.0, 30.0, 45.0)
    found = [enlarged(monkeypatch, negative, path, 2, folder, fidelity=value) for value in values]
    reached = [result.details["consistency"]["reached_db"] for _, result in found]
    assert reached == sorted(set(reached))
    assert len({made.tobytes() for made, _ in found}) == len(values)
    for value, is_reached in list(zip(values, reached, strict=True))[2:]:
        assert value <= is_reached < value + 2


@pytest.mark.parametrize("damage", ["none", "strong noise"])
def test_colours_of_a_tile_do_not_show(damage, tmp_path, folder, monkeypatch):
    """A network that makes each tile lighter by an amount of its own leaves no borders, however coarse the lock."""
    path = damaged("astronaut", damage, tmp_path)
    lighter = changed(lambda pixels: pixels + 0.3 * (pixels.mean() - 0.5))
    _, result = enlarged(monkeypatch, lighter, path, 4, folder)
    assert result.details["tiles"] > 4
    assert result.seam_ratio == pytest.approx(1.0, abs=0.02)


def test_both_passes_hold_to_what_restoration_left(tmp_path, folder, monkeypatch):
    """What is measured and reported is the agreement with the restored source, in pass two as in one."""
    path = damaged("chelsea", "strong noise", tmp_path)
    reached = {}
    for passes in ("1", "2"):
        _, result = enlarged(monkeypatch, oracle(PHOTOS["chelsea"]), path, 4, folder, passes=passes)
        assert result.details["passes"] == int(passes)
        reference = np.fromfile(result.reference.path, np.uint8).reshape(72, 96, 3)
        small = back_projection.shrink(PHOTOS["chelsea"].transpose(2, 0, 1).astype(np.float32), 4)
        reached[passes] = result.details["consistency"]["reached_db"]
        assert reached[passes] == pytest.approx(psnr(reference, small.transpose(1, 2, 0)), abs=1)
        noisy_source = np.asarray(Image.open(path))
        assert reached[passes] > psnr(noisy_source, small.transpose(1, 2, 0)) + 5
