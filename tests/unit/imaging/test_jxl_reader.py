"""JPEG XL files are read where the extra is installed, with one sentence where it is not."""

import struct
import sys

import numpy as np
import pytest

from fluxvision.core.errors import InvalidRequest, PayloadTooLarge
from fluxvision.imaging import Limits, read_metadata
from fluxvision.imaging.jxl_reader import is_animated

BARE = b"\xff\x0a\x05A$\x08\x04\x01\x00"
"""The beginning of a codestream of 36x24 pixels."""


def test_without_the_extra(probed, monkeypatch):
    """The sentence names the command that installs the reader."""
    monkeypatch.setitem(sys.modules, "pyjpegxl", None)
    with pytest.raises(InvalidRequest) as caught:
        probed(BARE + bytes(30))
    wanted = "image: JPEG XL needs its reader on the server: pip install 'fluxvision[jxl]'."
    assert (caught.value.message, caught.value.param) == (wanted, "image")


def header(*fields):
    """Return a codestream that begins with these (value, bits)."""
    number = at = 0
    for value, bits in fields:
        number |= value << at
        at += bits
    return b"\xff\x0a" + number.to_bytes(at // 8 + 1, "little") + bytes(20)


SMALL = ((1, 1), (2, 5), (1, 3))  # in units of eight, with a ratio
FREE = ((0, 1), (1, 2), (500, 13), (0, 3), (3, 2), (70_000, 30))
PREVIEW = ((1, 1), (0, 1), (0, 2), (5, 6), (0, 3), (1, 2), (5, 8))


@pytest.mark.parametrize("size", [SMALL, FREE], ids=["small", "free"])
@pytest.mark.parametrize(
    ("fields", "animated"),
    [
        ([(1, 1)], False),
        ([(0, 1), (0, 1)], False),
        ([(0, 1), (1, 1), (5, 3), (0, 1), (0, 1), (0, 1)], False),
        ([(0, 1), (1, 1), (5, 3), (0, 1), (0, 1), (1, 1)], True),
        ([(0, 1), (1, 1), (0, 3), (1, 1), *FREE, *PREVIEW, (1, 1)], True),
        ([(0, 1), (1, 1), (0, 3), (1, 1), *SMALL, *PREVIEW, (0, 1)], False),
    ],
)
def test_animations_are_announced_in_the_header(size, fields, animated):
    """The flag is found after the optional sizes of display and preview."""
    assert is_animated(header(*size, *fields)) is animated


def test_an_animation_is_refused(probed):
    """Its library would return the last frame."""
    pytest.importorskip("pyjpegxl")
    with pytest.raises(InvalidRequest, match="an animated JPEG XL is not read; send one frame of it as PNG"):
        probed(header(*SMALL, (0, 1), (1, 1), (0, 3), (0, 1), (0, 1), (1, 1)))


@pytest.fixture
def jxl():
    """Encode an array, without loss unless told otherwise."""
    library = pytest.importorskip("pyjpegxl")
    return lambda pixels, **options: library.encode_from_numpy(
        np.ascontiguousarray(pixels), **{"lossless": True, **options}
    )


@pytest.mark.parametrize("bands", [1, 2, 3, 4])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_samples(bands, kind, jxl, probed, decoded):
    """Grey and colour, with and without alpha, of 8 and 16 bits come out as they went in."""
    samples = np.random.default_rng(bands).integers(1, np.iinfo(kind).max, (24, 36, bands), kind)
    source, found = probed(data := jxl(samples)), decoded(data)
    assert (source.width, source.height, source.bits) == (36, 24, 8 * samples.itemsize)
    together = found.color if found.alpha is None else np.dstack([found.color, found.alpha])
    assert (together == samples).all()


def test_metadata(jxl, gradient, probed):
    """Profile, and compressed EXIF and XMP come along; no profile is said to be damaged."""
    exif = b"MM\0*\0\0\0\x08\0\1\x01\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0"
    found = read_metadata(probed(jxl(gradient, exif=exif, xmp=b"<x:xmpmeta/>")))
    assert found.icc[36:40] == b"acsp"
    assert found.exif == b"Exif\0\0" + exif.replace(b"\0\6", b"\0\1")
    assert (found.xmp, found.warnings) == (b"<x:xmpmeta/>", ())


def test_pixels_are_limited_before_decoding(jxl, gradient, probed):
    """864 pixels are too many where 863 are allowed."""
    with pytest.raises(PayloadTooLarge, match="864 pixels"):
        probed(jxl(gradient), Limits(pixels=863))


def test_a_compressed_box_is_limited(jxl, gradient, decoded):
    """Metadata that inflates to an unreasonable size is left out."""
    brotli = pytest.importorskip("brotli")
    packed = b"xml " + brotli.compress(bytes(40_000_000))
    data = jxl(gradient, exif=b"MM\0*" + bytes(20)) + struct.pack(">I", 8 + len(packed)) + b"brob" + packed
    assert decoded(data).metadata.xmp is None


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_cut(share, jxl, gradient, decoded):
    """A file that ends early is damaged."""
    data = jxl(gradient, exif=b"MM\0*" + bytes(20))
    with pytest.raises(InvalidRequest, match=r"^image: this JPEG XL file is damaged or truncated\.$"):
        decoded(data[: int(len(data) * share)])
