"""Computes the result's size in pixels from a job's size parameters. Pure.

scale_factor, size, aspect_ratio, resolution and fit all determine the same size, so they are solved together. Two
parameters that contradict each other are refused with an error that names both. Defaults never shrink the picture.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor, isqrt

from fluxvision.catalog.rules import ScaleRange
from fluxvision.core.errors import InvalidRequest
from fluxvision.core.system import cached_until_rest
from fluxvision.core.types import Job, Scalar

EXACT = ScaleRange()
WORDS = ("scale_factor", "size", "aspect_ratio", "resolution", "fit")
RESOLUTIONS = {"1K": 1024, "2K": 2048, "4K": 4096}
"""Pixels of the longer side."""
FRAMES = {"720p": 1280 * 720, "1080p": 1920 * 1080, "1440p": 2560 * 1440, "2160p": 3840 * 2160}
"""Total number of pixels of a video frame; the result keeps its own aspect ratio."""
FINENESS = 10**9


@dataclass(frozen=True, slots=True)
class Geometry:
    """The result's size, and the sizes of the picture before it is resampled, cropped or padded to the result."""

    width: int
    """Of the result."""
    height: int
    inner_width: int
    """Of the enlarged picture before it is cropped (`cover`) or padded (`pad`) to the result."""
    inner_height: int
    engine_width: int
    """Of the picture that the engine makes; differs from the inner size when the gateway resamples afterwards."""
    engine_height: int
    factor: float
    """The larger one of the horizontal and the vertical factor from the source to the inner size."""
    fit: str
    """contain, cover, pad or stretch."""

    @property
    def has_result_size(self) -> bool:
        """Whether the engine's picture already has the result's size."""
        return (self.engine_width, self.engine_height) == (self.width, self.height)

    @property
    def largest_pixels(self) -> int:
        """The largest pixel count of any stage: as made, as enlarged before cropping, as delivered."""
        made, inner = self.engine_width * self.engine_height, self.inner_width * self.inner_height
        return max(made, inner, self.width * self.height)

    @property
    def is_resampled(self) -> bool:
        """Whether the gateway finishes by resampling, because the factor is outside the engine's range."""
        return (self.engine_width, self.engine_height) != (self.inner_width, self.inner_height)


@dataclass(frozen=True, slots=True)
class _Asked:
    """The parts of a job that determine the result's size."""

    width: int
    height: int
    values: Mapping[str, Scalar]
    factor: float


def solve_geometry(job: Job, factors: ScaleRange | None = EXACT) -> Geometry:
    """Return the geometry of a job for an engine with these factors, None for an engine that chooses its own.

    Raises `InvalidRequest` when two parameters contradict each other or the result has no pixels.
    """
    # The rules of all offers need this for the same job: cache by the few values that it depends on.
    words = tuple(map(job.values.get, WORDS))
    if is_size_a_shape(job):
        words = (words[0], requested_size(job), *words[2:])
    return _solve(job.image.width, job.image.height, words, job.factor, factors)


@cached_until_rest(128)
def _solve(
    width: int, height: int, words: tuple[Scalar | None, ...], factor: float, factors: ScaleRange | None
) -> Geometry:
    values = {word: value for word, value in zip(WORDS, words, strict=True) if value is not None}
    return _solved(_Asked(width, height, values, factor), factors)


def _solved(asked: _Asked, factors: ScaleRange | None) -> Geometry:
    source_width, source_height = asked.width, asked.height
    fit = str(asked.values.get("fit", "contain"))
    box = _requested_box(asked)
    if box is None:
        factor = _shape_factor(asked)
        inner = _scale(source_width, factor), _scale(source_height, factor)
        width, height = inner
        fit = "contain"  # the result has the source's aspect ratio, so nothing is cropped or padded
    else:
        width, height = box
        inner = _inner_size(source_width, source_height, width, height, fit)
        if fit == "contain":
            width, height = inner
    made = _engine_size(source_width, source_height, inner, factors, fit)
    largest = max(inner[0] / source_width, inner[1] / source_height)
    return Geometry(width, height, *inner, made[0], made[1], largest, fit)


