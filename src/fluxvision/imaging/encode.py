"""Encodes a finished picture in the requested format, row by row, with its metadata."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyvips
from pyvips.enums import ForeignKeep

from fluxvision.core import formats
from fluxvision.core.callbacks import JobCallbacks
from fluxvision.core.errors import InternalError, InvalidRequest
from fluxvision.core.formats import Format
from fluxvision.core.images import Animation, Metadata, RawImage
from fluxvision.core.system import delete_file
from fluxvision.imaging import load, profile, tiff
from fluxvision.imaging.load import translate_read_errors
from fluxvision.imaging.memory_estimate import OPTIMISED
from fluxvision.imaging.metadata import add_exif_prefix, wrap_iptc
from fluxvision.imaging.raster import INTERPRETATION, open_raster, open_upright, probe_own_file, write_guard

BLOCKS = {
    "icc": load.LEFT_OUT,
    "exif": "The picture's EXIF data is damaged and was left out.",
    "xmp": "The picture's XMP data is damaged and was left out.",
    "iptc": "The picture's IPTC data is damaged and was left out.",
}
"""The blocks of `Metadata`, and the warning for the caller when a block prevents the file from being written."""

_DEEP = 16
_WHITE = 65535
_ICC = profile.FIELD
_SCREEN = 72 / 25.4  # pixels per millimetre that viewers assume for a picture without a resolution
_BIG = 2_000_000_000  # bytes of pixels from which a TIFF file is written as BigTIFF
_SAMPLED = 90  # JPEG qualities from here on keep colour at full resolution
_MAX_SEGMENT = 65_000  # bytes that fit into one JPEG segment, with its header


def check_encodable(format: str, width: int, height: int, param: str = "output_format") -> None:  # noqa: A002, the public word
    """Raise InvalidRequest naming `param` for a format that is not written, or a size that it cannot hold."""
    row = next((row for row in formats.FORMATS if row.name == format and row.writable), None)
    if row is None:
        names = ", ".join(row.name for row in formats.FORMATS if row.writable)
        message = f"{param}: {format!r} is not a format that is written here; use {names}."
        raise InvalidRequest(message, param=param)
    if max(width, height) > row.max_side or width * height > row.max_pixels:
        fits = ", ".join(
            other.name
            for other in formats.FORMATS
            if other.writable and max(width, height) <= other.max_side and width * height <= other.max_pixels
        )
        limit = f"sides up to {row.max_side:,}" if max(width, height) > row.max_side else f"up to {row.max_pixels:,}"
        instead = f"use {fits}, or a smaller size" if fits else "use a smaller size"
        asked = f"the result would be {width:,}x{height:,}"
        message = f"{param}: {row.label} is written with {limit} pixels and {asked}; {instead}."
        raise InvalidRequest(message, param=param)


def encode(
    picture: RawImage | Animation | Path,
    target: Path,
    format: str,  # noqa: A002, the public word
    *,
    quality: int | None,
    metadata: Metadata,
    strip: bool,
    callbacks: JobCallbacks | None = None,
) -> tuple[str, ...]:
    """Write a picture to `target` in one pass; memory for PNG, JPEG and TIFF does not depend on the height.

    `quality` is 0 to 100, None for the format's default; lossless formats ignore it. `metadata` is written to the file;
    `strip` writes only its profile and resolution. If `picture` is a file, its own profile takes precedence over that
    of `metadata`; a profile that does not fit the pixels is left out. Metadata blocks that prevent the file from being
    written are left out too.

    Returns a sentence about each block that was left out.

    Raises InternalError, InvalidRequest when `picture` is a damaged file, Unavailable when the disk is full, and
    Cancelled when the job is cancelled before or after the work; `target` is removed in each case.
    """
    row = formats.find_format(format)
    damaged: tuple[str, ...] = ()
    try:
        try:
            with write_guard(target, callbacks):
                _write(picture, target, row, quality, metadata, strip=strip)
        except pyvips.Error:
            damaged = _damaged_blocks(picture, target, row, metadata, strip=strip)
            if not damaged:
                raise
            nothing: dict[str, Any] = dict.fromkeys(damaged)
            metadata = replace(metadata, **nothing)
            with write_guard(target, callbacks):
                _write(picture, target, row, quality, metadata, strip=strip, own="icc" not in damaged)
    except (pyvips.Error, OSError) as cause:
        if isinstance(picture, Path):
            _read_to_the_end(picture)
        message = f"The result could not be written as {row.label}."
        raise InternalError(message) from cause
    return tuple(BLOCKS[name] for name in damaged)


def _write(
    picture: RawImage | Animation | Path,
    target: Path,
    row: Format,
    quality: int | None,
    metadata: Metadata,
    *,
    strip: bool,
    own: bool = True,
) -> None:
    """Write a picture; with `own`, a file's own profile takes precedence over that of `metadata`."""
    image = _open_source(picture) if isinstance(picture, Path) else _open_pixels(picture)
    if own and image.get_typeof(_ICC):
        metadata = replace(metadata, icc=image.get(_ICC))
    described = _fit_format(_set_resolution(image, metadata), row)
    labelled = _set_blocks(described, row, metadata, strip=strip)
    if isinstance(picture, Animation):
        labelled = _set_timing(labelled, picture)
    save = getattr(labelled, str(row.saver))
    save(str(target), keep=_kept_blocks(row, metadata, strip=strip), **_saver_options(labelled, row, quality))
    if row.name == "tiff" and not strip:
        tiff.add_directories(target, metadata.exif, metadata.iptc)


