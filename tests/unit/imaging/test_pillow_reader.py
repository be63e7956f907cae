"""TGA and JPEG 2000 files are read with the samples that Pillow finds; BMP has a file of its own."""

import io

import numpy as np
import pytest
from PIL import Image, ImageCms

from fluxvision.core.errors import InvalidRequest, PayloadTooLarge
from fluxvision.imaging import Limits, read_metadata

ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
EXIF = b"MM\0*\0\0\0\x08\0\1\x01\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0"


def image(mode):
    """Return a picture of a mode in which nothing is fully transparent."""
    noise = np.random.default_rng(1).integers(1, 256, (24, 36, 4), np.uint8)
    return Image.fromarray(noise).convert(mode)


def box(kind, content):
    """Return a box of a JPEG 2000 file."""
    return (8 + len(content)).to_bytes(4, "big") + kind + content


def described(data, *, icc=b"", extra=b""):
    """Return a JPEG 2000 file with a profile in its header, and more boxes at its end."""
    at = data.index(b"jp2h") - 4
    size = int.from_bytes(data[at : at + 4], "big")
    header = data[at + 8 : at + size]
    colour = header.index(b"colr") - 4
    if icc:
        header = header[:colour] + box(b"colr", b"\2\0\0" + icc)
    return data[:at] + box(b"jp2h", header) + data[at + size :] + extra


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGB", "RGBA"])
@pytest.mark.parametrize("options", [{}, {"compression": "tga_rle"}], ids=["plain", "run lengths"])
def test_tga(mode, options, saved, probed, decoded):
    """Every kind that Pillow writes has the values that Pillow reads."""
    data = saved(image(mode), "TGA", **options)
    whole = np.asarray(Image.open(io.BytesIO(data)).convert("RGBA"))
    found = decoded(data)
    assert probed(data).format == "tga"
    assert (np.broadcast_to(found.color, (24, 36, 3)) == whole[..., :3]).all()
    alpha = np.uint8(255) if found.alpha is None else found.alpha
    assert (alpha == whole[..., 3]).all()


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
@pytest.mark.parametrize("bare", [False, True], ids=["boxes", "codestream"])
def test_jpeg_2000(mode, bare, saved, probed, decoded):
    """Every kind that Pillow writes has the values that Pillow reads, with and without boxes."""
    data = saved(image(mode), "JPEG2000", no_jp2=bare)
    found, whole = decoded(data), np.asarray(image(mode).convert("RGBA"))
    assert probed(data).format == "jp2"
    assert (np.broadcast_to(found.color, (24, 36, 3)) == whole[..., :3]).all()
    assert found.alpha is None if mode in {"L", "RGB"} else (found.alpha == whole[..., 3]).all()


def test_deep_grey(probed, decoded, saved):
    """Grey with 16 bits keeps them."""
    samples = np.random.default_rng(2).integers(0, 65536, (24, 36), np.uint16)
    data = saved(samples, "JPEG2000")
    assert probed(data).bits == 16
    assert (decoded(data).color[..., 0] == samples).all()


def test_metadata_of_jpeg_2000(probed, saved):
    """Profile, EXIF and XMP come from their boxes, and the EXIF orientation is applied."""
    xmp = bytes.fromhex("be7acfcb97a942e89c71999491e3afac") + b"<x:xmpmeta/>"
    extra = box(b"uuid", b"JpgTiffExif->JP2" + EXIF) + box(b"uuid", xmp)
    source = probed(described(saved(image("RGB"), "JPEG2000"), icc=ICC, extra=extra))
    found = read_metadata(source)
    assert (source.orientation, source.width, source.height) == (6, 24, 36)
    assert found.icc == ICC
    assert found.exif == b"Exif\0\0" + EXIF.replace(b"\0\6", b"\0\1")
    assert found.xmp == b"<x:xmpmeta/>"


@pytest.mark.parametrize(("bare", "at", "value"), [(False, 8, 100_000), (False, 12, 100_000), (True, 40, 16_000 << 16)])
def test_a_codestream_of_another_size(bare, at, value, saved, decoded):
    """A codestream that is larger than its header says, or has more components, is refused before it is decoded."""
    data = bytearray(saved(image("RGB"), "JPEG2000", no_jp2=bare))
    start = data.index(b"\xff\x4f\xff\x51") + at
    data[start : start + 4] = value.to_bytes(4, "big")
    with pytest.raises(InvalidRequest, match="damaged"):
        decoded(bytes(data))


@pytest.mark.parametrize("form", ["TGA", "JPEG2000"])
def test_pixels_are_limited_before_decoding(form, saved, probed):
    """864 pixels are too many where 863 are allowed."""
    with pytest.raises(PayloadTooLarge, match="864 pixels"):
        probed(saved(image("RGB"), form), Limits(pixels=863))


def test_no_signature_is_no_licence(probed):
    """Bytes that contradict a TGA header are no picture."""
    for data in (bytes(100), b"\0\0\2" + bytes(9) + b"\1\0\1\0\x18\xc0", b"\0\1\2" + bytes(9) + b"\1\0\1\0\x18\0"):
        with pytest.raises(InvalidRequest, match="not a picture format that is read here"):
            probed(data)
