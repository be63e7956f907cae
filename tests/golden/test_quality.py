"""What the engine promises of picture quality at 4x, on small crops of photographs."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image, ImageDraw
from skimage import data

from fluxvision.engine import Request, enlarge
from fluxvision.engine.restore import restore_source

SIDE = 256
PHOTOS = {
    "astronaut": (data.astronaut, 0, 128),
    "coffee": (data.coffee, 100, 200),
    "chelsea": (data.chelsea, 30, 100),
}


def truth(name):
    photo, top, left = PHOTOS[name]
    return photo()[top : top + SIDE, left : left + SIDE]


def resized(samples, width, height):
    return np.asarray(Image.fromarray(samples).resize((width, height), Image.Resampling.BICUBIC))


def quarter(samples):
    return resized(samples, samples.shape[1] // 4, samples.shape[0] // 4)


def bicubic(samples):
    return resized(samples, samples.shape[1] * 4, samples.shape[0] * 4)


def enlarged(samples, creativity):
    strips = []
    enlarge(Request(samples, samples.shape[1] * 4, samples.shape[0] * 4, creativity=creativity), strips.append)
    return np.concatenate(strips)


def compressed(samples, quality, subsampling):
    buffer = BytesIO()
    Image.fromarray(samples).save(buffer, "JPEG", quality=quality, subsampling=subsampling)
    return np.asarray(Image.open(buffer).convert("RGB"))


def psnr(one, other):
    error = np.square(one.astype(np.float64) - other).mean()
    return 99.0 if error == 0 else 10 * np.log10(255**2 / error)


def texture(samples):
    grey = samples.astype(np.float64).mean(axis=2)
    fine = 4 * grey[1:-1, 1:-1] - grey[:-2, 1:-1] - grey[2:, 1:-1] - grey[1:-1, :-2] - grey[1:-1, 2:]
    return np.abs(fine).mean()


@pytest.mark.parametrize("name", PHOTOS)
def test_without_creativity_the_result_is_nearer_to_the_truth_than_bicubic(name):
    """Creativity 0 gains 0.8 dB or more on every photograph and reduces to the input again within 50 dB."""
    small = quarter(truth(name))
    result = enlarged(small, 0)
    assert psnr(result, truth(name)) >= psnr(bicubic(small), truth(name)) + 0.8
    assert psnr(quarter(result), small) >= 50


def test_the_mean_gain_over_bicubic_is_two_decibels():
    """Over all photographs creativity 0 gains 2 dB."""
    smalls = {name: quarter(truth(name)) for name in PHOTOS}
    gains = [
        psnr(enlarged(small, 0), truth(name)) - psnr(bicubic(small), truth(name)) for name, small in smalls.items()
    ]
    assert np.mean(gains) >= 2


@pytest.mark.parametrize("name", PHOTOS)
def test_creativity_adds_texture_and_keeps_the_structure(name):
    """More creativity is more fine detail, and the input is still found in the result within 45 dB."""
    small = quarter(truth(name))
    plain, default, most = (enlarged(small, creativity) for creativity in (0, 0.3, 1))
    assert texture(bicubic(small)) < texture(plain)
    assert 1.1 * texture(plain) < texture(default) < texture(most)
    assert psnr(quarter(default), small) >= 45
    assert psnr(quarter(most), small) >= 45


@pytest.mark.parametrize("subsampling", [0, 2], ids=["4:4:4", "4:2:0"])
@pytest.mark.parametrize("quality", [60, 90])
@pytest.mark.parametrize("name", PHOTOS)
def test_a_jpeg_never_comes_out_worse_than_bicubic(name, quality, subsampling):
    """Blocks and ringing of a compressed input are not sharpened: PSNR at creativity 0 is at least bicubic's."""
    small = compressed(quarter(truth(name)), quality, subsampling)
    result = enlarged(restore_source(small, quality, 1.0).color, 0)
    assert psnr(result, truth(name)) >= psnr(bicubic(small), truth(name))


@pytest.mark.parametrize("creativity", [0, 0.3])
def test_hard_edged_text_stays_text(creativity):
    """On text without anti-aliasing the fidelity network breaks out at full contrast; the result is clean."""
    page = Image.new("RGB", (96, 64), "white")
    draw = ImageDraw.Draw(page)
    draw.fontmode = "1"
    for line in range(5):
        draw.text((2, line * 12), "Hamburgefonts 123", fill="black")
    small = np.asarray(page)
    result = enlarged(small, creativity)
    assert psnr(quarter(result), small) >= psnr(quarter(bicubic(small)), small)
