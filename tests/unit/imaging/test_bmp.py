"""BMP files of the usual uncompressed kinds are read, and nothing outside the file."""

import struct

import numpy as np
import pytest
from PIL import Image

from fluxvision.core.errors import InvalidRequest
from fluxvision.imaging import fallback_reader, find_format


def build(
    rows, *, width, height, depth, compression=0, masks=(), palette=b"", header=40, colours=0, offset=None, planes=1
):
    """Return a BMP file with the given rows."""
    info = struct.pack("<IiiHHIIiiII", header, width, height, planes, depth, compression, 0, 3937, 3937, colours, 0)
    info = info.ljust(header, b"\0") if header > 40 else info
    extra = b"".join(struct.pack("<I", mask) for mask in masks)
    if header > 40 and masks:
        info, extra = info[:40] + extra + info[40 + len(extra) :], b""
    start = 14 + len(info) + len(extra) + len(palette) if offset is None else offset
    body = info + extra + palette + rows
    return struct.pack("<2sIHHI", b"BM", 14 + len(body), 0, 0, start) + body


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB"])
@pytest.mark.parametrize("width", [1, 5, 8, 31, 33])
def test_as_pillow_reads_them(mode, width, saved, decoded):
    """Every depth that Pillow writes has the values that Pillow reads, at any row padding."""
    noise = np.random.default_rng(width).integers(0, 256, (7, width, 3), np.uint8)
    image = Image.fromarray(noise).convert(mode)
    pixels = decoded(saved(image, "BMP"))
    wanted = np.asarray(image.convert("RGB"))
    assert (np.broadcast_to(pixels.color, wanted.shape) == wanted).all()


def test_top_down(decoded):
    """A negative height means that the first row is the top one."""
    rows = bytes([1, 1, 1, 0, 2, 2, 2, 0])
    down, up = (build(rows, width=1, height=height, depth=24) for height in (-2, 2))
    assert decoded(down).color[:, 0, 0].tolist() == [1, 2]
    assert decoded(up).color[:, 0, 0].tolist() == [2, 1]


def test_four_bits(decoded):
    """Two pixels share a byte, the high half first."""
    palette = bytes([0, 0, 255, 0, 0, 255, 0, 0])
    data = build(b"\x10\0\0\0", width=2, height=1, depth=4, palette=palette, colours=2)
    assert decoded(data).color.tolist() == [[[0, 255, 0], [255, 0, 0]]]


def test_sixteen_bits(decoded):
    """Without masks 16 bits are 5-5-5, with masks what they say; both span 0 to 255."""
    plain = build(b"\xff\x7f\0\0", width=1, height=1, depth=16)
    masked = build(b"\xff\xff\0\0", width=1, height=1, depth=16, compression=3, masks=(0xF800, 0x07E0, 0x001F))
    half = build(b"\x00\x80\0\0", width=1, height=1, depth=16, compression=3, masks=(0xF800, 0x07E0, 0x001F))
    assert decoded(plain).color.tolist() == decoded(masked).color.tolist() == [[[255, 255, 255]]]
    assert decoded(half).color.tolist() == [[[131, 0, 0]]]  # rounded down


@pytest.mark.parametrize("header", [56, 108, 124])
def test_alpha_masks(header, decoded):
    """A fourth mask is alpha."""
    masks = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    data = build(b"\x01\x02\x03\x80", width=1, height=1, depth=32, compression=3, masks=masks, header=header)
    pixels = decoded(data)
    assert pixels.color.tolist() == [[[3, 2, 1]]]
    assert pixels.alpha.tolist() == [[128]]


def test_core_header(decoded):
    """The oldest header, with three bytes per palette entry, is read."""
    info = struct.pack("<IHHHH", 12, 1, 1, 1, 1) + bytes([0, 0, 0, 255, 0, 255])
    data = struct.pack("<2sIHHI", b"BM", 0, 0, 0, 14 + len(info)) + info + b"\x80\0\0\0"
    assert decoded(data).color.tolist() == [[[255, 0, 255]]]


def test_resolution(store):
    """Pixels per metre become pixels per millimetre."""
    image = fallback_reader.read(store(build(bytes(4), width=1, height=1, depth=24)), find_format("bmp"))
    assert (image.xres, image.yres) == pytest.approx((3.937, 3.937))


@pytest.mark.parametrize("depth", [1, 8])
@pytest.mark.parametrize("width", [1, 9, 33])
def test_black_and_white(depth, width, decoded):
    """A palette of black and white may have one bit per pixel or eight."""
    bits = np.random.default_rng(width).integers(0, 2, (3, width), np.uint8)
    rows = np.packbits(bits, axis=1) if depth == 1 else bits
    rows = np.pad(rows, ((0, 0), (0, -rows.shape[1] % 4)))
    palette = bytes([0, 0, 0, 0, 255, 255, 255, 0])
    data = build(rows[::-1].tobytes(), width=width, height=3, depth=depth, palette=palette, colours=2)
    assert (decoded(data).color[..., 0] == bits * 255).all()


def test_more_pixels_than_pillow_likes(store, monkeypatch):
    """The server's limit counts, not Pillow's, which warns first and then refuses."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1)
    assert fallback_reader.read(store(build(bytes(12), width=1, height=3, depth=24)), find_format("bmp")).height == 3


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"compression": 1, "depth": 8}, "run-length"),
        ({"compression": 2, "depth": 4}, "run-length"),
        ({"compression": 4}, "of this kind"),
        ({"depth": 2}, "of this kind"),
        ({"depth": 4, "colours": 2, "palette": bytes([0, 0, 0, 0, 255, 255, 255, 0])}, "of this kind"),
        ({"depth": 1, "colours": 3, "palette": bytes([0, 0, 0, 0, 1, 1, 1, 0, 2, 2, 2, 0])}, "of this kind"),
        ({"depth": 32, "compression": 3, "masks": (0xF0F, 0xF0, 0xF000)}, "of this kind"),
        ({"depth": 16, "compression": 3, "masks": (0xF80000, 0xF0, 0xF)}, "of this kind"),
        ({"depth": 8, "colours": 70_000}, "of this kind"),
        ({"depth": 8, "colours": 2000, "palette": bytes([1, 2, 3, 4]) * 2000}, "damaged"),
        ({"width": 0}, "damaged"),
        ({"height": 0}, "damaged"),
        ({"width": -5}, "damaged"),
        ({"height": 9}, "truncated"),
        ({"offset": 4_000_000_000}, "truncated"),
        ({"depth": 16, "compression": 3}, "truncated"),
    ],
)
def test_what_is_refused(changes, word, decoded):
    """Compressed, impossible and cut files are refused with one sentence."""
    with pytest.raises(InvalidRequest, match=word):
        decoded(build(b"\x07\x07\x07\0", **{"width": 1, "height": 1, "depth": 24, **changes}))
