"""What a format's row says that it can hold is what a written file holds."""

from __future__ import annotations

import numpy as np
import pytest
import pyvips
from PIL import Image, ImageCms

from fluxvision import imaging
from fluxvision.core.images import Metadata, RawImage
from fluxvision.imaging import FORMATS, Limits

WRITTEN = [row for row in FORMATS if row.writable]
SIDE = 64


@pytest.fixture
def rich(tmp_path):
    """A picture of 16 bits with every shade of alpha and thousands of colours."""
    noise = np.random.default_rng(5).integers(0, 65536, (SIDE, SIDE, 3), dtype=np.uint16)
    alpha = np.linspace(0, 65535, SIDE * SIDE).astype(np.uint16).reshape(SIDE, SIDE, 1)
    path = tmp_path / "rich.raw"
    np.concatenate([noise, alpha], axis=2).tofile(path)
    return RawImage(path, SIDE, SIDE, 4, 16)


@pytest.mark.parametrize("row", WRITTEN, ids=lambda row: row.name)
def test_a_row_tells_what_a_file_holds(row, rich, tmp_path):
    """Bits, colours, transparency, its shades, the profile and the metadata are kept exactly where the row says so."""
    exif = Image.Exif()
    exif[0x010E] = "a meadow"
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    said = Metadata(icc=icc, exif=exif.tobytes().removeprefix(b"Exif\x00\x00"), resolution=(12.0, 12.0))
    target = tmp_path / f"out.{row.extension}"
    imaging.encode(rich, target, row.name, quality=100, metadata=said, strip=False)
    file = imaging.probe(target, Limits())
    told = imaging.read_metadata(file)
    assert (file.bits > 8, file.alpha) == (row.bits > 8, row.alpha)
    assert ((told.icc == icc), (told.exif is not None)) == (row.profile, row.described)
    assert (told.resolution is not None) == row.described
    pixels = pyvips.Image.new_from_file(str(target)).numpy()
    if row.alpha:
        assert (len(np.unique(pixels[..., 3])) > 2) == row.shades
    colours = len(np.unique(pixels[..., :3].reshape(-1, 3), axis=0))
    assert colours <= (row.colours or SIDE * SIDE)
    assert (colours > 1000) == (row.colours is None)
    if row.bits == 12:
        assert not (pixels & 15).any()
