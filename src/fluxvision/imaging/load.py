"""Opens a picture with its format's loader and converts it to the working colour space; configures libvips."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyvips
from pyvips import error as pyvips_error
from pyvips import ffi

from fluxvision.core.errors import Error, InvalidRequest
from fluxvision.core.formats import Format
from fluxvision.core.images import InputImage
from fluxvision.core.system import NO_SPACE, resource_error
from fluxvision.imaging import fallback_reader, scan, vips_warnings
from fluxvision.imaging.profile import FIELD, is_usable_profile

# Block loaders that libvips marks as untrusted (not safe for hostile input).
pyvips.block_untrusted_set(True)
# Allow raw files: they are our own pixels, and their size and type are given as arguments.
pyvips.operation_block_set("VipsForeignLoadRaw", False)
# No operation cache: each picture is read once, so a cache would only hold memory and open files.
pyvips.cache_set_max(0)
pyvips.cache_set_max_mem(0)
pyvips.cache_set_max_files(0)
# libvips warns for every row of a damaged file; the caller gets one error instead.
logging.getLogger("pyvips").setLevel(logging.ERROR)
vips_warnings.capture_warnings()


def _to_string(x: Any) -> str:
    """Return a C string as text, with any bytes. It runs in a module of pyvips, which also has `ffi`."""
    found = b"NULL" if x == ffi.NULL else ffi.string(x)
    return found.decode("utf-8", "replace") if isinstance(found, bytes) else str(found)


# Error texts quote the file. pyvips decodes them as UTF-8, raises UnicodeDecodeError if they are not, and does not
# clear the text, so every later error of the process would fail too. Its modules have imported the function by name,
# so the function's code is replaced.
pyvips_error._to_string.__code__ = _to_string.__code__  # noqa: SLF001, there is no public place for this


def clear_error_log() -> None:
    """Clear the error text of libvips, which accumulates, and to which successful calls add too."""
    pyvips.vips_lib.vips_error_clear()


@contextmanager
def translate_vips_errors(error: Error) -> Iterator[None]:
    """Raise `error` instead of a libvips error, whose text holds paths of this machine."""
    clear_error_log()  # the error text will tell which resource has run out
    try:
        yield
    except pyvips.Error as cause:
        raise resource_error(cause) or error from cause


_GREY = {"b-w", "grey16"}
_RGB = {"srgb", "rgb16", "scrgb"}
_LAB = {"lab", "labq", "labs"}
_COLOURS = {**dict.fromkeys(_GREY, 1), **dict.fromkeys(_RGB, 3), **dict.fromkeys(_LAB, 3), "cmyk": 4}
_DEEP = {"ushort", "uint", "float"}
_FULL = 65535
LEFT_OUT = "The picture's colour profile is damaged and was left out; colours are taken as sRGB."
_PRINT = (
    "The picture's colour profile is damaged and was left out; its CMYK colours are taken as those of a common print."
)


def open_lazily(path: Path, row: Format) -> pyvips.Image:
    """Open a file lazily, rows top to bottom; raises pyvips.Error, or reader.Unreadable.

    Only the header is read until pixels are needed, except for formats that libvips does not load.
    """
    if row.loader is None:
        return fallback_reader.read(path, row)
    file = path.read_bytes() if row.buffered else str(path)
    return getattr(pyvips.Image, row.loader)(file, access="sequential", **row.load)


def open_header(path: Path, row: Format) -> pyvips.Image:
    """Return an image with a file's size, type and metadata, whose pixels may be black; raises as `open_lazily`."""
    return fallback_reader.read_header(path, row) if row.loader is None else open_lazily(path, row)


def count_colour_bands(image: pyvips.Image) -> int | None:
    """Return the number of colour bands (1, 3, or 4 for CMYK), None for an unsupported image."""
    number = _COLOURS.get(image.interpretation)
    if number is None or image.bands < number or image.format not in {"uchar", *_DEEP, "short"}:
        return None
    return None if image.format == "short" and image.interpretation != "labs" else number


def working_bits(image: pyvips.Image) -> int:
    """Return the bits per working sample: 8, or 16 for every source with more than 8."""
    return 16 if image.format in _DEEP or image.interpretation in _LAB else 8


def remaining_orientation(image: pyvips.Image, row: Format) -> int:
    """Return the EXIF orientation 1 to 8 that is still to be applied."""
    if row.upright or image.get_typeof("orientation") == 0:
        return 1
    value = image.get("orientation")
    return value if value in range(1, 9) else 1


