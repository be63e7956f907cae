"""Noise, compression and blur of a picture are measured; clean pictures of any kind are called clean."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage
from skimage import data

from fluxvision.engine.source_analysis import SourceAnalysis, analyse_source

PHOTOS = {
    "astronaut": data.astronaut,
    "coffee": data.coffee,
    "cat": data.chelsea,
    "rocket": data.rocket,
    "camera": data.camera,
}


def photo(name, reduction=2):
    """A photograph, reduced so that it has no noise of its own."""
    picture = Image.fromarray(PHOTOS[name]()).convert("RGB")
    return np.asarray(picture.reduce(reduction))


def noisy(picture, sigma, side=1):
    """A picture with noise of `sigma` in luma, in patches of `side` pixels."""
    shape = [-(-length // side) for length in picture.shape[:2]]
    noise = np.kron(np.random.default_rng(3).normal(0, sigma, (*shape, 1)), np.ones((side, side, 1)))
    return (picture + noise[: picture.shape[0], : picture.shape[1]]).clip(0, 255).astype(np.uint8)


def jpeg(picture, quality):
    """A picture after JPEG."""
    buffer = BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer).convert("RGB"))


def page(size=14):
    """A screenshot with lines of text."""
    picture = Image.new("RGB", (400, 300), (250, 250, 245))
    draw = ImageDraw.Draw(picture)
    for line in range(15):
        draw.text(
            (10, 20 * line), "The quick brown fox, 0123456789 (jumps)", (20, 20, 60), ImageFont.load_default(size)
        )
    return np.asarray(picture)


def line_art():
    """Black curves on white."""
    picture = Image.new("L", (400, 300), 255)
    draw = ImageDraw.Draw(picture)
    for radius in range(10, 150, 7):
        draw.ellipse((200 - radius, 150 - radius, 200 + radius, 150 + radius), outline=0, width=2)
    return np.asarray(picture)[:, :, None]


def gradient():
    """A smooth ramp in all directions."""
    rows, columns = np.mgrid[:300, :400]
    return np.stack([rows * 0.5, columns * 0.5, (rows + columns) * 0.3], axis=2).astype(np.uint8)


CLEAN = {
    **{name: lambda name=name: photo(name) for name in PHOTOS},
    "grass": lambda: data.grass()[:, :, None],
    "gravel": lambda: data.gravel()[:, :, None],
    "bricks": lambda: data.brick()[:, :, None],
    "text": page,
    "small text": lambda: page(9),
    "line art": line_art,
    "gradient": gradient,
    "one colour": lambda: np.full((200, 200, 3), 90, np.uint8),
    "checkerboard": lambda: (np.indices((200, 200)).sum(axis=0) % 2 * 255).astype(np.uint8)[:, :, None],
    "grey checkerboard": lambda: (np.indices((200, 200)).sum(axis=0) % 2 * 100 + 60).astype(np.uint8)[:, :, None],
    "pixel art": lambda: np.kron(photo("coffee", 10), np.ones((6, 6, 1), np.uint8)),
    "coloured squares": lambda: np.kron(
        np.random.default_rng(3).integers(60, 200, (10, 12, 3), np.uint8), np.ones((4, 4, 1), np.uint8)
    ),
    "soft": lambda: ndimage.gaussian_filter(photo("astronaut"), (1, 1, 0)),
    "tiny": lambda: photo("cat", 20),
    "one pixel": lambda: np.full((1, 1, 1), 7, np.uint8),
}


@pytest.mark.parametrize("name", CLEAN)
def test_a_clean_picture_is_clean(name):
    """Photographs, fine texture, text, drawings and flat colours have no noise and were no JPEG."""
    found = analyse_source(CLEAN[name]())
    assert found.is_clean
    assert found.jpeg_quality is None


@pytest.mark.parametrize("sigma", [4, 8, 15, 25])
@pytest.mark.parametrize("name", PHOTOS)
def test_white_noise_is_measured(name, sigma):
    """The deviation of white noise is found within a quarter."""
    found = analyse_source(noisy(photo(name), sigma))
    assert found.noise == pytest.approx(sigma, rel=0.25)
    assert not found.blotchy


@pytest.mark.parametrize("sigma", [8, 15])
@pytest.mark.parametrize("name", PHOTOS)
def test_blotchy_noise_is_measured(name, sigma):
    """The deviation of noise in patches of two pixels is found within a third, and told from white noise."""
    found = analyse_source(noisy(photo(name), sigma, side=2))
    assert found.noise == pytest.approx(sigma, rel=0.33)
    assert found.blotchy


@pytest.mark.parametrize("quality", [30, 50, 75, 85])
@pytest.mark.parametrize("name", PHOTOS)
def test_a_picture_that_was_a_jpeg_tells_its_quality(name, quality):
    """The quality is found in the pixels alone within three steps."""
    assert analyse_source(jpeg(photo(name), quality)).jpeg_quality == pytest.approx(quality, abs=3)


def test_the_quality_of_the_tables_counts():
    """A quality that the file tells is not measured."""
    assert analyse_source(photo("coffee"), 60) == SourceAnalysis(0.0, False, 60, analyse_source(photo("coffee")).blur)


def test_noise_does_not_depend_on_the_kind_of_samples():
    """A grey picture and one of 16 bits have the noise of the same picture in 8 bits."""
    grey = noisy(photo("astronaut")[:, :, :1], 8)
    found = analyse_source(grey).noise
    assert analyse_source(grey.astype(np.uint16) * 257).noise == pytest.approx(found, rel=0.01)
    assert analyse_source(np.repeat(grey, 3, axis=2)).noise == pytest.approx(found, rel=0.01)


def test_blur_is_measured():
    """The blur grows with that of the picture."""
    sharp = photo("astronaut")
    found = [analyse_source(ndimage.gaussian_filter(sharp, (width, width, 0))).blur for width in (0, 0.7, 1.2, 2)]
    assert found == sorted(found)
    assert found[-1] - found[0] > 0.5


def test_noise_in_fine_texture_is_found():
    """Strong noise is found where texture is everywhere, and the texture alone is not taken for it."""
    grass = np.repeat(data.grass()[:256, :256, None] // 2 + 60, 3, axis=2)
    assert not analyse_source(grass).noise
    assert analyse_source(noisy(grass, 15)).noise > 10


def test_white_noise_in_texture_is_not_coarse():
    """Texture adds to the coarse measure and does not make white noise blotchy."""
    found = analyse_source(noisy(np.repeat(data.grass()[:, :, None], 3, axis=2), 5))
    assert 5 < found.noise < 10
    assert not found.blotchy


def test_black_borders_hide_no_noise():
    """Blocks of pure black or white say nothing about the noise of the rest."""
    framed = np.pad(noisy(photo("coffee"), 10), ((60, 60), (60, 60), (0, 0)))
    assert analyse_source(framed).noise == pytest.approx(10, rel=0.25)


@pytest.mark.parametrize("quality", [None, 30, 75, 90])
def test_a_screenshot_is_a_graphic(quality):
    """Text on a plain ground is a flat graphic, also after JPEG."""
    picture = page() if quality is None else jpeg(page(), quality)
    assert analyse_source(picture, quality).graphic


@pytest.mark.parametrize("name", PHOTOS)
def test_a_photograph_is_no_graphic(name):
    """Photographs are none, whether with flat skies, with hard edges, or black and white."""
    assert not analyse_source(photo(name)).graphic
