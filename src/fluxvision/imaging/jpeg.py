"""Walks the markers of a JPEG file: how many scans it has and at which quality it was saved."""

from __future__ import annotations

import mmap
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

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
# In coded data 0xFF is followed by 0 (stuffing), a restart marker or fill; anything else starts a new segment.
_NEXT_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]", re.DOTALL)
_SOS, EOI, _DQT, _TEM, _RST0, _SOI = 0xDA, 0xD9, 0xDB, 0x01, 0xD0, 0xD8


@dataclass(frozen=True, slots=True)
class Report:
    """`scans` counts the scans of the first picture in the file; `quality` is 1 to 100 on libjpeg's scale."""

    scans: int
    quality: int | None


def inspect(path: Path, *, max_scans: int) -> Report:
    """Read a non-empty file's markers without decoding it; stops counting after `max_scans` + 1 scans."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return _walk(data, max_scans)


def _walk(data: mmap.mmap, max_scans: int) -> Report:
    scans, quality = 0, None
    for marker, start, end in segments(data, 2):
        if marker == EOI or scans > max_scans:
            break
        if marker == _DQT and quality is None:
            quality = estimate(data[start + 4 : end])
        scans += marker == _SOS
    return Report(scans, quality)


def segments(data: mmap.mmap | bytes, at: int) -> Iterator[tuple[int, int, int]]:
    """Yield each segment from an offset on: its marker, where it begins and where it ends.

    Between two of them lies what a scan holds. At most 20,000 are looked at.
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


def estimate(tables: bytes) -> int | None:
    """Return the libjpeg quality whose luminance table is nearest to table 0 in a DQT segment's content."""
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
