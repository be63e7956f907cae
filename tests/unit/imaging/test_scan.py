"""Chunks of a PNG are read without trusting them."""

import random
import resource
import struct
import zlib
from functools import cache

import numpy as np
import pytest
from PIL import Image

from fluxvision.core import formats
from fluxvision.core.errors import InvalidRequest, PayloadTooLarge
from fluxvision.imaging import Limits, scan
from fluxvision.imaging.probe import _probe_vips, probe

EXIF = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"


def chunk(kind, data):
    """Return a chunk with its checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@cache
def zeros(size):
    """Return `size` zero bytes, deflated."""
    packer = zlib.compressobj(9)
    return b"".join([packer.compress(bytes(1_000_000)) for _ in range(size // 1_000_000)]) + packer.flush()


@pytest.fixture
def build(gradient, saved):
    """Put chunks between the header and the pixels of a good picture."""
    data = saved(gradient, "PNG")
    return lambda *chunks: data[:33] + b"".join(chunks) + data[33:]


def test_header(build, store):
    """Width, height and frames are those of IHDR and acTL."""
    data = build(chunk(b"acTL", struct.pack(">II", 7, 0)))
    assert scan.PngHeader(
        36, 24, 7, complete=True, plain_8bit=True, colours=3, alpha=False, metadata_free=False, profiled=False
    ) == scan.inspect_png(store(data))


MODES = {"L": True, "LA": True, "RGB": True, "RGBA": True, "P": False, "1": False, "I;16": False}


@pytest.mark.parametrize("chunks", [(), (b"tRNS",), (b"eXIf",), (b"sBIT",), (b"pHYs",), (b"tEXt",)])
@pytest.mark.parametrize("mode", MODES)
def test_a_plain_picture_is_told_as_libvips_tells_it(mode, chunks, saved, store):
    """What is read without libvips is what libvips reads; whatever is not plain is left to it."""
    data = saved(Image.new(mode, (5, 3)), "PNG")
    contents = {b"tRNS": bytes(6 if mode == "RGB" else 2), b"eXIf": EXIF, b"sBIT": b"\x05\x05\x05", b"pHYs": bytes(9)}
    if b"tRNS" in chunks and mode in {"LA", "RGBA", "P", "1"}:
        pytest.skip("a palette has one of its own, alpha excludes it")
    data = data[:33] + b"".join(chunk(kind, contents.get(kind, b"a\0b")) for kind in chunks) + data[33:]
    path = store(data)
    header = scan.inspect_png(path)
    assert header.plain_8bit == (MODES[mode] and not set(chunks) & {b"tRNS", b"eXIf", b"sBIT"})
    assert probe(path, Limits()) == _probe_vips(path, formats.find_format("png"), len(data), Limits(), "image")


@pytest.mark.parametrize("length", [0, 14, 2**31])
def test_a_header_of_another_length_is_not_plain(length, gradient, saved, store):
    """What libvips refuses must not look well without it: the file would be paid for and then be of no use."""
    data = bytearray(saved(gradient, "PNG"))
    data[8:12] = struct.pack(">I", length)
    assert not scan.inspect_png(store(bytes(data))).plain_8bit


@pytest.mark.parametrize("at", [16, 24, 25, 26, 27, 28, 30])
def test_a_damaged_header_is_not_plain(at, gradient, saved, store):
    """One wrong byte in IHDR is left to libvips to judge."""
    data = bytearray(saved(gradient, "PNG"))
    data[at] ^= 0x41
    assert not scan.inspect_png(store(bytes(data))).plain_8bit


@pytest.mark.parametrize("data", [b"\x89PNG\r\n\x1a\n", b"\x89PNG\r\n\x1a\n" + bytes(40)])
def test_no_header(data, store):
    """Without a whole IHDR there is nothing to tell."""
    assert scan.inspect_png(store(data)) is None


@pytest.mark.parametrize(
    ("kind", "before"), [(b"iTXt", b"key\0\1\0en\0key\0"), (b"zTXt", b"key\0\0"), (b"iCCP", b"icc\0\0")]
)
def test_bombs(kind, before, build, probed):
    """A chunk that inflates to 300 MB is refused without taking that memory."""
    data = build(chunk(kind, before + zeros(300_000_000)))
    start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InvalidRequest, match="inflate to an unreasonable size"):
        probed(data)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start < 60_000  # kilobytes


def test_many_small_bombs(build, probed):
    """The budget is for the file, not for a chunk."""
    text = chunk(b"zTXt", b"key\0\0" + zeros(1_000_000))
    with pytest.raises(InvalidRequest, match="inflate"):
        probed(build(*[text] * 20))


def test_too_many_chunks(build, store):
    """A file of nothing but chunks is refused."""
    with pytest.raises(scan.Bomb):
        scan.inspect_png(store(build(*[chunk(b"teSt", b"")] * scan.MAX_CHUNKS)))


@pytest.mark.parametrize(
    "extra",
    [
        chunk(b"tEXt", b"Comment\0hello"),
        chunk(b"zTXt", b"key\0\0" + zlib.compress(b"hello")),
        chunk(b"iTXt", b"key\0\0\0en\0key\0" + "grün".encode()),
        chunk(b"zTXt", b"key\0\0not a stream"),
        chunk(b"zTXt", b""),
        chunk(b"iTXt", b"key"),
    ],
)
def test_ordinary_chunks(extra, build, probed):
    """Text, even broken text, does not make a picture unusable."""
    assert probed(build(extra)).width == 36


@pytest.mark.parametrize("quality", [1, 5, 10, 25, 49, 50, 51, 75, 83, 92, 95, 99, 100])
def test_quality(quality, gradient, saved, store):
    """A quality that libjpeg used is found again."""
    assert quality == scan.inspect_jpeg(store(saved(gradient, "JPEG", quality=quality)), max_scans=9).quality


def test_nearest_quality():
    """A table that is no libjpeg table gets the nearest quality."""
    assert scan.estimate_jpeg_quality(b"\0" + bytes([2] * 64)) in range(90, 100)


@pytest.mark.parametrize("table", [b"", b"\0", b"\0" + bytes(63), b"\x20" + bytes(64), b"\x01" + bytes(64)])
def test_no_quality(table):
    """A cut, unknown or missing luminance table has none."""
    assert scan.estimate_jpeg_quality(table) is None


def test_wide_tables():
    """Tables of 16-bit numbers are read too."""
    plain = scan._TABLES[79]
    assert scan.estimate_jpeg_quality(b"\x10" + plain.astype(">u2").tobytes()) == 80


def test_second_table_of_a_segment():
    """Table 0 is found behind another table."""
    assert scan.estimate_jpeg_quality(b"\x01" + bytes(64) + b"\0" + scan._TABLES[59].astype("u1").tobytes()) == 60


def test_scans(gradient, saved, store):
    """A baseline file has one scan, a progressive one several."""
    assert scan.inspect_jpeg(store(saved(gradient, "JPEG")), max_scans=99).scans == 1
    assert scan.inspect_jpeg(store(saved(gradient, "JPEG", progressive=True)), max_scans=99).scans == 10


def progressive(scans, saved, gradient):
    """Return a progressive JPEG whose last scan is repeated."""
    data = saved(gradient, "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * scans + data[-2:]


def test_scan_bomb(gradient, saved, probed):
    """A thousand scans are refused."""
    with pytest.raises(InvalidRequest, match=r"more than 100 scans"):
        probed(progressive(1000, saved, gradient))
    assert probed(progressive(5, saved, gradient)).width == 36


def test_end_marker_inside_a_segment(gradient, saved, store):
    """A comment that holds an end marker does not hide the scans behind it."""
    data = progressive(200, saved, gradient)
    comment = b"\xff\xfe\x00\x06\xff\xd9\xff\xd9"
    last = data.index(b"\xff\xda")
    assert scan.inspect_jpeg(store(data[:last] + comment + data[last:]), max_scans=100).scans > 100


def test_scans_of_an_attached_picture_do_not_count(gradient, saved, store):
    """Only the first picture's scans count."""
    data = saved(gradient, "JPEG")
    assert scan.inspect_jpeg(store(data * 5), max_scans=99).scans == 1


