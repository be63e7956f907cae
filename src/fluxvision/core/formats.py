"""FORMATS, the table of picture formats: how each is recognised, read and written, and its limits.

The module is long because the table is: a row per format.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Format:
    """One picture format."""

    name: str
    label: str
    mime: str
    extension: str
    magic: Callable[[bytes], bool]
    """Returns whether a file with this beginning has the format."""
    loader: str | None
    """Operation of libvips; None: libvips has none, and `opener` reads it."""
    opener: str = ""
    """Module of `imaging` and its function that opens a file; see `imaging.fallback_reader`."""
    package: str = ""
    """What `pip install` names to bring the library that reads it, where it is not in every installation."""
    aliases: tuple[str, ...] = ()
    """Further extensions of file names."""
    upright: bool = False
    """Whether reading applies the orientation itself."""
    buffered: bool = False
    """Whether the loader gets the whole file in memory."""
    load: Mapping[str, Any] = field(default_factory=dict)
    """Options of the loader."""
    saver: str | None = None
    """Operation of libvips; None: the format is only read."""
    read_memory: int = 4
    """Measured bytes per 8-bit pixel that reading takes at most, besides the samples."""
    write_memory: tuple[int, int] = (0, 0)
    """Measured bytes per 8-bit pixel that writing takes at most, without and with alpha."""
    lossless: bool = False
    max_side: int = 0
    """Longest side that can be written, in pixels."""
    max_pixels: int = 0
    """Most pixels that are written; a limit for savers that hold the whole picture in memory."""
    bits: int = 8
    """Most bits per sample."""
    colours: int | None = None
    """Most different colours in a picture; None: no limit."""
    alpha: bool = True
    """Whether pixels can be transparent."""
    shades: bool = True
    """Whether pixels can be partly transparent."""
    profile: bool = True
    """Whether it can hold a colour profile."""
    animated: bool = False
    """Whether animations are read and written frame by frame."""
    described: bool = True
    """Whether it can hold metadata and a resolution."""
    quality: int | None = None
    """Default quality, 0 to 100; None: it has no quality setting."""
    least_quality: int = 1
    """The least quality that its saver takes."""
    save: Mapping[str, Any] = field(default_factory=dict)
    """Options of the saver, besides those that depend on the picture."""
    exif_resolution: bool = False
    """Whether the resolution is written in an EXIF block only, by the format or by its saver."""

    @property
    def writable(self) -> bool:
        """Return whether results can be written in this format."""
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


def _is_heic(head: bytes) -> bool:
    return any(brand[:3] in {b"hei", b"hev", b"mif", b"msf"} for brand in avif_brands(head))


def _is_tga(head: bytes) -> bool:
    """TGA has no signature: its header must be free of contradictions."""
    if len(head) < _TGA_HEADER or not (any(head[12:14]) and any(head[14:16])) or head[17] & 0xC0:
        return False
    colours, kind, depth = head[1], head[2], head[16]
    if kind in {1, 9}:
        return colours == 1 and depth == 8 and head[7] in {16, 24, 32}  # noqa: PLR2004
    depths = {2: {16, 24, 32}, 10: {16, 24, 32}, 3: {8, 16}, 11: {8, 16}}
    return colours == 0 and not any(head[3:8]) and depth in depths.get(kind, ())


_TGA_HEADER = 18
_SPACES = (b" ", b"\t", b"\r", b"\n", b"\v", b"\f", b"#")
_BMP_HEADERS = {12, 40, 52, 56, 64, 108, 124}


def _is_bmp(head: bytes) -> bool:
    return head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in _BMP_HEADERS


# "error" refuses a truncated or corrupt file; a warning (such as an unusual field) does not make a picture unusable.
_STRICT = {"fail_on": "error"}

# Times below are for a photograph of 4 megapixels on two cores, where the CPU engine takes about 1.6 s.
FORMATS: tuple[Format, ...] = (
    Format(
        name="png",
        label="PNG",
        mime="image/png",
        extension="png",
        aliases=("apng",),
        magic=_starts_with(b"\x89PNG\r\n\x1a\n"),
        loader="pngload",
        load=_STRICT,
        saver="pngsave",
        # "up" 0.20 s 3.50 MB; "all" 0.35 s 3.43 MB; "none" 0.20 s 5.02 MB; level 6 "all" 0.43 s 3.35 MB.
        save={"compression": 3, "filter": "up"},
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
        aliases=("jpe", "jfif"),
        magic=_starts_with(b"\xff\xd8\xff"),
        loader="jpegload",
        load=_STRICT,
        saver="jpegsave",
        exif_resolution=True,
        read_memory=8,  # for CMYK; 7 for three colours
        write_memory=(14, 14),
        max_side=65_500,  # the format allows 65,535, libjpeg only this
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
        # Effort 2: 0.20 s, effort 4: 0.52 s, at the same size.
        save={"effort": 2, "smart_subsample": True},
        exif_resolution=True,
        least_quality=0,
        animated=True,
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
        save={"keep_duplicate_frames": True},
        animated=True,
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
        buffered=True,  # from a file, libheif reads metadata byte by byte: one second per megabyte
        load=_STRICT,
        saver="heifsave",
        # Effort 2: 1.0 s 0.21 MB; 3: 1.1 s 0.18 MB; 4: 7.1 s 0.16 MB.
        save={"compression": "av1", "effort": 3},
        exif_resolution=True,
        upright=True,
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
        aliases=("tif",),
        magic=_starts_with(b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
        loader="tiffload",
        load=_STRICT,
        saver="tiffsave",
        save={"compression": "deflate", "predictor": "horizontal"},
        lossless=True,
        max_side=1_000_000,
        max_pixels=10_000_000_000,
        bits=16,
    ),
    Format(
        name="bmp",
        label="BMP",
        mime="image/bmp",
        extension="bmp",
        aliases=("dib",),
        magic=_is_bmp,
        loader=None,
        opener="pillow_reader.open_bmp",
        lossless=True,
    ),
    Format(
        name="heic",
        label="HEIC",
        mime="image/heic",
        extension="heic",
        aliases=("heif", "hif"),
        magic=_is_heic,
        loader=None,
        opener="heif_reader.open_heif",
        package="pi-heif",
        upright=True,
        read_memory=10,
    ),
    Format(
        name="jxl",
        label="JPEG XL",
        mime="image/jxl",
        extension="jxl",
        magic=_starts_with(b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n"),
        loader=None,
        opener="jxl_reader.open_jxl",
        package="fluxvision[jxl]",
        upright=True,
        read_memory=16,
    ),
    Format(
        name="jp2",
        label="JPEG 2000",
        mime="image/jp2",
        extension="jp2",
        aliases=("j2k", "j2c", "jpc", "jpf", "jpx"),
        magic=_starts_with(b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51"),
        loader=None,
        opener="pillow_reader.open_jpeg2000",
        read_memory=24,
    ),
    Format(
        name="pnm",
        label="PNM",
        mime="image/x-portable-anymap",
        extension="pnm",
        aliases=("pbm", "pgm", "ppm"),
        magic=lambda head: head[:1] == b"P" and head[1:2] in b"123456" and head[2:3] in _SPACES,
        loader=None,
        opener="pnm_reader.open_pnm",
        lossless=True,
    ),
    Format(
        name="tga",  # the last one, because it has no signature
        label="TGA",
        mime="image/x-tga",
        extension="tga",
        magic=_is_tga,
        loader=None,
        opener="pillow_reader.open_tga",
        read_memory=8,
        lossless=True,
    ),
)

HEAD = 512
"""Bytes of a file's beginning that `sniff_format` needs."""

ACCEPTED = " or ".join([", ".join(row.label for row in FORMATS[:-1]), FORMATS[-1].label])


def find_format(name: str) -> Format:
    """Return the format with this name; raises KeyError."""
    for row in FORMATS:
        if row.name == name:
            return row
    raise KeyError(name)


def sniff_format(head: bytes) -> Format | None:
    """Return the format of a file by its first bytes, regardless of its name or declared type; None if unknown."""
    return next((row for row in FORMATS if row.magic(head)), None)


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of input files: bytes of the file, pixels of a frame (width x height), and number of frames."""

    bytes: int = 100_000_000
    pixels: int = 100_000_000
    frames: int = 1000
