"""Reads a picture's header: recognises its format by content and checks it against the limits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from fluxvision.core.errors import InvalidRequest, PayloadTooLarge
from fluxvision.core.formats import ACCEPTED, HEAD, Format, Limits, avif_brands, find_format, sniff_format
from fluxvision.core.images import InputImage
from fluxvision.imaging import load, scan, tiff
from fluxvision.imaging.load import damaged_error, translate_read_errors

_QUICK, _TINY = 1_000_000, 64_000
_PNG = find_format("png")
_MAX_SCANS = 100
_SIDEWAYS = 5  # orientations from here on swap width and height
_VIDEO_BRANDS = {b"isom", b"iso2", b"iso4", b"iso5", b"iso6", b"mp41", b"mp42", b"avc1", b"qt  ", b"M4V ", b"dash"}
_VIDEO = (b"\x1a\x45\xdf\xa3", b"\0\0\1\xba", b"\0\0\1\xb3", b"OggS", b"FLV\1")
_RAW = (b"FUJIFILMCCD-RAW", b"IIRO", b"IIRS", b"MMOR", b"IIU\0", b"\0MRM", b"FOVb")
_HIGH_RANGE = (b"v/1\x01", b"#?RADIANCE", b"#?RGBE")
_RAW_ADVICE = "develop it with the camera's program or a raw converter, and send a TIFF or JPEG"
_REFUSED: tuple[tuple[str, str, Callable[[bytes], bool]], ...] = (
    ("a camera's raw file", _RAW_ADVICE, lambda head: head.startswith(_RAW) or b"crx " in avif_brands(head)),
    (
        "a video",
        "send one frame of it as PNG",
        lambda head: (
            head.startswith(_VIDEO)
            or (head[:4] == b"RIFF" and head[8:12] == b"AVI ")
            or any(brand in _VIDEO_BRANDS or brand[:2] == b"3g" for brand in avif_brands(head))
        ),
    ),
    ("an SVG drawing, which has no pixels", "export it as PNG", lambda head: b"<svg" in head.lower()),
    (
        "an HTML page",
        "send the picture itself",
        lambda head: head.lstrip().lower().startswith((b"<!doctype html", b"<html")),
    ),
    ("a PDF document", "export the page as PNG", lambda head: b"%PDF-" in head),
    ("a PostScript document", "export it as PNG", lambda head: head.startswith(b"%!PS")),
    ("a Photoshop document (PSD)", "export it as PNG or TIFF", lambda head: head.startswith(b"8BPS")),
    (
        "a Windows icon or cursor (ICO)",
        "save the size that you need as PNG",
        lambda head: head.startswith((b"\0\0\1\0", b"\0\0\2\0")) and any(head[4:6]),
    ),
    ("an OpenEXR or Radiance picture", "convert it to a TIFF", lambda head: head.startswith(_HIGH_RANGE)),
    ("a ZIP archive", "send one picture out of it", lambda head: head.startswith(b"PK\3\4")),
)
"""Files that are often sent by mistake: what they are, and what to do."""


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
        message = f"{param}: {_describe_refused(head)}"
        raise InvalidRequest(message, param=param)
    if row.name == "png":
        header = _probe_png(path, content, row, limits, param)
        if header.plain_8bit:  # the same values as from libvips, in a tenth of the time
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
    if row.name == "tiff" and tiff.is_camera_raw(path):
        message = f"{param}: this is a camera's raw file; {_RAW_ADVICE}."
        raise InvalidRequest(message, param=param)
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


def _describe_refused(head: bytes) -> str:
    """Return a sentence for a file that is not a supported picture."""
    for name, advice, matches in _REFUSED:
        if matches(head):
            return f"this is {name}; {advice}."
    return f"this file is not a picture format that is read here; send {ACCEPTED}."


def _probe_png(path: Path, content: bytes | None, row: Format, limits: Limits, param: str) -> scan.PngHeader:
    try:
        header = scan.inspect_png(path, content)
    except scan.Bomb as cause:
        message = f"{param}: this PNG file has text or profile chunks that inflate to an unreasonable size."
        raise InvalidRequest(message, param=param) from cause
    if header is not None:
        _check_limits("pixels", header.width * header.height, limits.pixels, param)
        _check_limits("frames", header.frames, limits.frames, param)
    if header is None or not header.complete:
        raise damaged_error(row, param)
    return header


def _probe_vips(path: Path, row: Format, size: int, limits: Limits, param: str) -> InputImage:
    with translate_read_errors(row, param):
        image = load.open_header(path, row)
        frames = image.get("n-pages") if image.get_typeof("n-pages") else 1
        if row.name == "avif" and b"avis" in avif_brands(_read_head(path)):
            frames = max(frames, scan.count_avif_frames(path))
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
