"""The picture formats as rows: how each is recognised, read and written, and what it can hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Format:
    """One format. `loader` and `saver` are libvips operations; a loader None is read by this package itself.

    `read_memory` is how many bytes for each pixel of 8 bits reading takes at most beside the samples, `write_memory`
    how many writing takes, without alpha and with it; both as measured. `max_side` is the longest side that can be
    written; `max_pixels` bounds the savers that need the whole picture in memory; `bits` the most bits of a sample,
    `colours` the most different ones in a picture (None: no limit), `alpha` whether a pixel can be transparent and
    `shades` whether it can be so by half, `profile` whether a colour profile can be kept and `described` whether
    metadata and a resolution can, `quality` the default quality (None: the format has none). A format without `saver`
    is only read.
    """

    name: str
    label: str
    mime: str
    extension: str
    magic: Callable[[bytes], bool]
    loader: str | None
    buffered: bool = False
    """Whether the loader takes the whole file from memory."""
    load: Mapping[str, Any] = field(default_factory=dict)
    saver: str | None = None
    read_memory: int = 4
    write_memory: tuple[int, int] = (0, 0)
    lossless: bool = False
    max_side: int = 0
    max_pixels: int = 0
    bits: int = 8
    colours: int | None = None
    alpha: bool = True
    shades: bool = True
    profile: bool = True
    described: bool = True
    quality: int | None = None

    @property
    def writable(self) -> bool:
        """Whether a result can be delivered in this format."""
        return self.saver is not None


def _starts_with(*signatures: bytes) -> Callable[[bytes], bool]:
    return lambda head: head.startswith(signatures)


def _is_webp(head: bytes) -> bool:
    return head[:4] == b"RIFF" and head[8:12] == b"WEBP"


def avif_brands(head: bytes) -> tuple[bytes, ...]:
    """Return the brands of an ISO media file, the major one first; empty for any other file."""
    if head[4:8] != b"ftyp":
        return ()
    end = min(int.from_bytes(head[:4], "big"), len(head))
    return (head[8:12], *(head[at : at + 4] for at in range(16, end - 3, 4)))


def _is_avif(head: bytes) -> bool:
    return any(brand in {b"avif", b"avis"} for brand in avif_brands(head))


_BMP_HEADERS = {12, 40, 52, 56, 64, 108, 124}


def _is_bmp(head: bytes) -> bool:
    return head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in _BMP_HEADERS


# "error" refuses a file that ends early or is corrupt; a warning (an odd field) does not make a picture unusable.
_STRICT = {"fail_on": "error"}

FORMATS: tuple[Format, ...] = (
    Format(
        name="png",
        label="PNG",
        mime="image/png",
        extension="png",
        magic=_starts_with(b"\x89PNG\r\n\x1a\n"),
        loader="pngload",
        load=_STRICT,
        saver="pngsave",
        lossless=True,
        max_side=1_000_000,
        max_pixels=10_000_000_000,
        bits=16,
    ),
    Format(
        name="jpeg",
        label="JPEG",
        mime="image/jpeg",
        extension="jpg",
        magic=_starts_with(b"\xff\xd8\xff"),
        loader="jpegload",
        load=_STRICT,
        saver="jpegsave",
        read_memory=8,  # of CMYK; of three colours 7
        write_memory=(14, 14),
        max_side=65_500,  # the format says 65,535, libjpeg stops here
        max_pixels=65_500 * 65_500,
        alpha=False,
        quality=92,
    ),
    Format(
        name="webp",
        label="WebP",
        mime="image/webp",
        extension="webp",
        magic=_is_webp,
        loader="webpload",
        load=_STRICT,
        saver="webpsave",
        read_memory=12,
        write_memory=(17, 38),
        max_side=16_383,
        max_pixels=134_217_728,
        quality=90,
    ),
    Format(
        name="gif",
        label="GIF",
        mime="image/gif",
        extension="gif",
        magic=_starts_with(b"GIF87a", b"GIF89a"),
        loader="gifload",
        load=_STRICT,
        saver="gifsave",
        read_memory=6,
        write_memory=(15, 15),
        max_side=65_535,
        max_pixels=100_000_000,
        colours=256,
        shades=False,
        profile=False,
        described=False,
    ),
    Format(
        name="avif",
        label="AVIF",
        mime="image/avif",
        extension="avif",
        magic=_is_avif,
        loader="heifload_buffer",
        buffered=True,  # of a file libheif reads metadata byte by byte, a second per megabyte
        load=_STRICT,
        saver="heifsave",
        read_memory=14,
        write_memory=(23, 40),
        max_side=16_384,
        max_pixels=67_108_864,
        bits=12,
        quality=75,
    ),
    Format(
        name="tiff",
        label="TIFF",
        mime="image/tiff",
        extension="tiff",
        magic=_starts_with(b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
        loader="tiffload",
        load=_STRICT,
        saver="tiffsave",
        lossless=True,
        max_side=1_000_000,
        max_pixels=10_000_000_000,
        bits=16,
    ),
    Format(name="bmp", label="BMP", mime="image/bmp", extension="bmp", magic=_is_bmp, loader=None, lossless=True),
)

HEAD = 512
"""Bytes of a file's beginning that `sniff` wants to see."""

ACCEPTED = "PNG, JPEG, WebP, GIF, AVIF, TIFF or BMP"


def find_format(name: str) -> Format:
    """Return the row of this name; raises KeyError."""
    for row in FORMATS:
        if row.name == name:
            return row
    raise KeyError(name)


def sniff_format(head: bytes) -> Format | None:
    """Return the format that a file with this beginning has, whatever its name or declared type; None if unknown."""
    return next((row for row in FORMATS if row.magic(head)), None)


@dataclass(frozen=True, slots=True)
class Limits:
    """The most bytes of a file, pixels of a frame (width x height) and frames that are accepted."""

    bytes: int = 100_000_000
    pixels: int = 100_000_000
    frames: int = 1000
