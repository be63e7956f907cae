"""A finished file becomes raw pixels again."""

import numpy as np
import pytest
from PIL import Image

from fluxvision.core.errors import InvalidRequest
from fluxvision.core.types import Metadata, RawImage
from fluxvision.imaging import FORMATS, encode, write_raster

WRITABLE = [row for row in FORMATS if row.writable]


def pixels(found):
    kind = np.uint8 if found.bits == 8 else np.uint16
    return np.fromfile(found.path, kind).reshape(found.height, found.width, found.bands)


@pytest.mark.parametrize("row", WRITABLE, ids=lambda row: row.name)
@pytest.mark.parametrize("bands", [1, 2, 3, 4])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_there_and_back(row, bands, kind, tmp_path):
    """Every written format is read back in its size; a lossless one sample by sample, a lossy one nearly."""
    ramp = np.linspace(0, np.iinfo(kind).max, 48).astype(kind)
    samples = np.repeat(np.repeat(ramp[None, :, None], 32, axis=0), bands, axis=2)
    if bands in {2, 4}:
        samples[..., -1] = np.iinfo(kind).max
    samples.tofile(tmp_path / "in.raw")
    picture = RawImage(tmp_path / "in.raw", 48, 32, bands, samples.itemsize * 8)
    encode(picture, tmp_path / "file", row.name, quality=None, metadata=Metadata(), strip=False)
    found = write_raster(tmp_path / "file", tmp_path / "out.raw")
    assert (found.path, found.width, found.height) == (tmp_path / "out.raw", 48, 32)
    out = pixels(found)
    if row.lossless:
        assert found.bits == picture.bits
        assert (out == samples).all()
    else:
        scale = np.iinfo(out.dtype).max / np.iinfo(kind).max
        assert np.abs(out[..., 0] - samples[..., 0] * scale).mean() <= np.iinfo(out.dtype).max * 0.02


def test_upright(gradient, saved, store, tmp_path):
    """A file that a viewer turns is turned."""
    made = Image.Exif()
    made[0x0112] = 6
    found = write_raster(store(saved(gradient, "PNG", exif=made)), tmp_path / "out.raw")
    assert (pixels(found) == np.rot90(gradient, -1)).all()


def test_damaged(gradient, saved, store, tmp_path):
    """A file that ends early is refused, and no raw file stays."""
    with pytest.raises(InvalidRequest, match="damaged or truncated"):
        write_raster(store(saved(gradient, "PNG")[:-40]), tmp_path / "out.raw")
    assert not (tmp_path / "out.raw").exists()