def has_pixel_size(job: Job) -> bool:
    """Return whether the job gives its size in pixels, so that no default factor applies."""
    return "resolution" in job.values or "x" in requested_size(job)


def requested_size(job: Job) -> str:
    """Return the parameter `size`, empty when it is absent; one that is read as a shape as WIDTH:HEIGHT."""
    size = str(job.values.get("size", ""))
    return size.replace("x", ":") if is_size_a_shape(job) else size


def is_size_a_shape(job: Job) -> bool:
    """Return whether only the shape of the caller's `size` counts.

    Clients send `size=1024x1024` unasked under the model names of OpenAI, so that under these a picture is never made
    smaller by it.
    """
    return job.prefers_base64 and is_size_smaller(job)


def is_size_smaller(job: Job) -> bool:
    """Return whether the parameter `size` asks for a smaller picture than the source."""
    size = str(job.values.get("size", ""))
    if "x" not in size:
        return False
    width, height = (int(part) for part in size.split("x"))
    fit = str(job.values.get("fit", "contain"))
    inner = _inner_size(job.image.width, job.image.height, width, height, fit)
    return inner[0] < job.image.width or inner[1] < job.image.height


def requested_frame(job: Job) -> str | None:
    """Return the video frame ("1080p") whose pixel count the picture gets in its own aspect ratio, or None.

    None also when `size` or `aspect_ratio` give the picture another number of pixels.
    """
    frame = str(job.values.get("resolution"))
    if frame not in FRAMES:
        return None
    width, height = job.image.width, job.image.height
    factor = _exact_root(Fraction(FRAMES[frame], width * height))
    geometry = solve_geometry(job, None)
    inner = geometry.inner_width, geometry.inner_height
    return frame if inner == (_scale(width, factor), _scale(height, factor)) else None


def is_large_enough(width: int, height: int, inner: tuple[int, int], factor: Fraction) -> bool:
    """Return whether a picture enlarged by this factor is at least as large as the inner size on both axes."""
    return _scale(width, factor) >= inner[0] and _scale(height, factor) >= inner[1]


def smallest_factor(width: int, height: int, inner: tuple[int, int], factors: Iterable[float]) -> Fraction:
    """Return the smallest of these factors that makes the inner size, or the largest when none does."""
    known = sorted(Fraction(str(one)) for one in factors)
    return next((one for one in known if is_large_enough(width, height, inner, one)), known[-1])


def _shape_factor(asked: _Asked) -> Fraction:
    """Return the factor of a result that has the source's aspect ratio."""
    if "resolution" in asked.values:
        resolution = str(asked.values["resolution"])
        if resolution in FRAMES:
            return _exact_root(Fraction(FRAMES[resolution], asked.width * asked.height))
        return Fraction(RESOLUTIONS[resolution], max(asked.width, asked.height))
    return Fraction(str(asked.values.get("scale_factor", asked.factor)))


