"""HEIC files are read as the pictures that they show, once turned, and never crash the process."""

import numpy as np
import pytest
from PIL import Image

from fakes.heic import heic
from fluxvision.core.errors import InvalidRequest, PayloadTooLarge
from fluxvision.core.formats import sniff_format
from fluxvision.imaging import Limits, read_metadata

pytest.importorskip("_pi_heif", reason="pi-heif is not installed")
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def near(found, wanted):
    """Return whether two pictures have the same size and nearly the same colours."""
    return found.shape == wanted.shape and np.abs(found.astype(int) - wanted).max() <= 12


def test_colours(decoded, gradient):
    """The file shows the gradient that it was made of."""
    assert near(decoded(heic("plain")).color, gradient_of(gradient))


def gradient_of(gradient):
    """Return the gradient of tests/pictures/make.py."""
    down, across = np.mgrid[0:24, 0:36]
    return np.dstack([gradient[..., :2], (across + down).astype(np.uint8)])


def test_grey(probed, decoded):
    """A monochrome file has one channel."""
    assert probed(heic("grey")).channels == 1
    assert decoded(heic("grey")).color.shape == (24, 36, 1)


def test_alpha(decoded):
    """Alpha comes from its auxiliary picture."""
    assert (decoded(heic("alpha")).alpha == 128).all()


def test_ten_bits_stay_sixteen(probed, decoded):
    """White with 10 bits is white with 16, 65,535."""
    assert probed(heic("white-10")).bits == 16
    assert (decoded(heic("white-10")).color == 65535).all()


@pytest.mark.parametrize("orientation", TURNS)
def test_turned_once(orientation, probed, decoded, gradient):
    """The rotation and mirroring of the file are applied, and the EXIF orientation is not applied again."""
    data = heic(f"turned-{orientation}")
    wanted = np.asarray(Image.fromarray(gradient_of(gradient)).transpose(TURNS[orientation]))
    source = probed(data)
    assert (source.height, source.width) == wanted.shape[:2]
    assert near(decoded(data).color, wanted)
    assert b"\x01\x12\x00\x03\x00\x00\x00\x01\x00\x01" in read_metadata(source).exif


def test_metadata(probed):
    """Profile, EXIF and XMP come along."""
    found = read_metadata(probed(heic("described")))
    assert found.icc[36:40] == b"acsp"
    assert b"a meadow" in found.exif
    assert found.xmp.startswith(b"<x:xmpmeta")
    assert found.warnings == ()


def test_tiles(decoded):
    """A grid of coded tiles, as telephones store it, is one picture."""
    down, across = np.mgrid[0:120, 0:200]
    wanted = np.stack([across * 7 * 36 // 200, down * 10 * 24 // 120, across + down], axis=2)
    found = decoded(heic("tiles")).color.astype(int)
    assert found.shape == wanted.shape
    assert np.abs(found - wanted)[..., :2].mean() < 4


def test_burst(probed):
    """All top-level pictures count as frames, and are held against the limit."""
    assert probed(heic("burst")).frames == 2
    with pytest.raises(PayloadTooLarge, match="2 frames; this server accepts at most 1"):
        probed(heic("burst"), Limits(frames=1))


def test_pixels_are_limited_before_decoding(probed):
    """864 pixels are too many where 863 are allowed."""
    with pytest.raises(PayloadTooLarge, match="864 pixels"):
        probed(heic("plain"), Limits(pixels=863))


def test_an_item_type_that_is_no_utf8(decoded):
    """The metadata item is left out; pi-heif's own module ends the process with a segmentation fault."""
    data = heic("described")
    assert b"application/rdf+xml" in data
    assert decoded(data.replace(b"application/rdf+xml", b"\xe3pplication/rdf+xml")).metadata.xmp is None


def test_a_larger_coded_picture(decoded):
    """A header that states a smaller size than the coded picture has is refused."""
    data = heic("plain")
    at = data.index(b"ispe") + 8
    with pytest.raises(InvalidRequest, match="damaged"):
        decoded(data[:at] + (18).to_bytes(4, "big") + (12).to_bytes(4, "big") + data[at + 8 :])


def test_another_codec(decoded, gradient, saved):
    """A picture in a codec that is not there is named as such."""
    with pytest.raises(InvalidRequest, match="HEIC of this kind is not read; save it as PNG"):
        decoded(saved(gradient, "AVIF").replace(b"avif", b"mif1"))


@pytest.mark.parametrize("brand", [b"heic", b"heix", b"mif1"])
def test_brands(brand):
    """Each brand of still pictures in HEVC is HEIC."""
    assert sniff_format(b"\0\0\0\x18ftyp" + brand + b"\0\0\0\0mif1" + brand).name == "heic"
