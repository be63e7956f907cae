"""Noise is told from texture by statistics of blocks, in luma and in chroma, also after JPEG."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from skimage import data

from fluxvision.core.errors import Unavailable
from fluxvision.engine import noise_estimate
from fluxvision.engine.backends import weight_files
from fluxvision.engine.noise_estimate import estimate_noise
from fluxvision.engine.source_analysis import analysed_windows

TEXTURES = {"grass": data.grass, "gravel": data.gravel, "bricks": data.brick}


def photo(read, reduction=1):
    """A picture in colour, reduced."""
    return np.asarray(Image.fromarray(read()).convert("RGB").reduce(reduction))


def camera(picture, white, blotches, quality):
    """A picture with noise of luma and of colour, patches of two pixels of it, and JPEG."""
    random = np.random.default_rng(1)
    rows, columns = picture.shape[:2]
    noisy = picture + random.normal(0, white, (rows, columns, 1)) * 0.8
    noisy += random.normal(0, white, picture.shape) * 0.6
    patches = random.normal(0, blotches, (-(-rows // 2), -(-columns // 2), 3))
    noisy += np.kron(patches, np.ones((2, 2, 1)))[:rows, :columns]
    buffer = BytesIO()
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


@pytest.mark.parametrize(
    ("read", "reduction", "damage", "luma"),
    [
        (data.grass, 1, (10, 10, 80), 11.2),
        (data.gravel, 1, (10, 10, 80), 11.2),
        (data.hubble_deep_field, 2, (15, 0, 90), 13.4),
        (data.chelsea, 2, (8, 0, 92), 7.2),
    ],
)
def test_noise_of_a_camera_is_found_in_texture(read, reduction, damage, luma):
    """The deviation in luma is found within three tenths, where texture is everywhere or most is dark."""
    noise, _ = estimate_noise(analysed_windows(camera(photo(read, reduction), *damage)), damage[-1])
    assert noise == pytest.approx(luma, rel=0.3)


@pytest.mark.parametrize("name", TEXTURES)
def test_sharp_texture_is_not_strong_noise(name):
    """Grass, gravel and bricks at half the size are not taken for noise that would have them smoothed away."""
    assert estimate_noise(analysed_windows(photo(TEXTURES[name], 2)), None)[0] < 6


@pytest.mark.parametrize("side", [1, 15])
def test_a_tiny_picture_has_no_noise(side):
    """Too few pixels say nothing."""
    samples = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    assert estimate_noise(analysed_windows(samples), None) == (0.0, False)


def test_missing_weights_are_an_error_of_ours(tmp_path, monkeypatch):
    """Without its file the engine is unavailable."""
    monkeypatch.setattr(weight_files, "OWN", tmp_path)
    noise_estimate._load_weights.cache_clear()
    with pytest.raises(Unavailable, match="network noise"):
        estimate_noise(analysed_windows(photo(data.coffee, 4)), None)
