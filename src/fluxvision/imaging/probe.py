"""Reads a picture's header, recognises its format by content and holds it against the limits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from fluxvision.core.errors import InvalidRequest, PayloadTooLarge
from fluxvision.core.types import Source
from fluxvision.imaging import bmp, load, scan
from fluxvision.imaging.formats import ACCEPTED, HEAD, Format, Limits, brands, find, sniff
from fluxvision.imaging.load import damaged, readable

_QUICK, _TINY = 1_000_000, 64_000
_PNG = find("png")
_MAX_SCANS = 100
_SIDEWAYS = 5  # orientations from here on exchange width and height
_REFUSED = (
    ("HEIC", lambda head: any(brand[:3] in {b"hei", b"hev", b"mif", b"msf"} for brand in brands(head))),
    ("SVG", lambda head: b"<svg" in head.lower()),
    ("HTML", lambda head: head.lstrip().lower().startswith((b"<!doctype html", b"<html"))),
    ("PDF", lambda head: b"%PDF-" in head),
    ("PSD", lambda head: head.startswith(b"8BPS")),
    ("JPEG XL", lambda head: head.startswith((b"\xff\x0a", b"\0\0\0\x0cJXL "))),
    ("JPEG 2000", lambda head: head.startswith((b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51"))),
    ("ICO", lambda head: head.startswith(b"\0\0\1\0")),
    ("ZIP", lambda head: head.startswith(b"PK\3\4")),
)


def probe(path: Path, limits: Limits, param: str = "image", content: bytes | None = None) -> Source:
    """Read a file's header, never its pixels, and return what it is.

    `content` is the file where it is in memory; it is written to `path` where something else than this has to read it.

    Raises InvalidRequest where it is no picture that is read here, and PayloadTooLarge where it is over a limit; both
    name `param`.
    """
    size = path.stat().st_size if content is None else len(content)
    if size == 0:
        message = f"{param}: the file is empty."
        raise InvalidRequest(message, param=param)
    _within("bytes", size, limits.bytes, param)
    head = _head(path) if content is None else content[:HEAD]
    row = sniff(head)
    if row is None:
        raise InvalidRequest(_unknown(head, param), param=param)
    if row.name == "png":
        header = _png(path, content, row, limits, param)
        if header.plain:  # what libvips would tell, in a tenth of its time
            return Source(
                path,
                row.name,
                header.width,
                header.height,
                header.colours,
                header.alpha,
                8,
                size,
                frames=header.frames,
                bare=header.bare,
                content=content,
            )
    if content is not None and not path.exists():
        path.write_bytes(content)
    if row.name == "bmp":
        return replace(_bmp(path, row, size, limits, param), content=content)
    if row.name == "webp":
        _within("frames", scan.webp_frames(path, limits.frames), limits.frames, param)
    return replace(_vips(path, row, size, limits, param), content=content)


def quick(size: int, content: bytes | None) -> bool:
    """Whether a file's headers are read in less time than the way to a thread and back takes.

    Of a simple PNG file in memory nothing but the heads of its chunks is looked at, however large it is; one that is
    not simple may take long, however small.
    """
    if content is not None and size > _TINY and _PNG.magic(content[:HEAD]):
        return scan.simple(content)
    return size <= _QUICK


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(HEAD)


def _within(what: str, actual: int, limit: int, param: str) -> None:
    if actual > limit:
        message = f"{param}: the picture has {actual:,} {what}; this server accepts at most {limit:,}."
        raise PayloadTooLarge(message, param=param)


def _unknown(head: bytes, param: str) -> str:
    name = next((name for name, matches in _REFUSED if matches(head)), None)
    return (
        f"{param}: {f'{name} is' if name else 'this file is'} not a picture format that is read here; send {ACCEPTED}."
    )


def _png(path: Path, content: bytes | None, row: Format, limits: Limits, param: str) -> scan.PngHeader:
    try:
        header = scan.inspect_png(path, content)
    except scan.Bomb as cause:
        message = f"{param}: this PNG file has text or profile chunks that inflate to an unreasonable size."
        raise InvalidRequest(message, param=param) from cause
    if header is not None:
        _within("pixels", header.width * header.height, limits.pixels, param)
        _within("frames", header.frames, limits.frames, param)
    if header is None or not header.whole:
        raise damaged(row, param)
    return header


def _bmp(path: Path, row: Format, size: int, limits: Limits, param: str) -> Source:
    with readable(row, param):
        header = bmp.header(path)
        _within("pixels", header.width * header.height, limits.pixels, param)
        channels = 1 if bmp.grey(path, header) else 3
    return Source(path, row.name, header.width, header.height, channels, header.alpha, 8, size)


def _vips(path: Path, row: Format, size: int, limits: Limits, param: str) -> Source:
    with readable(row, param):
        image = load.opened(path, row)
        frames = image.get("n-pages") if image.get_typeof("n-pages") else 1
        number = load.colours(image)
    _within("pixels", image.width * image.height, limits.pixels, param)
    _within("frames", frames, limits.frames, param)
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
    orientation = load.oriented(image, row)
    width, height = (image.width, image.height)[:: -1 if orientation >= _SIDEWAYS else 1]
    return Source(
        file=path,
        format=row.name,
        width=width,
        height=height,
        channels=1 if number == 1 else 3,
        alpha=image.bands > number,
        bits=load.bits(image),
        size=size,
        orientation=orientation,
        frames=frames,
        jpeg_quality=quality,
    )
