"""Reads the structure of PNG, JPEG and WebP files without decoding: chunks, scans, quality, frames, zip bombs."""

from __future__ import annotations

import mmap
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import numpy as np

MAX_CHUNKS = 100_000
MAX_INFLATED = 16_000_000
_STEP = 1 << 12  # deflate expands by 1032 at most: one step gives up to 4 MB
_SIGNATURE = 8
_CHUNK_HEAD = 8  # length and type
_CHECKSUM = 4
_IHDR = 13
_IHDR_LENGTH = _IHDR.to_bytes(4, "big")
_COMPRESSED_TEXT = b"\x01"
_PLAIN = {0: (1, False), 2: (3, False), 4: (1, True), 6: (3, True)}
"""Colour types without a palette: number of colours, and whether there is alpha."""
_INTERPRETING = frozenset({b"PLTE", b"tRNS", b"eXIf", b"sBIT"})
"""Chunks that change the meaning of the samples or the orientation."""
PIXELS = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"sRGB", b"sBIT"})
"""Chunks that are needed to decode the pixels."""
_LONGEST = 2**31 - 1
_FEW = 1000
_SIMPLE = frozenset({b"IHDR", b"IDAT", b"sRGB", b"gAMA", b"cHRM", b"pHYs", b"tIME"})


class Bomb(Exception):
    """The file's text or profile chunks inflate to more memory than any picture needs."""


@dataclass(frozen=True, slots=True)
class PngHeader:
    """The header and chunks of a PNG file."""

    width: int
    """In pixels, as in IHDR."""
    height: int
    frames: int
    """Frames of an animation, 1 for a still picture."""
    complete: bool
    """Whether the file reaches IEND."""
    plain_8bit: bool
    """Whether samples are 8-bit grey or RGB, maybe with alpha, and no chunk changes their meaning or orientation."""
    colours: int
    """Number of colour channels, valid if `plain_8bit`."""
    alpha: bool
    """Valid if `plain_8bit`."""
    metadata_free: bool
    """Whether the file has only chunks that are needed to decode the pixels."""
    profiled: bool
    """Whether there is a colour profile, complete or not."""


def is_simple_png(content: bytes) -> bool:
    """Return whether a file in memory has plain samples, few chunks, nothing to inflate, and needs no libvips."""
    if content[12:16] != b"IHDR" or content[24] != 8 or content[25] not in _PLAIN:  # noqa: PLR2004
        return False
    at = _SIGNATURE
    for _ in range(_FEW):
        kind = content[at + 4 : at + _CHUNK_HEAD]
        if kind == b"IEND":
            return True
        if kind not in _SIMPLE:
            return False
        at += _CHUNK_HEAD + int.from_bytes(content[at : at + 4], "big") + _CHECKSUM
    return False


def inspect_png(path: Path, content: bytes | None = None) -> PngHeader | None:
    """Read the chunk headers; returns None when the file does not begin with a complete IHDR. Raises Bomb.

    `content` is the file if it is in memory. Compressed text and profiles are inflated piece by piece to count their
    size, at most `MAX_INFLATED` bytes in total.
    """
    with path.open("rb") if content is None else BytesIO(content) as file:
        head = file.read(_SIGNATURE + _CHUNK_HEAD + _IHDR)
        if len(head) < _SIGNATURE + _CHUNK_HEAD + _IHDR or head[12:16] != b"IHDR":
            return None
        checksum = int.from_bytes(file.read(_CHECKSUM), "big")
        frames, complete, kinds = _walk_png(file)
        metadata_free = complete and kinds <= PIXELS and not file.read(1)  # nothing after IEND
    width, height = int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")
    kind = _PLAIN.get(head[25], (0, False))
    sound = head[8:12] == _IHDR_LENGTH and zlib.crc32(head[12:]) == checksum
    sound = sound and 0 < width <= _LONGEST and 0 < height <= _LONGEST
    plain = sound and kind[0] > 0 and head[24] == 8 and head[26:28] == b"\0\0" and head[28] <= 1  # noqa: PLR2004
    plain = plain and b"IDAT" in kinds and not kinds & _INTERPRETING
    return PngHeader(width, height, frames, complete, plain, *kind, metadata_free, b"iCCP" in kinds)


def _walk_png(file: BinaryIO) -> tuple[int, bool, set[bytes]]:
    """Return the number of frames, whether the file is complete, and the kinds of its chunks."""
    frames, budget = 1, MAX_INFLATED
    kinds: set[bytes] = set()
    for _ in range(MAX_CHUNKS):
        head = file.read(_CHUNK_HEAD)
        if len(head) < _CHUNK_HEAD or head[4:] == b"IEND":
            if head[:4] != bytes(4):
                kinds.add(head[4:])  # IEND must be empty
            return frames, len(file.read(_CHECKSUM)) == _CHECKSUM, kinds
        length, kind = int.from_bytes(head[:4], "big"), head[4:]
        end = file.tell() + length + _CHECKSUM
        kinds.add(kind)
        if kind == b"acTL":
            frames = max(1, int.from_bytes(file.read(4), "big"))
        elif kind in {b"tEXt", b"eXIf"}:
            budget -= length
        elif kind in {b"zTXt", b"iTXt", b"iCCP"}:
            budget -= length + _inflated_size(_check_stream(kind, file.read(min(length, MAX_INFLATED))), budget)
        if budget < 0:
            raise Bomb
        file.seek(end)
    raise Bomb


