"""Removes metadata, profile and thumbnails from PNG, JPEG and WebP files without decoding them."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator
from typing import Literal, TypeAlias

from fluxvision.core.images import InputImage
from fluxvision.imaging import scan

Part: TypeAlias = slice | bytes
"""A byte range of the file to copy, or new bytes to write."""
Data: TypeAlias = mmap.mmap | bytes

_SIGNATURE, _RIFF_HEAD, _CHUNK_HEAD, _CHECKSUM = 8, 12, 8, 4
_WEBP = {b"VP8 ", b"VP8L", b"ALPH"}
_SAYS = 0x20 | 0x08 | 0x04  # the flags of a WebP file for a profile, EXIF and XMP
_APPLICATIONS, _COMMENT = range(0xE0, 0xF0), 0xFE
_JFIF, _ADOBE = 0xE0, 0xEE
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_COMPONENTS = 9  # bytes of a frame's segment before the number of its colours
_RGB = b"\3"


def keep_parts(source: InputImage) -> list[Part] | None:
    """Return the parts of a PNG, JPEG or WebP file without profile, metadata, thumbnail and bytes after its end.

    It is one slice of the whole file when there is nothing to remove, and None when the file is truncated, is not a
    plain RGB or grey picture, or has another format.
    """
    walk = _WALKS.get(source.format)
    if walk is None:
        return None
    if source.content is not None:
        return walk(source.content)
    with source.path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return walk(data)


def is_metadata_free(source: InputImage) -> bool:
    """Return whether a PNG, JPEG or WebP file has nothing to remove; False for other formats."""
    return source.metadata_free or keep_parts(source) == [slice(0, source.size)]


def _png_parts(data: Data) -> list[Part] | None:
    kept: list[Part] = [slice(0, _SIGNATURE)]
    for kind, start, end in _riff_chunks(data, _SIGNATURE, "big", lambda size: size + _CHECKSUM):
        if kind in scan.PIXELS:
            _merge_parts(kept, start, end)
        if kind == b"IEND":
            if end - start != _CHUNK_HEAD + _CHECKSUM:
                return None
            _merge_parts(kept, start, end)
            return kept
    return None


def _webp_parts(data: Data) -> list[Part] | None:
    kept: list[Part] = []
    end = int.from_bytes(data[4:8], "little") + _CHUNK_HEAD
    if end > len(data):
        return None
    whole, picture = end == len(data), False
    for kind, start, stop in _riff_chunks(data, _RIFF_HEAD, "little", lambda size: size + size % 2):
        if stop > end:
            break
        if kind == b"VP8X":
            flags = start + _CHUNK_HEAD
            kept.extend(
                [slice(start, flags), bytes(flag & ~_SAYS for flag in data[flags : flags + 1]), slice(flags + 1, stop)]
            )
        elif kind in _WEBP:
            picture = picture or kind != b"ALPH"
            _merge_parts(kept, start, stop)
        else:
            whole = False
    if not picture:
        return None
    if whole:
        return [slice(0, len(data))]
    size = sum(len(part) if isinstance(part, bytes) else part.stop - part.start for part in kept)
    return [b"RIFF" + (size + 4).to_bytes(4, "little") + b"WEBP", *kept]


def _jpeg_parts(data: Data) -> list[Part] | None:
    kept: list[Part] = [slice(0, 2)]
    last = 2
    for marker, start, end in scan.jpeg_segments(data, 2):
        _merge_parts(kept, last, start)  # the coded data of a scan
        last = end
        if marker in _FRAMES and data[start + _COMPONENTS : start + _COMPONENTS + 1] > _RGB:
            return None
        plain = data[start + 4 : start + 8] == b"JFIF" if marker == _JFIF else marker == _ADOBE
        if plain or (marker not in _APPLICATIONS and marker != _COMMENT):
            _merge_parts(kept, start, end)
        if marker == scan.EOI:
            return kept
    return None


_WALKS: dict[str, Callable[[Data], list[Part] | None]] = {"png": _png_parts, "webp": _webp_parts, "jpeg": _jpeg_parts}


def _riff_chunks(
    data: Data, at: int, order: Literal["little", "big"], after: Callable[[int], int]
) -> Iterator[tuple[bytes, int, int]]:
    """Yield each complete chunk: its name, start and end; `after` returns the bytes after a chunk's header."""
    while at + _CHUNK_HEAD <= len(data):
        head = data[at : at + _CHUNK_HEAD]
        kind, size = (head[4:], head[:4]) if order == "big" else (head[:4], head[4:])
        end = at + _CHUNK_HEAD + after(int.from_bytes(size, order))
        if end > len(data):
            return
        yield kind, at, end
        at = end


def _merge_parts(kept: list[Part], start: int, end: int) -> None:
    """Add a byte range, merged with the last one if they are adjacent."""
    last = kept[-1] if kept else None
    if isinstance(last, slice) and last.stop == start:
        kept[-1] = slice(last.start, end)
    elif end > start:
        kept.append(slice(start, end))