def test_garbage(store):
    """Whatever follows the signature, the walk ends."""
    for seed in range(50):
        report = scan.inspect_jpeg(store(b"\xff\xd8\xff" + random.Random(seed).randbytes(3000)), max_scans=100)  # noqa: S311
        assert report.scans <= 101


@pytest.fixture
def animation(gradient, saved):
    """Return an animated file of five frames."""
    pages = [Image.fromarray(np.roll(gradient, step, axis=1)) for step in range(5)]
    return saved(pages[0], "WEBP", save_all=True, append_images=pages[1:])


def test_frames(animation, gradient, saved, store):
    """A still picture has one, an animation as many as it has; the count ends past the limit."""
    assert scan.count_webp_frames(store(saved(gradient, "WEBP")), 100) == 1
    assert scan.count_webp_frames(store(animation), 100) == 5
    assert scan.count_webp_frames(store(animation), 2) == 3
    assert scan.count_webp_frames(store(animation[:30]), 100) == 1


@pytest.mark.timeout(20)
def test_many_frames_are_refused_at_once(animation, probed):
    """Two hundred thousand frames are refused before they are looked at."""
    last = animation[animation.rindex(b"ANMF") :]
    body = b"WEBP" + animation[12:] + last * 200_000
    with pytest.raises(PayloadTooLarge, match="frames; this server accepts at most 1,000"):
        probed(b"RIFF" + struct.pack("<I", len(body)) + body)


@pytest.mark.timeout(20)
def test_many_empty_chunks_are_refused_at_once(animation, probed):
    """A million chunks of nothing are refused the same way."""
    body = b"WEBP" + animation[12:44] + (b"junk" + bytes(4)) * 1_000_000
    with pytest.raises(PayloadTooLarge, match="frames"):
        probed(b"RIFF" + struct.pack("<I", len(body)) + body)
