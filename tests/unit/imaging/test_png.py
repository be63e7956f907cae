"""Chunks of a PNG are read without trusting them."""

import resource
import struct
import zlib

import pytest

from fluxvision.errors import InvalidRequest
from fluxvision.imaging import png


def chunk(kind, data):
    """Return a chunk with its checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


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
    assert png.Header(36, 24, 7, whole=True) == png.inspect(store(data))


@pytest.mark.parametrize("data", [b"\x89PNG\r\n\x1a\n", b"\x89PNG\r\n\x1a\n" + bytes(40)])
def test_no_header(data, store):
    """Without a whole IHDR there is nothing to tell."""
    assert png.inspect(store(data)) is None


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
    with pytest.raises(png.Bomb):
        png.inspect(store(build(*[chunk(b"teSt", b"")] * png.MAX_CHUNKS)))


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
