"""Opens a picture with the one loader of its format and brings it into the working colour space."""

from __future__ import annotations

from pathlib import Path

import pyvips

from fluxvision.core.types import Source
from fluxvision.imaging import bmp, profile, scan
from fluxvision.imaging.formats import Format

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


def opened(path: Path, row: Format) -> pyvips.Image:
    """Open a file lazily, rows top to bottom; raises pyvips.Error, or bmp.Unreadable for a BMP.

    Nothing but the header is read until pixels are asked for, except for BMP.
    """
    if row.loader is None:
        samples = bmp.read(path)
        interpretation = "b-w" if samples.shape[2] == 1 else "srgb"
        across, down = bmp.header(path).resolution or (1.0, 1.0)
        return pyvips.Image.new_from_array(samples).copy(interpretation=interpretation, xres=across, yres=down)
    file = path.read_bytes() if row.buffered else str(path)
    return getattr(pyvips.Image, row.loader)(file, access="sequential", **row.load)


def colours(image: pyvips.Image) -> int | None:
    """Return how many of an image's bands are colour (1, 3, or 4 for CMYK); None where that is not read."""
    number = _COLOURS.get(image.interpretation)
    if number is None or image.bands < number or image.format not in {"uchar", *_DEEP, "short"}:
        return None
    return None if image.format == "short" and image.interpretation != "labs" else number


def bits(image: pyvips.Image) -> int:
    """Return the bits of a working sample: 8, or 16 for every source that has more."""
    return 16 if image.format in _DEEP or image.interpretation in _LAB else 8


def oriented(image: pyvips.Image, row: Format) -> int:
    """Return the EXIF orientation 1 to 8 that is still to be applied (AVIF's was applied by its loader)."""
    if row.name == "avif" or image.get_typeof("orientation") == 0:
        return 1
    value = image.get("orientation")
    return value if value in range(1, 9) else 1


def working(image: pyvips.Image, source: Source) -> pyvips.Image:
    """Return grey or RGB pixels, 8- or 16-bit, then at most one alpha band; not yet turned upright.

    RGB and grey keep their values and their profile. Everything else becomes sRGB and loses its profile, and so does a
    profile that does not fit its pixels.
    """
    number = _COLOURS[image.interpretation]
    alpha = image[number] if image.bands > number else None
    colour = image.extract_band(0, n=number) if image.bands > number else image
    if image.interpretation == "cmyk":
        colour = _from_cmyk(colour, source.bits)
    elif image.interpretation in _LAB:
        colour = _without_profile(colour.colourspace("rgb16"))
    elif image.format == "float":
        colour = _from_linear(colour)
    else:
        colour = _scaled(colour, source)
        if not profile.usable(_profile(colour), _space(image)):
            colour = _without_profile(colour)
    if alpha is None:
        return colour
    # Joined bands have the fields of both: alpha must not bring back a profile that colour has lost.
    return colour.bandjoin(_without_profile(_alpha(alpha, source))).copy(interpretation=colour.interpretation)


def warning(image: pyvips.Image, source: Source) -> str | None:
    """Return a sentence for the caller where `working` leaves out an opened image's profile; None where it does not."""
    icc = _profile(image)
    if icc is None:  # libpng leaves out what it finds to be damaged
        header = scan.inspect(source.path, source.content) if source.format == "png" and not source.bare else None
        return LEFT_OUT if header is not None and header.profiled else None
    if image.interpretation in _LAB or image.format == "float" or profile.usable(icc, _space(image)):
        return None
    return _PRINT if image.interpretation == "cmyk" else LEFT_OUT


def _space(image: pyvips.Image) -> str:
    """Return the colour space that a profile of an integer image has to be for."""
    return {1: "grey", 3: "rgb", 4: "cmyk"}[_COLOURS[image.interpretation]]


def _from_cmyk(colour: pyvips.Image, depth: int) -> pyvips.Image:
    """Return sRGB by the embedded profile, or by a common print profile where there is none."""
    embedded = profile.usable(_profile(colour), _space(colour))
    options = {"embedded": True} if embedded else {"input_profile": "cmyk"}
    converted = colour.icc_transform("srgb", depth=depth, intent="relative", black_point_compensation=True, **options)
    return _without_profile(converted)


def _from_linear(colour: pyvips.Image) -> pyvips.Image:
    """Return 16-bit sRGB or grey of floating-point samples, which are linear light from 0 to 1."""
    rgb = colour if colour.bands > 1 else colour.bandjoin([colour, colour])
    encoded = rgb.copy(interpretation="scrgb").colourspace("rgb16")
    grey = colour.bands == 1
    return _without_profile(encoded[0].copy(interpretation="grey16") if grey else encoded)


def _scaled(samples: pyvips.Image, source: Source) -> pyvips.Image:
    """Return integer samples over the full 8- or 16-bit range."""
    interpretation = samples.interpretation
    if samples.format == "uint":
        deep = "grey16" if samples.bands == 1 else "rgb16"
        return (samples >> 16).cast("ushort").copy(interpretation=deep)
    depth = samples.get("bits-per-sample") if samples.get_typeof("bits-per-sample") else 0
    if source.format == "avif" and samples.format == "ushort" and depth in range(9, 16):
        # The loader shifts 10 and 12 bits up and leaves white at 65,472 or 65,520.
        top = ((1 << depth) - 1) << (16 - depth)
        scaled = (samples * (_FULL / top) + 0.5).cast("ushort")
        return scaled.copy(interpretation=interpretation)
    return samples


def _alpha(alpha: pyvips.Image, source: Source) -> pyvips.Image:
    if alpha.format in {"float", "short"}:
        top = 1.0 if alpha.format == "float" else 32767.0
        return (alpha * (_FULL / top) + 0.5).cast("ushort")
    return _scaled(alpha, source)


def _profile(image: pyvips.Image) -> bytes | None:
    return image.get(profile.FIELD) if image.get_typeof(profile.FIELD) else None


def _without_profile(image: pyvips.Image) -> pyvips.Image:
    plain = image.copy()
    if plain.get_typeof(profile.FIELD):
        plain.remove(profile.FIELD)
    return plain