def _exact_root(square: Fraction) -> Fraction:
    """Return the square root of a fraction, exact when it has at most nine decimals."""
    return Fraction(isqrt(square.numerator * FINENESS**2 // square.denominator), FINENESS)


def _scale(pixels: int, factor: Fraction) -> int:
    return max(1, round(pixels * factor))


def _engine_size(
    width: int, height: int, inner: tuple[int, int], factors: ScaleRange | None, fit: str
) -> tuple[int, int]:
    """Return the width and height that an engine with these factors makes on the way to the inner size.

    A range of factors reaches every size in it exactly, also with two different factors (`stretch`) unless it is
    uniform. From a closed set, the smallest sufficient factor is used, or else the largest.
    """
    if factors is None:
        return inner
    if factors.only:
        factor = smallest_factor(width, height, inner, factors.only)
        return _scale(width, factor), _scale(height, factor)
    low, high = Fraction(str(factors.low)), Fraction(str(factors.high))
    made = tuple(
        min(max(wanted, ceil(own * low)), floor(own * high)) for wanted, own in zip(inner, (width, height), strict=True)
    )
    if factors.uniform and fit == "stretch":
        factor = min(max(Fraction(inner[0], width), Fraction(inner[1], height), low), high)
        return _scale(width, factor), _scale(height, factor)
    if fit != "stretch" and made != inner:
        factor = high if inner[0] > width * high or inner[1] > height * high else low
        return _scale(width, factor), _scale(height, factor)
    return made[0], made[1]


def _requested_box(asked: _Asked) -> tuple[int, int] | None:
    """Return the width and height of the box that the caller described, or None when only a factor is given."""
    values = asked.values
    size = str(values.get("size", "auto"))
    exact = tuple(int(part) for part in size.split("x")) if "x" in size else None
    ratio = str(values["aspect_ratio"]) if "aspect_ratio" in values else None
    if ":" in size:
        if ratio is not None and _parse_ratio(ratio) != _parse_ratio(size):
            _refuse_disagreement("size", "aspect_ratio")
        ratio = size
    if exact is not None:
        _agree_with_exact(asked, (exact[0], exact[1]), ratio)
        return exact[0], exact[1]
    if "resolution" in values and "scale_factor" in values:
        _refuse_disagreement("resolution", "scale_factor")
    if ratio is None:
        return None
    shape = _parse_ratio(ratio)
    if "resolution" in values:
        return _shape_box(str(values["resolution"]), shape)
    factor = Fraction(str(values.get("scale_factor", asked.factor)))
    width, height = _scale(asked.width, factor), _scale(asked.height, factor)
    if values.get("fit") == "cover":  # the largest box of this shape inside the enlarged picture
        return (
            (width, max(1, round(width / shape)))
            if width / shape <= height
            else (max(1, round(height * shape)), height)
        )
    return (width, max(1, ceil(width / shape))) if width / shape >= height else (max(1, ceil(height * shape)), height)


def _shape_box(resolution: str, shape: Fraction) -> tuple[int, int]:
    """Return the box of an aspect ratio with a resolution's longer side (4K), or its pixel count (1080p)."""
    if resolution in FRAMES:
        area = Fraction(FRAMES[resolution])
        return max(1, round(_exact_root(area * shape))), max(1, round(_exact_root(area / shape)))
    longer = RESOLUTIONS[resolution]
    return (longer, max(1, round(longer / shape))) if shape >= 1 else (max(1, round(longer * shape)), longer)


def _agree_with_exact(asked: _Asked, exact: tuple[int, int], ratio: str | None) -> None:
    if ratio is not None and _parse_ratio(ratio) != Fraction(*exact):
        _refuse_disagreement("size", "aspect_ratio")
    if "resolution" in asked.values and _shape_box(str(asked.values["resolution"]), Fraction(*exact)) != exact:
        _refuse_disagreement("size", "resolution")
    if "scale_factor" in asked.values:
        factor = Fraction(str(asked.values["scale_factor"]))
        if exact != (_scale(asked.width, factor), _scale(asked.height, factor)):
            _refuse_disagreement("size", "scale_factor")


def _parse_ratio(text: str) -> Fraction:
    width, height = text.split(":")
    return Fraction(int(width), int(height))


def _refuse_disagreement(first: str, second: str) -> None:
    message = f"{first} and {second} ask for different sizes; send one of them."
    raise InvalidRequest(message, param=first)


def _inner_size(source_width: int, source_height: int, width: int, height: int, fit: str) -> tuple[int, int]:
    """Return the size of the enlarged picture inside (contain, pad), around (cover) or equal to (stretch) the box."""
    if fit == "stretch":
        return width, height
    across, down = Fraction(width, source_width), Fraction(height, source_height)
    factor = max(across, down) if fit == "cover" else min(across, down)
    if factor == across:
        return width, max(1, round(source_height * factor))
    return max(1, round(source_width * factor)), height