def to_working_space(image: pyvips.Image, source: InputImage) -> pyvips.Image:
    """Return grey or RGB pixels, 8- or 16-bit, then at most one alpha band; not yet turned upright.

    RGB and grey keep their values and their profile, unless the profile does not fit the pixels. All other colours are
    converted to sRGB and lose their profile.
    """
    number = _COLOURS[image.interpretation]
    alpha = image[number] if image.bands > number else None
    colour = image.extract_band(0, n=number) if image.bands > number else image
    if image.interpretation == "cmyk":
        colour = _from_cmyk(colour, source.bits)
    elif image.interpretation in _LAB:
        colour = _drop_profile(colour.colourspace("rgb16"))
    elif image.format == "float":
        colour = _from_linear(colour)
    else:
        colour = _scale_range(colour, source)
        if not is_usable_profile(_read_profile(colour), _pixel_space(image)):
            colour = _drop_profile(colour)
    if alpha is None:
        return colour
    # Joined bands have the fields of both: alpha must not add a profile that was removed from colour.
    return colour.bandjoin(_drop_profile(_split_alpha(alpha, source))).copy(interpretation=colour.interpretation)


def profile_warning(image: pyvips.Image, source: InputImage) -> str | None:
    """Return a sentence for the caller when `to_working_space` drops an image's profile, otherwise None."""
    icc = _read_profile(image)
    if icc is None:  # libpng drops damaged profiles
        header = (
            scan.inspect_png(source.path, source.content)
            if source.format == "png" and not source.metadata_free
            else None
        )
        return LEFT_OUT if header is not None and header.profiled else None
    if image.interpretation in _LAB or image.format == "float" or is_usable_profile(icc, _pixel_space(image)):
        return None
    return _PRINT if image.interpretation == "cmyk" else LEFT_OUT


def _pixel_space(image: pyvips.Image) -> str:
    """Return the colour space that the profile of an integer image must have."""
    return {1: "grey", 3: "rgb", 4: "cmyk"}[_COLOURS[image.interpretation]]


def _from_cmyk(colour: pyvips.Image, depth: int) -> pyvips.Image:
    """Return CMYK converted to sRGB with the embedded profile, or with a common print profile."""
    embedded = is_usable_profile(_read_profile(colour), _pixel_space(colour))
    options = {"embedded": True} if embedded else {"input_profile": "cmyk"}
    converted = colour.icc_transform("srgb", depth=depth, intent="relative", black_point_compensation=True, **options)
    return _drop_profile(converted)


def _from_linear(colour: pyvips.Image) -> pyvips.Image:
    """Return floating-point samples (linear light, 0 to 1) as 16-bit sRGB or grey."""
    rgb = colour if colour.bands > 1 else colour.bandjoin([colour, colour])
    encoded = rgb.copy(interpretation="scrgb").colourspace("rgb16")
    grey = colour.bands == 1
    return _drop_profile(encoded[0].copy(interpretation="grey16") if grey else encoded)


def _scale_range(samples: pyvips.Image, source: InputImage) -> pyvips.Image:
    """Return integer samples scaled to the full 8- or 16-bit range."""
    interpretation = samples.interpretation
    if samples.format == "uint":
        deep = "grey16" if samples.bands == 1 else "rgb16"
        return (samples >> 16).cast("ushort").copy(interpretation=deep)
    depth = samples.get("bits-per-sample") if samples.get_typeof("bits-per-sample") else 0
    if source.format == "avif" and samples.format == "ushort" and depth in range(9, 16):
        # The loader shifts 10 and 12 bits up, so that white is 65,472 or 65,520.
        top = ((1 << depth) - 1) << (16 - depth)
        scaled = (samples * (_FULL / top) + 0.5).cast("ushort")
        return scaled.copy(interpretation=interpretation)
    return samples


def _split_alpha(alpha: pyvips.Image, source: InputImage) -> pyvips.Image:
    if alpha.format in {"float", "short"}:
        top = 1.0 if alpha.format == "float" else 32767.0
        return (alpha * (_FULL / top) + 0.5).cast("ushort")
    return _scale_range(alpha, source)


def _read_profile(image: pyvips.Image) -> bytes | None:
    return image.get(FIELD) if image.get_typeof(FIELD) else None


def _drop_profile(image: pyvips.Image) -> pyvips.Image:
    plain = image.copy()
    if plain.get_typeof(FIELD):
        plain.remove(FIELD)
    return plain


@contextmanager
def translate_read_errors(row: Format, param: str) -> Iterator[None]:
    """Raise InvalidRequest naming `param` when a file of this format cannot be read inside the block.

    All threads share one error text of libvips, so a full disk in it concerns a file that another thread writes.
    """
    clear_error_log()  # the error text will tell which resource has run out
    try:
        yield
    except fallback_reader.Unreadable as cause:
        message = f"{param}: {cause}."
        raise InvalidRequest(message, param=param) from cause
    except pyvips.Error as cause:
        raise resource_error(cause, besides=NO_SPACE) or damaged_error(row, param) from cause


def damaged_error(row: Format, param: str) -> InvalidRequest:
    """Return the error for a file of this format that cannot be read to its end."""
    return InvalidRequest(f"{param}: this {row.label} file is damaged or truncated.", param=param)
