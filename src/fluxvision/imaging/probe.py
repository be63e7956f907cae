"""Reads a picture's header: recognises its format by content and checks it against the limits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from fluxvision.core.errors import InvalidRequest, PayloadTooLarge
from fluxvision.core.types import InputImage
from fluxvision.imaging import bmp, load, scan
from fluxvision.imaging.formats import ACCEPTED, HEAD, Format, Limits, avif_brands, find_format, sniff_format
from fluxvision.imaging.load import damaged_error, translate_read_errors

_QUICK, _TINY = 1_000_000, 64_000
_PNG = find_format("png")
_MAX_SCANS = 100
_SIDEWAYS = 5  # orientations from here on swap width and height
_REFUSED = (
    ("HEIC", lambda head: any(brand[:3] in {b"hei", b"hev", b"mif", b"msf"} for brand in avif_brands(head))),
    ("SVG", lambda head: b"<svg" in head.lower()),
    ("HTML", lambda head: head.lstrip().lower().startswith((b"<!doctype html", b"<html"))),
    ("PDF", lambda head: b"%PDF-" in head),
    ("PSD", lambda head: head.startswith(b"8BPS")),
    ("JPEG XL", lambda head: head.startswith((b"\xff\x0a", b"\0\0\0\x0cJXL "))),
    ("JPEG 2000", lambda head: head.startswith((b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51"))),
    ("ICO", lambda head: head.startswith(b"\0\0\1\0")),
    ("ZIP", lambda head: head.startswith(b"PK\3\4")),
)


def probe(path: Path, limits: Limits, param: str = "image", content: bytes | None = None) -> InputImage:
    """Read a file's header, never its pixels, and return its description.

    `content` is the file if it is in memory; it is written to `path` only when a reader needs a file.

    Raises InvalidRequest for a file that is not a supported picture, and PayloadTooLarge when it is over a limit; both
    name `param`.
    """
    size = path.stat().st_size if content is None else len(content)
    if size == 0:
        message = f"{param}: the file is empty."
        raise InvalidRequest(message, param=param)
    _check_limits("bytes", size, limits.bytes, param)
    head = _read_head(path) if content is None else content[:HEAD]
    row = sniff_format(head)
    if row is None:
        raise InvalidRequest(_unknown_format_message(head, param), param=param)
    if row.name == "png":
        header = _probe_png(path, content, row, limits, param)
        if header.plain:  # the same values as from libvips, in a tenth of the time
            return InputImage(
                path,
                row.name,
                header.width,
                header.height,
                header.colours,
                header.alpha,
                8,
                size,
                frames=header.frames,
                metadata_free=header.metadata_free,
                content=content,
            )
    if content is not None and not path.exists():
        path.write_bytes(content)
    if row.name == "bmp":
        return replace(_probe_bmp(path, row, size, limits, param), content=content)
    if row.name == "webp":
        _check_limits("frames", scan.count_webp_frames(path, limits.frames), limits.frames, param)
    return replace(_probe_vips(path, row, size, limits, param), content=content)


def is_quick_to_read(size: int, content: bytes | None) -> bool:
    """Return whether a file's headers are read faster than switching to a thread takes.

    Of a simple PNG file in memory only the chunk headers are read, regardless of its size; other files may take long.
    """
    if content is not None and size > _TINY and _PNG.magic(content[:HEAD]):
        return scan.is_simple_png(content)
    return size <= _QUICK


def _read_head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(HEAD)


def _check_limits(what: str, actual: int, limit: int, param: str) -> None:
    if actual > limit:
        message = f"{param}: the picture has {actual:,} {what}; this server accepts at most {limit:,}."
        raise PayloadTooLarge(message, param=param)


def _unknown_format_message(head: bytes, param: str) -> str:
    name = next((name for name, matches in _REFUSED if matches(head)), None)
    return (
        f"{param}: {f'{name} is' if name else 'this file is'} not a picture format that is read here; send {ACCEPTED}."
    )


def _probe_png(path: Path, content: bytes | None, row: Format, limits: Limits, param: str) -> scan.PngHeader:
    try:
        header = scan.inspect_png(path, content)
    except scan.Bomb as cause:
        message = f"{param}: this PNG file has text or profile chunks that inflate to an unreasonable size."
        raise InvalidRequest(message, param=param) from cause
    if header is not None:
        _check_limits("pixels", header.width * header.height, limits.pixels, param)
        _check_limits("frames", header.frames, limits.frames, param)
    if header is None or not header.whole:
        raise damaged_error(row, param)
    return header


def _probe_bmp(path: Path, row: Format, size: int, limits: Limits, param: str) -> InputImage:
    with translate_read_errors(row, param), bmp.open_header(path) as image:
        width, height, channels, alpha = *image.size, bmp.count_channels(image), image.mode == "RGBA"
    _check_limits("pixels", width * height, limits.pixels, param)
    return InputImage(path, row.name, width, height, channels, alpha, 8, size)


def _probe_vips(path: Path, row: Format, size: int, limits: Limits, param: str) -> InputImage:
    with translate_read_errors(row, param):
        image = load.open_lazily(path, row)
        frames = image.get("n-pages") if image.get_typeof("n-pages") else 1
        number = load.count_colour_bands(image)
    _check_limits("pixels", image.width * image.height, limits.pixels, param)
    _check_limits("frames", frames, limits.frames, param)
    if number is None:
        message = f"{param}: this {row.label} file has a colour model or sample type that is not read; save it as RGB."
        raise InvalidRequest(message, param=param)
    quality = None
    if row.name == "jpeg":
        report = scan.inspect_jpeg(path, max_scans=_MAX_SCANS)
        if report.scans > _MAX_SCANS:
            message = f"{param}: this JPEG file has more than {_MAX_SCANS} scans."
            raise InvalidRequest(message, param=param)
        quality = report.quality
    orientation = load.remaining_orientation(image, row)
    width, height = (image.width, image.height)[:: -1 if orientation >= _SIDEWAYS else 1]
    return InputImage(
        file=path,
        format=row.name,
        width=width,
        height=height,
        channels=1 if number == 1 else 3,
        alpha=image.bands > number,
        bits=load.working_bits(image),
        size=size,
        orientation=orientation,
        frames=frames,
        jpeg_quality=quality,
    )