def _check_stream(kind: bytes, content: bytes) -> bytes:
    """Return the zlib stream inside a zTXt, iCCP or iTXt chunk, empty when its text is not compressed."""
    _, _, rest = content.partition(b"\0")
    if kind != b"iTXt":
        return rest[1:]
    if rest[:1] != _COMPRESSED_TEXT:
        return b""
    _, _, rest = rest[2:].partition(b"\0")  # language
    return rest.partition(b"\0")[2]  # translated keyword


def _inflated_size(stream: bytes, budget: int) -> int:
    """Return the inflated size of a zlib stream in bytes; stops counting after `budget`."""
    inflater, total = zlib.decompressobj(), 0
    try:
        for at in range(0, len(stream), _STEP):
            total += len(inflater.decompress(stream[at : at + _STEP]))
            if inflater.eof or total > budget:
                break
    except zlib.error:  # libpng ignores such a chunk
        return total
    return total


# The luminance table of ITU-T T.81 annex K in zigzag order, which libjpeg scales by quality.
# fmt: off
_STANDARD = np.array([
    16, 11, 12, 14, 12, 10, 16, 14, 13, 14, 18, 17, 16, 19, 24, 40,
    26, 24, 22, 22, 24, 49, 35, 37, 29, 40, 58, 51, 61, 60, 57, 51,
    56, 55, 64, 72, 92, 78, 64, 68, 87, 69, 55, 56, 80, 109, 81, 87,
    95, 98, 103, 104, 103, 62, 77, 113, 121, 112, 100, 120, 92, 101, 103, 99,
])
# fmt: on
_MIDDLE = 50  # the quality that uses the table as it is
_PERCENT = np.array([5000 // quality if quality < _MIDDLE else 200 - 2 * quality for quality in range(1, 101)])
_TABLES = np.clip((_STANDARD * _PERCENT[:, None] + 50) // 100, 1, 255)

_MAX_SEGMENTS = 20_000
# In coded data, 0xFF is followed by 0 (stuffing), a restart marker or fill; any other byte starts a new segment.
_NEXT_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]", re.DOTALL)
_SOS, EOI, _DQT, _TEM, _RST0, _SOI = 0xDA, 0xD9, 0xDB, 0x01, 0xD0, 0xD8


@dataclass(frozen=True, slots=True)
class JpegReport:
    """Facts from the markers of a JPEG file."""

    scans: int
    """Number of scans of the first picture in the file."""
    quality: int | None
    """1 to 100 on libjpeg's scale, None when unknown."""


def inspect_jpeg(path: Path, *, max_scans: int) -> JpegReport:
    """Read a non-empty file's markers without decoding it; stops counting after `max_scans` + 1 scans."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return _walk_jpeg(data, max_scans)


def _walk_jpeg(data: mmap.mmap, max_scans: int) -> JpegReport:
    scans, quality = 0, None
    for marker, start, end in jpeg_segments(data, 2):
        if marker == EOI or scans > max_scans:
            break
        if marker == _DQT and quality is None:
            quality = estimate_jpeg_quality(data[start + 4 : end])
        scans += marker == _SOS
    return JpegReport(scans, quality)


def jpeg_segments(data: mmap.mmap | bytes, at: int) -> Iterator[tuple[int, int, int]]:
    """Yield each segment from an offset on: its marker, its start and its end.

    The coded data of a scan is between two segments. Stops after 20,000 segments.
    """
    for _ in range(_MAX_SEGMENTS):
        found = _NEXT_MARKER.search(data, at)
        if found is None:
            return
        marker, at = data[found.start() + 1], found.start() + 2
        if marker not in {EOI, _TEM, _SOI}:
            if at + 2 > len(data):
                return
            at += max(int.from_bytes(data[at : at + 2], "big"), 2)
        yield marker, found.start(), at


def estimate_jpeg_quality(tables: bytes) -> int | None:
    """Return the libjpeg quality whose luminance table is closest to table 0 of a DQT segment."""
    at = 0
    while at < len(tables):
        wide, number = tables[at] >> 4, tables[at] & 15
        size = 128 if wide else 64
        raw = tables[at + 1 : at + 1 + size]
        if wide > 1 or len(raw) < size:
            return None
        if number == 0:
            values = np.frombuffer(raw, ">u2" if wide else "u1").astype(np.int64)
            return int(np.argmin(np.abs(_TABLES - values).sum(axis=1))) + 1
        at += 1 + size
    return None


_STSZ_COUNT = 12
"""Offset of the number of samples from the name of its box: version and flags, and a size, come before it."""
_RIFF_CHUNK_HEAD = 8  # name and size
_RIFF_HEAD = 12
_MAX_OTHERS = 10_000


def count_avif_frames(path: Path) -> int:
    """Return the number of samples of an image sequence's first track, 1 for a still picture."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        at = data.find(b"stsz")
        return max(1, int.from_bytes(data[at + _STSZ_COUNT : at + _STSZ_COUNT + 4], "big")) if at >= 0 else 1


def count_webp_frames(path: Path, most: int) -> int:
    """Return the number of frames of an animation, 1 for a still picture; stops counting after `most` + 1.

    A file with more than 10,000 other chunks also counts as over `most`.
    """
    count = 0
    with path.open("rb") as file:
        file.seek(_RIFF_HEAD)
        for _ in range(most + _MAX_OTHERS):
            head = file.read(_RIFF_CHUNK_HEAD)
            if len(head) < _RIFF_CHUNK_HEAD or count > most:
                return max(count, 1)
            count += head[:4] == b"ANMF"
            size = int.from_bytes(head[4:], "little")
            file.seek(file.tell() + size + size % 2)
    return most + 1
