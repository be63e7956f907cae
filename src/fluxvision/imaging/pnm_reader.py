"""Reads binary PBM, PGM and PPM files."""

from __future__ import annotations

import re
from typing import BinaryIO

import numpy as np
import pyvips

from fluxvision.imaging.fallback_reader import SAMPLES, PictureFile, Unreadable

_HEAD = 4096
"""Bytes of the header, with comments, that are looked at."""
_GAP = rb"(?:[ \t\r\n\v\f]|#[^\r\n]*[\r\n])+"
_BITS = re.compile(rb"P4" + 2 * (_GAP + rb"(\d{1,10})") + rb"[ \t\r\n\v\f]")
_SAMPLES = re.compile(rb"P[56]" + 3 * (_GAP + rb"(\d{1,10})") + rb"[ \t\r\n\v\f]")
_TEXT = (b"P1", b"P2", b"P3")
_BYTE, _SHORT = 255, 65535


def open_pnm(file: BinaryIO) -> PictureFile:
    """Open a PBM, PGM or PPM; raises Unreadable for one whose samples are text, and for a damaged header."""
    head = file.read(_HEAD)
    if head.startswith(_TEXT):
        raise Unreadable("a PNM file whose samples are text is not read; save it as PNG or as a binary PNM")
    found = _BITS.match(head) or _SAMPLES.match(head)
    if found is None:
        raise ValueError("no header")
    width, height, top = *map(int, found.groups()), *([1] if found.re is _BITS else [])
    if not (width and height and 0 < top <= _SHORT):
        raise ValueError("impossible numbers")
    channels, bits = 3 if head.startswith(b"P6") else 1, 8 if top <= _BYTE else 16

    def read() -> pyvips.Image:
        file.seek(found.end())
        if found.re is _BITS:
            return _read_bits(file, width, height)
        kind = np.dtype(">u2" if top > _BYTE else "u1")
        samples = np.frombuffer(file.read(width * height * channels * kind.itemsize), kind)
        native = samples.astype(kind.newbyteorder("="), copy=False)
        image = pyvips.Image.new_from_memory(native.data, width, height, channels, SAMPLES[bits])
        full = _BYTE if bits == 8 else _SHORT  # noqa: PLR2004
        return image if top == full else (image * (full / top) + 0.5).cast(SAMPLES[bits])

    return PictureFile(width, height, channels, alpha=False, bits=bits, read=read)


def _read_bits(file: BinaryIO, width: int, height: int) -> pyvips.Image:
    """Return the pixels of a PBM, in which 1 is black."""
    packed = np.frombuffer(file.read(height * -(-width // 8)), np.uint8).reshape(height, -1)
    grey = (np.unpackbits(packed, axis=1, count=width) ^ 1) * np.uint8(_BYTE)
    return pyvips.Image.new_from_memory(grey.data, width, height, 1, "uchar")
