"""The comparison of a picture with its result."""

import numpy as np
import pytest
from PIL import Image

from fluxvision.cli import compare

GREEN = (0, 255, 0)


@pytest.fixture
def compared(line, picture):
    """Enlarge a picture with flags and return the comparison's samples."""

    def run(*arguments):
        path = picture("photo.png", colour=(10, 200, 30))
        assert line("upscale", "photo.png", "--compare", *arguments) == 0
        [beside] = path.parent.glob("*-compare.png")
        with Image.open(beside) as image:
            return np.asarray(image)

    return run


def test_both_sides_have_the_size_of_the_result(compared):
    """Left the plain enlargement, right the result, a thin white line between."""
    both = compared()
    assert both.shape == (16, 24 + compare.DIVIDER + 24, 3)
    assert (both[:, 24 : 24 + compare.DIVIDER] == 255).all()
    assert np.abs(both[:, :24].astype(int) - both[:, -24:]).max() <= 1


@pytest.mark.parametrize("fit", ["cover", "pad", "stretch", "contain"])
def test_the_left_side_is_fitted_as_the_result_is(compared, fit):
    """Whatever the fit, both sides have the delivered size."""
    both = compared("--size", "20x20", "--fit", fit)
    height = 13 if fit == "contain" else 20
    assert both.shape == (height, 2 * 20 + compare.DIVIDER, 3)


@pytest.mark.parametrize("form", ["jpeg", "webp", "gif", "avif", "tiff"])
def test_every_result_format_is_compared(compared, form):
    """The result is read back whatever its format."""
    assert compared("--format", form).shape == (16, 48 + compare.DIVIDER, 3)


def test_a_large_result_is_cut_to_its_centre(compared, monkeypatch):
    """Beyond the limit the centre is shown, pixel for pixel."""
    monkeypatch.setattr(compare, "LARGEST", 100)
    assert compared().shape == (8, 2 * 12 + compare.DIVIDER, 3)


def test_a_turned_picture_is_compared_upright(line, folder):
    """EXIF orientation and alpha are applied to the left side too."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (12, 8), GREEN).save(folder / "turned.jpg", exif=exif)
    assert line("upscale", "turned.jpg", "--compare", "--size", "16x24") == 0
    with Image.open("turned@16x24-compare.png") as image:
        assert image.size == (2 * 16 + compare.DIVIDER, 24)
