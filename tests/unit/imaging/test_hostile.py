"""Whatever bytes arrive, the answer is a picture or one sentence for the caller."""

import contextlib
import random

import numpy as np
import pytest
from PIL import Image, ImageCms

from fakes.heic import heic
from fluxvision.core.errors import ClientError, InvalidRequest, PayloadTooLarge
from fluxvision.imaging import Limits, decode, probe, read_metadata
from fluxvision.imaging.strip import keep_parts

CASES = {
    "png": ("PNG", {}),
    "png-palette": ("PNG", {}),
    "jpeg": ("JPEG", {}),
    "jpeg-progressive": ("JPEG", {"progressive": True}),
    "webp": ("WEBP", {}),
    "webp-lossless": ("WEBP", {"lossless": True}),
    "gif": ("GIF", {}),
    "avif": ("AVIF", {}),
    "tiff": ("TIFF", {}),
    "tiff-deflate": ("TIFF", {"compression": "tiff_adobe_deflate"}),
    "tiff-lzw": ("TIFF", {"compression": "tiff_lzw"}),
    "tiff-jpeg": ("TIFF", {"compression": "jpeg"}),
    "bmp": ("BMP", {}),
    "heic": ("HEIC", {}),
    "jxl": ("JXL", {}),
    "jp2": ("JPEG2000", {}),
    "j2k": ("JPEG2000", {"no_jp2": True}),
    "tga-rle": ("TGA", {"compression": "tga_rle"}),
    "pnm": ("PPM", {}),
}


@pytest.fixture
def sample(gradient, saved):
    """Return a good file of a case, with some noise in the picture."""

    def make(name):
        form, options = CASES[name]
        if form == "HEIC":
            pytest.importorskip("_pi_heif")
            return heic("plain")
        noisy = gradient ^ np.random.default_rng(1).integers(0, 16, gradient.shape, np.uint8)
        if form == "JXL":
            return pytest.importorskip("pyjpegxl").encode_from_numpy(noisy, exif=b"MM\0*" + bytes(40))
        image = Image.fromarray(noisy)
        return saved(image.quantize(17) if name == "png-palette" else image, form, **options)

    return make


@pytest.fixture
def read(tmp_path):
    """Probe and decode bytes."""
    path = tmp_path / "upload"

    def run(data):
        path.write_bytes(data)
        return decode(probe(path, Limits(pixels=4_000_000)))

    return run


@pytest.mark.parametrize("name", CASES)
def test_truncated(name, sample, read):
    """A file cut anywhere is refused."""
    data = sample(name)
    for percent in range(0, 100, 3):
        with pytest.raises(InvalidRequest):
            read(data[: len(data) * percent // 100])


@pytest.mark.parametrize("name", CASES)
def test_flipped_bits(name, sample, read):
    """Flipped bits give a picture or a client's error, nothing else."""
    data, chance = sample(name), random.Random(name)  # noqa: S311
    for _ in range(120):
        broken = bytearray(data)
        for _ in range(chance.choice((1, 1, 2, 8, 30))):
            at = chance.randrange(len(data) if chance.random() < 0.5 else min(160, len(data)))
            broken[at] ^= 1 << chance.randrange(8)
        try:
            pixels = read(bytes(broken))
        except ClientError as error:
            assert isinstance(error, InvalidRequest | PayloadTooLarge)  # noqa: PT017
            assert "upload" not in error.message  # noqa: PT017
            assert "\n" not in error.message  # noqa: PT017
        else:
            assert pixels.color.shape[2] in {1, 3}


SAYING = ("png", "jpeg", "webp", "avif", "tiff")


@pytest.mark.parametrize("name", SAYING)
def test_bytes_changed_in_what_a_file_says_of_itself(name, gradient, saved, tmp_path):
    """Any bytes there give metadata or a client's error, and a sound file is read afterwards."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a meadow"
    options = {} if name in {"png", "tiff"} else {"xmp": b'<x:xmpmeta xmlns:x="adobe:ns:meta/"/>'}
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    sound = saved(gradient, name.upper(), exif=exif, icc_profile=icc, **options)
    path, chance = tmp_path / "upload", random.Random(name)  # noqa: S311
    for _ in range(60):
        broken = bytearray(sound)
        for _ in range(chance.choice((1, 1, 2, 8))):
            broken[chance.randrange(min(len(sound), 1500))] = chance.choice((0, 0xDF, 0xFF, chance.randrange(256)))
        path.write_bytes(broken)
        with contextlib.suppress(InvalidRequest, PayloadTooLarge):
            source = probe(path, Limits(pixels=4_000_000))
            keep_parts(source)
            read_metadata(source)
            decode(source)
    path.write_bytes(sound)
    assert read_metadata(probe(path, Limits())).icc == icc


@pytest.mark.parametrize("name", CASES)
def test_signature_and_rubbish(name, sample, read):
    """A true beginning with rubbish behind it is refused, or read as a picture of its size."""
    data, chance = sample(name), random.Random(name)  # noqa: S311
    for kept in (12, 20, 40, 80):
        with contextlib.suppress(InvalidRequest, PayloadTooLarge):  # to WebP, any bits are a picture
            assert read(data[:kept] + chance.randbytes(500)).color.shape == (24, 36, 3)


@pytest.mark.parametrize("name", CASES)
def test_attached_files_are_ignored(name, sample, read):
    """What hangs behind the end of a picture is not looked at."""
    data = sample(name)
    tail = b"<html><script>alert(1)</script></html>" * 10 + b"PK\3\4" + bytes(100)
    assert (read(data + tail).color == read(data).color).all()
