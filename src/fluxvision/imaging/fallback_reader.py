"""Reads the formats for which libvips has no loader: each with the function that its row names, as a libvips image."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import BinaryIO, TypeAlias

import pyvips

from fluxvision.core.formats import Format

_INTERPRETATIONS = {
    (1, 8): "b-w",
    (3, 8): "srgb",
    (4, 8): "cmyk",
    (1, 16): "grey16",
    (3, 16): "rgb16",
}
"""By number of colours and bits."""
SAMPLES = {8: "uchar", 16: "ushort"}
_MAX_PER_MM = (1 << 24) / 1000


class Unreadable(Exception):
    """The file is damaged or of an unsupported kind; the text is a short reason."""


@dataclass(frozen=True, slots=True)
class PictureFile:
    """A picture file whose header was read."""

    width: int
    height: int
    channels: int
    """1, 3, or 4 for CMYK; without alpha."""
    alpha: bool
    bits: int
    """8 or 16."""
    read: Callable[[], pyvips.Image]
    """Decodes the pixels, to as many bands as `channels` and `alpha` say, while the file is open."""
    frames: int = 1
    blocks: Mapping[str, bytes] = field(default_factory=dict)
    """Profile and metadata by their names in libvips."""
    orientation: int = 1
    """The EXIF orientation that is still to be applied."""
    resolution: tuple[float, float] | None = None
    """Horizontal and vertical pixels per millimetre."""


Opener: TypeAlias = Callable[[BinaryIO], PictureFile]


def read_header(path: Path, row: Format) -> pyvips.Image:
    """Return a black image with the size, type and metadata of a file, whose pixels are not decoded.

    Raises Unreadable, and OSError or MemoryError when a resource has run out.
    """
    with _open(path, row) as picture:
        bands = picture.channels + picture.alpha
        image = pyvips.Image.black(picture.width, picture.height, bands=bands).cast(SAMPLES[picture.bits])
        return _describe(image, picture)


def read(path: Path, row: Format) -> pyvips.Image:
    """Return the decoded pixels of the first frame with metadata; raises the same as `read_header`."""
    with _open(path, row) as picture:
        image = picture.read()
        expected = picture.width, picture.height, picture.channels + picture.alpha, SAMPLES[picture.bits]
        if (image.width, image.height, image.bands, image.format) != expected:
            raise Unreadable(_damaged(row))
        return _describe(image, picture)


@contextmanager
def _open(path: Path, row: Format) -> Iterator[PictureFile]:
    module, name = row.opener.split(".")
    try:
        opener: Opener = getattr(import_module(f"fluxvision.imaging.{module}"), name)
        with path.open("rb") as file:
            yield opener(file)
    except (Unreadable, MemoryError):
        raise
    except ImportError as cause:
        message = f"{row.label} needs its reader on the server: pip install '{row.package}'"
        raise Unreadable(message) from cause
    except Exception as cause:  # a library that parses a hostile file may raise anything
        if isinstance(cause, OSError) and cause.errno is not None:
            raise
        kind = f"a {row.label} of this kind is not read; save it as PNG"
        raise Unreadable(kind if "nsupported" in str(cause) else _damaged(row)) from cause


def _damaged(row: Format) -> str:
    return f"this {row.label} file is damaged or truncated"


def _describe(image: pyvips.Image, picture: PictureFile) -> pyvips.Image:
    """Return the image with the picture's interpretation, resolution, metadata and number of frames."""
    across, down = picture.resolution or (1.0, 1.0)
    if not (0 < across < _MAX_PER_MM and 0 < down < _MAX_PER_MM):
        across = down = 1.0
    found = image.copy(interpretation=_INTERPRETATIONS[picture.channels, picture.bits], xres=across, yres=down)
    for name, block in picture.blocks.items():
        if block:
            found.set_type(pyvips.GValue.blob_type, name, block)
    found.set_type(pyvips.GValue.gint_type, "orientation", picture.orientation)
    found.set_type(pyvips.GValue.gint_type, "n-pages", picture.frames)
    return found