def _open_pixels(picture: RawImage | Animation) -> pyvips.Image:
    """Return the pixels of a picture, or of all frames, one below the other."""
    if isinstance(picture, RawImage):
        return open_raster(picture)
    return pyvips.Image.arrayjoin([open_raster(frame) for frame in picture.frames], across=1)


def _set_timing(image: pyvips.Image, animation: Animation) -> pyvips.Image:
    timed = image.copy()
    timed.set_type(pyvips.GValue.gint_type, "page-height", animation.frames[0].height)
    timed.set_type(pyvips.GValue.array_int_type, "delay", list(animation.delays))
    timed.set_type(pyvips.GValue.gint_type, "loop", animation.loop)
    return timed


def _damaged_blocks(
    picture: RawImage | Animation | Path, target: Path, row: Format, metadata: Metadata, *, strip: bool
) -> tuple[str, ...]:
    """Return the blocks with which a one-pixel picture cannot be written; none if it also fails without them."""
    if isinstance(picture, Path):
        image = _open_source(picture)
        metadata = replace(metadata, icc=image.get(_ICC) if image.get_typeof(_ICC) else metadata.icc)
        picture = RawImage(picture, 1, 1, image.bands, 16 if image.format == "ushort" else 8)
    picture = picture.frames[0] if isinstance(picture, Animation) else picture
    pixel = replace(picture, path=target.with_name(f"{target.name}.pixel"), width=1, height=1)
    trial = target.with_name(f"{target.name}.trial")

    def fails(**block: Any) -> bool:
        try:
            _write(pixel, trial, row, None, Metadata(**block), strip=strip)
        except pyvips.Error:
            return True
        return False

    blocks = {name: getattr(metadata, name) for name in BLOCKS}
    try:
        pixel.path.write_bytes(bytes(pixel.bands * pixel.bits // 8))
        if fails():
            return ()
        return tuple(name for name, block in blocks.items() if block is not None and fails(**{name: block}))
    finally:
        delete_file(pixel.path, trial)


def _open_source(path: Path) -> pyvips.Image:
    """Return a file's upright pixels, with its profile."""
    source = probe_own_file(path)
    with translate_read_errors(formats.find_format(source.format), "image"):
        return open_upright(source)


def _read_to_the_end(path: Path) -> None:
    """Raise InvalidRequest when a file's pixels cannot be read to the end."""
    row = formats.find_format(probe_own_file(path).format)
    with translate_read_errors(row, "image"):
        load.open_lazily(path, row).avg()


def _set_resolution(image: pyvips.Image, metadata: Metadata) -> pyvips.Image:
    """Return the image with a matching profile and a resolution, without other metadata."""
    across, down = metadata.resolution or (_SCREEN, _SCREEN)
    plain = image.copy(xres=across, yres=down)
    for name in plain.get_fields():
        if name.endswith("-data") or name.startswith("exif-") or name == "orientation":
            plain.remove(name)
    plain.set_type(pyvips.GValue.gstr_type, "resolution-unit", "in")
    icc = metadata.icc
    if icc is not None and profile.is_usable_profile(icc, "grey" if plain.bands - plain.hasalpha() == 1 else "rgb"):
        plain.set_type(pyvips.GValue.blob_type, _ICC, profile.trim_profile(icc))
    return plain


def _fit_format(image: pyvips.Image, row: Format) -> pyvips.Image:
    """Return the image with colours, bits and alpha that the format can hold."""
    if not row.profile and image.get_typeof(_ICC):
        image = image.icc_transform("srgb", embedded=True, depth=16 if image.format == "ushort" else 8)
    if image.format == "ushort" and row.bits < _DEEP:
        interpretation = INTERPRETATION[image.bands - image.hasalpha(), 8]
        if row.bits == 8:  # noqa: PLR2004
            image = (image * (255 / _WHITE) + 0.5).cast("uchar").copy(interpretation=interpretation)
        else:
            # The saver truncates the low bits: round first.
            unused = _DEEP - row.bits
            image = (image * ((_WHITE >> unused) / _WHITE) + 0.5).cast("ushort") << unused
    if not row.alpha and image.hasalpha():
        image = image.flatten(background=[255 if image.format == "uchar" else _WHITE])
    return image


def _set_blocks(image: pyvips.Image, row: Format, metadata: Metadata, *, strip: bool) -> pyvips.Image:
    """Return the image with the metadata blocks for the saver to write."""
    labelled = image.copy()
    # The TIFF saver writes no EXIF and truncates IPTC: `tiff.add_directories` adds both.
    blocks = {} if strip else {"xmp-data": metadata.xmp}
    if not strip and row.name != "tiff":
        blocks["exif-data"] = add_exif_prefix(metadata.exif) if metadata.exif else None
        blocks["iptc-data"] = wrap_iptc(metadata.iptc) if metadata.iptc else None
    for name, block in blocks.items():
        if block and (row.name != "jpeg" or len(block) <= _MAX_SEGMENT):
            labelled.set_type(pyvips.GValue.blob_type, name, block)
    # The thumbnail inside an EXIF block shows the source's pixels.
    if labelled.get_typeof("jpeg-thumbnail-data"):
        labelled.remove("jpeg-thumbnail-data")
    labelled.set_type(pyvips.GValue.gint_type, "orientation", 1)
    # Set again, because the EXIF block has overwritten the resolution.
    return labelled.copy(xres=image.xres, yres=image.yres)


def _kept_blocks(row: Format, metadata: Metadata, *, strip: bool) -> int:
    """Return the flags of the blocks that the saver writes.

    The saver creates an EXIF block if there is none, so it is left out then, unless only it holds the resolution.
    """
    exif_only = row.exif_resolution and metadata.resolution is not None
    exif_block = ForeignKeep.EXIF if exif_only or (metadata.exif and not strip) else ForeignKeep.NONE
    return int(ForeignKeep.ICC | ForeignKeep.XMP | ForeignKeep.IPTC | exif_block)


def _saver_options(image: pyvips.Image, row: Format, quality: int | None) -> dict[str, Any]:
    """Return the saver's options: those of the row and those that depend on the picture."""
    options = dict(row.save)
    if row.quality is not None:
        options["Q"] = max(row.least_quality, row.quality if quality is None else quality)
    if row.name == "jpeg":
        options["subsample_mode"] = "off" if options["Q"] >= _SAMPLED else "on"
        # Optimised tables make the file 3 % smaller, but need all coefficients in memory: 12 bytes per pixel.
        options["optimize_coding"] = image.width * image.height <= OPTIMISED
    if row.name == "avif" and image.format == "ushort":
        options["bitdepth"] = row.bits
    if row.name == "tiff":
        size = image.width * image.height * image.bands * (2 if image.format == "ushort" else 1)
        options["bigtiff"] = size > _BIG
    return options
