"""Carries EXIF and IPTC in and out of TIFF files, which libvips leaves to others."""

from __future__ import annotations

import io
from pathlib import Path
from typing import BinaryIO

from fluxvision.imaging import directories, exif
from fluxvision.imaging.directories import Directory, Layout, Value

_EXIF, _GPS, _IPTC, _ORIENTATION = 0x8769, 0x8825, 0x83BB, 0x0112
_SHORT, _UNDEFINED = 3, 7
# Description, maker, model, software, date, artist, copyright, and the five fields that Windows adds.
_TEXTS = {0x010E, 0x010F, 0x0110, 0x0131, 0x0132, 0x013B, 0x8298, 0x9C9B, 0x9C9C, 0x9C9D, 0x9C9E, 0x9C9F}
# What an enlargement makes untrue or loses the place of: width, height, interoperability.
_STALE = {0xA002, 0xA003, 0xA005}


def read_exif(path: Path) -> bytes | None:
    """Return the first page's texts, EXIF and GPS fields as an upright EXIF block; None where there are none."""
    with path.open("rb") as file:
        found = _described(file)
    if not found:
        return None
    upright = {**found, _ORIENTATION: Value(_SHORT, b"\1\0")}
    return exif.PREFIX + b"II*\0\x08\0\0\0" + directories.write(upright, Layout("little"), 8)


def add(path: Path, block: bytes | None, iptc: bytes | None) -> None:
    """Add the fields of an EXIF block and an IPTC record to the first page of a finished TIFF file.

    Its directory is written anew at the end of the file; pixels stay where they are.
    """
    fields: dict[int, Value | bytes | Directory] = {}
    if block:
        fields.update(_described(io.BytesIO(block.removeprefix(exif.PREFIX))))
    if iptc:
        fields[_IPTC] = Value(_UNDEFINED, iptc)
    if not fields:
        return
    with path.open("r+b") as file:
        begun = directories.begin(file)
        if begun is None:
            return
        layout, first = begun
        merged = {**directories.entries(file, layout, first), **fields}
        end = file.seek(0, io.SEEK_END)
        end += file.write(bytes(end % 2))
        file.write(directories.write(merged, layout, end))
        file.seek(8 if layout.wide else 4)
        file.write(end.to_bytes(layout.offset, layout.order))


def _described(file: BinaryIO) -> dict[int, Value | bytes | Directory]:
    """Return the first directory's texts and its EXIF and GPS directories."""
    begun = directories.begin(file)
    if begun is None:
        return {}
    layout, first = begun
    listed = directories.entries(file, layout, first)
    found: dict[int, Value | bytes | Directory] = {}
    for tag, entry in listed.items():
        held = directories.value(file, layout, entry)
        if held is None:
            continue
        if tag in _TEXTS:
            found[tag] = held
        elif tag in {_EXIF, _GPS} and held.first is not None:
            below = directories.entries(file, layout, held.first)
            values = {tag: directories.value(file, layout, entry) for tag, entry in below.items() if tag not in _STALE}
            found[tag] = {tag: value for tag, value in values.items() if value is not None}
    return found
