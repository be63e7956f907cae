"""Pictures as files and raw pixels, their metadata, and what is measured of them."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path


class LazyFile:
    """A file on disk, or in memory until its `path` is needed."""

    __slots__ = ()
    file: Path
    """Where the file is, or will be written."""
    content: bytes | None
    """The whole file, None when it is on disk only."""

    @property
    def path(self) -> Path:
        """The path of the file, which is written first if necessary, atomically: several threads may call this."""
        if self.content is not None and not self.file.exists():
            draft = self.file.with_name(f"{self.file.name}.{secrets.token_hex(8)}")
            draft.write_bytes(self.content)
            draft.replace(self.file)
        return self.file


@dataclass(frozen=True, slots=True)
class InputImage(LazyFile):
    """A picture file on this machine whose header was read and is within the limits."""

    file: Path
    format: str
    """Its name in `core.formats`, such as "png"."""
    width: int
    """Of the upright picture, with the EXIF orientation applied."""
    height: int
    """Of the upright picture."""
    channels: int
    """1 or 3, without alpha."""
    alpha: bool
    bits: int
    """Bits per sample: 8 or 16."""
    size: int
    """Bytes of the file."""
    orientation: int = 1
    """The EXIF orientation, 1 to 8."""
    frames: int = 1
    jpeg_quality: int | None = None
    """Estimated from the quantisation tables; None for other formats."""
    metadata_free: bool = field(default=False, compare=False)
    """Whether the file is known to have no profile and no metadata."""
    content: bytes | None = field(default=None, repr=False, compare=False)

    @property
    def megapixels(self) -> float:
        """Millions of pixels."""
        return self.width * self.height / 1e6


@dataclass(frozen=True, slots=True)
class RawImage:
    """Uncompressed pixels in a raw file: rows top to bottom, pixels interleaved, samples in native byte order."""

    path: Path
    width: int
    height: int
    bands: int
    """1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGB, alpha)."""
    bits: int
    """Bits per sample: 8 or 16."""


@dataclass(frozen=True, slots=True)
class Animation:
    """The frames of an animation, all of the same size and type."""

    frames: Sequence[RawImage]
    delays: Sequence[int]
    """Milliseconds that each frame is shown."""
    loop: int
    """How often it is shown; 0: without end."""


@dataclass(frozen=True, slots=True)
class Metadata:
    """The metadata of a picture, which an enlargement keeps."""

    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    iptc: bytes | None = None
    resolution: tuple[float, float] | None = None
    """Horizontal and vertical pixels per millimetre."""
    warnings: tuple[str, ...] = ()
    """Sentences for the caller about damaged metadata that was left out."""


@dataclass(frozen=True, slots=True)
class Fidelity:
    """How well the delivered picture, reduced to the input's size, agrees with the input."""

    lr_psnr_db: float
    """PSNR over all samples in dB; higher is closer, capped at 99."""
    seam_ratio: float | None
    """Mean gradient across tile borders divided by that beside them (1.0: invisible); None without borders."""
    delta_e: float
    """Mean CIEDE2000 colour difference."""


@dataclass(frozen=True, slots=True)
class SourceDamage:
    """What was measured of a picture before it was enlarged, and how much of it was taken away."""

    noise: float
    """Standard deviation of the noise in luma, 0 to 255; 0 when none was found."""
    jpeg_quality: int | None
    """Quality of the JPEG, 1 to 100, that the picture is or was; None: no sign of one."""
    blur: float
    """Standard deviation, in pixels, of the Gaussian by which the sharpest edges look blurred."""
    graphic: bool
    """Whether it is a screenshot or another flat graphic."""
    restored: float
    """Share of the damage that was removed, 0 to 1; 0 when the picture was left as it is."""


@dataclass(frozen=True, slots=True)
class ResultImage(LazyFile):
    """One finished picture file in the requested format."""

    file: Path
    format: str
    mime: str
    width: int
    height: int
    revised_prompt: str | None = None
    """The prompt or caption that guided the detail."""
    seed: int | None = None
    fidelity: Fidelity | None = None
    content: bytes | None = field(default=None, repr=False, compare=False)
    warnings: tuple[str, ...] = ()
    """Sentences for the caller about metadata of the source that could not be used, or kept in this file."""
