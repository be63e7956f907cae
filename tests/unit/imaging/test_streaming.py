"""A raw file is read as the picture that it is, in pieces, whatever its bands, bits and height."""

import gc
import os

import numpy as np
import pytest
import pyvips

from fluxvision.core.errors import InternalError
from fluxvision.core.types import RawImage
from fluxvision.imaging import open_raster
from fluxvision.imaging.raster import open_stream


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize(
    ("bands", "interpretations"),
    [
        (1, {8: "b-w", 16: "grey16"}),
        (2, {8: "b-w", 16: "grey16"}),
        (3, {8: "srgb", 16: "rgb16"}),
        (4, {8: "srgb", 16: "rgb16"}),
    ],
)
@pytest.mark.parametrize("height", [1, 16, 37])
def test_every_sample_comes_back(tmp_path, bands, interpretations, bits, height):
    """Samples are those of the file, with the right number of bands, type and colours, and nothing else is said."""
    samples = np.random.default_rng(0).integers(0, 2**bits, (height, 53, bands)).astype(f"u{bits // 8}")
    raster = RawImage(tmp_path / "picture.raw", 53, height, bands, bits)
    samples.tofile(raster.path)
    image = open_raster(raster)
    gc.collect()
    assert image.interpretation == interpretations[bits]
    assert image.hasalpha() == (bands in {2, 4})
    assert not {"bits-per-sample", "resolution-unit", "orientation"}.intersection(image.get_fields())
    assert np.array_equal(image.numpy().reshape(samples.shape), samples)


def test_a_file_that_is_gone_is_an_error_of_ours(tmp_path):
    """It raises `InternalError`, as everything does that goes wrong behind the port."""
    with pytest.raises(InternalError):
        open_raster(RawImage(tmp_path / "gone.raw", 5, 5, 3, 8))


@pytest.mark.parametrize("how", ["gone", "cut"])
def test_pixels_that_cannot_be_read_are_no_black_picture(how, tmp_path, capfd):
    """A raw file that goes away or ends early while it is read is an error, and nothing is printed."""
    path = tmp_path / "pixels.raw"
    np.full((300, 200, 3), 200, np.uint8).tofile(path)
    image = open_stream(RawImage(path, 200, 300, 3, 8))
    if how == "gone":
        path.unlink()
    else:
        os.truncate(path, 100_000)
    with pytest.raises(pyvips.Error):
        image.avg()
    assert capfd.readouterr() == ("", "")
