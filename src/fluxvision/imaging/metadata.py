"""Moves what a picture says of itself between libvips fields and `Metadata`."""

from __future__ import annotations

import pyvips

from fluxvision.core.types import Metadata, Source
from fluxvision.imaging import exif, iptc, profile, tiff

_DEFAULT = 1.0
"""The resolution that libvips gives a picture that has none, in pixels per millimetre."""


def read(image: pyvips.Image, source: Source) -> Metadata:
    """Return an opened image's metadata; orientations inside it say upright."""
    block, packet, records = _blob(image, "exif-data"), _blob(image, "xmp-data"), _blob(image, "iptc-data")
    if source.format == "tiff":
        block = tiff.read_exif(source.path)
    resolution = None if image.xres == image.yres == _DEFAULT else (image.xres, image.yres)
    if resolution is None and block:
        resolution = exif.resolution(block)
    return Metadata(
        icc=_blob(image, profile.FIELD),
        exif=exif.upright(exif.prefixed(block)) if block else None,
        xmp=exif.upright_xmp(packet) if packet else None,
        iptc=iptc.unwrapped(records) if records else None,
        resolution=resolution,
    )


def _blob(image: pyvips.Image, name: str) -> bytes | None:
    if image.get_typeof(name) == 0:
        return None
    value = image.get(name)
    return bytes(value) if value else None
