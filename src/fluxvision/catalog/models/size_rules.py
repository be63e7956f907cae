"""The rules of the five size parameters, for each kind of engine. Pure.

An engine makes any exact size, or takes a factor, or chooses the size itself. In every case the gateway brings the
result to exactly the requested pixels.

The module is long because five parameters share their rules: one that changes changes the others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from typing import Any

from fluxvision.catalog.geometry import (
    EXACT,
    has_pixel_size,
    is_large_enough,
    is_size_a_shape,
    requested_frame,
    requested_size,
    smallest_factor,
    solve_geometry,
)
from fluxvision.catalog.rules import Converted, Emulated, Example, Rule, ScaleRange, Unless, Using
from fluxvision.core.errors import InvalidRequest
from fluxvision.core.types import Fit, Job

ONE_TO_FOUR = ScaleRange(1, 4, uniform=True)
ONE_TO_SIXTEEN = ScaleRange(1, 16)
FINE = 10_000
"""A factor is sent with four decimals, rounded up."""
SHAPE = (400, 300)
"""Width and height of the input in the worked examples."""
WORKED: tuple[tuple[str, dict[str, Any], Fit], ...] = (
    ("scale_factor", {"scale_factor": 2.0}, Fit(800, 600, "contain", (800, 600))),
    ("size", {"size": "1000x1000"}, Fit(1000, 750, "contain", (1000, 750))),
    (
        "aspect_ratio",
        {"aspect_ratio": "1:1", "fit": "cover", "scale_factor": 2.0},
        Fit(600, 600, "cover", (800, 600)),
    ),
    ("resolution", {"resolution": "1K"}, Fit(1024, 768, "contain", (1024, 768))),
)
FINISHED = "The delivered pixels are brought to exactly this size here."
NOT_SENT = "Not sent to the provider: its result is resampled to exactly this size here."
SHAPED = "Shows only with fit cover, pad or stretch; contain keeps the picture's own shape."
Rules = dict[str, tuple[Rule, ...]]


@dataclass(frozen=True, slots=True)
class Modes:
    """The parameter names of a provider that takes either a factor or a video frame's resolution."""

    word: str
    """The parameter that selects between the two."""
    factor: str
    """The value of `word` that selects the factor."""
    target: str
    """The value of `word` that selects the video frame."""
    frame: str
    """The parameter that holds the video frame."""


def exact_size(factors: ScaleRange = EXACT) -> Rules:
    """Return the rules for an engine that makes exact pixel sizes within these factors."""
    size = _size_converted("size", _requested_engine_size(factors))
    fit = _size_emulated(_remaining_fit(factors))
    most = round(100 * factors.high)
    return {
        "scale_factor": (
            size(
                Example((640, 427), {"scale_factor": 2.0}, (1280, 854)),
                Example((640, 427), {"scale_factor": 1.5}, (960, 640)),
                note="The exact pixels are computed and sent.",
                unless=note_beyond_reach(factors),
            ),
        ),
        "size": (
            size(
                Example((512, 512), {"size": "1024x1024"}, (1024, 1024)),
                Example((640, 427), {"size": "1024x1024"}, (1024, 683)),
                Example((1024, 1024), {"size": "512x512"}, (1024, 1024)),
                Example((100, 100), {"size": "2000x2000"}, (most, most)),
                note="The picture keeps its shape inside the box unless fit says otherwise.",
                unless=note_kept_shape(factors),
            ),
            fit(
                Example((512, 512), {"size": "1024x1024"}, None),
                Example((1024, 1024), {"size": "512x512"}, Fit(512, 512, "contain")),
                Example((100, 100), {"size": "2000x2000"}, Fit(2000, 2000, "contain")),
                note=f"Sizes below x1 or above x{factors.high:g} are finished by exact resampling.",
            ),
        ),
        "aspect_ratio": (
            size(
                Example((400, 300), {"aspect_ratio": "1:1", "fit": "cover"}, (800, 600)),
                unless=note_kept_shape(factors),
            ),
            fit(
                Example((400, 300), {"aspect_ratio": "1:1", "fit": "cover"}, Fit(600, 600, "cover")),
                note=SHAPED,
            ),
        ),
        "resolution": (
            size(Example((512, 256), {"resolution": "1K"}, (1024, 512)), unless=note_beyond_reach(factors)),
            fit(Example((2048, 1024), {"resolution": "1K"}, Fit(1024, 512, "contain"))),
        ),
        "fit": (
            fit(
                Example((400, 300), {"size": "800x800", "fit": "pad"}, Fit(800, 800, "pad")),
                Example((400, 300), {"size": "800x800", "fit": "cover"}, Fit(800, 800, "cover")),
                Example((400, 300), {"size": "800x800", "fit": "stretch"}, None),
                unless=note_fit_without_box,
            ),
        ),
    }


def by_factor(to: str, factors: ScaleRange, gives: Sequence[float] = (2.0, 2.5, 2.0, 2.56)) -> Rules:
    """Return the rules for a provider that takes a scale factor in its parameter `to`.

    `gives` are the expected factors of the worked examples, in the order of the parameters.
    """
    return _exact_size_rules(factors, to, _factor_to_send(factors), gives)


def by_factor_or_frame(to: str, factors: ScaleRange, modes: Modes) -> Rules:
    """Return the rules for a provider that takes a video frame if the caller asks for one, and otherwise a factor.

    They never send both, because a factor computed from a frame is rounded.
    """
    told, frame, framing = _factor_to_send(factors), _frame_to_send(factors, modes), {"resolution": "1080p"}

    def factor(given: Any, job: Job) -> float | None:
        return None if frame(given, job) else float(told(given, job))

    def mode(given: Any, job: Job) -> str:
        return modes.target if frame(given, job) else modes.factor

    rules = _exact_size_rules(factors, to, factor, (2.0, 2.5, 2.0, 2.56))
    for name, given, _ in WORKED:
        rules[name] = (*rules[name], Converted(modes.word, mode, (Example(SHAPE, given, modes.factor),)))
    target = Converted(modes.frame, frame, (Example(SHAPE, framing, "1080p"),))
    counts = Converted(modes.word, mode, (Example(SHAPE, framing, modes.target),))
    rules["resolution"] = (target, *rules["resolution"][:-1], counts)
    return rules


def by_size() -> Rules:
    """Return the rules for a provider that takes a scale factor, or pixels as "WxH"."""
    rules = _exact_size_rules(EXACT, "size", _size_to_send, ("800x600", "1000x750", "800x600", "1024x768"))
    factor = Converted(
        "scale_factor", _plain_factor, (Example(SHAPE, {"scale_factor": 2.0}, 2.0),), unless=note_beyond_reach(EXACT)
    )
    return {**rules, "scale_factor": (factor, *rules["scale_factor"][1:])}


def by_itself(factors: ScaleRange | None) -> Rules:
    """Return the rules for a provider that takes no scale factor or size."""
    return _exact_size_rules(factors, None, None, (None,) * 4)


def _exact_size_rules(factors: ScaleRange | None, to: str | None, using: Using | None, gives: Sequence[Any]) -> Rules:
    """Return the rules for a provider whose results the gateway always resamples to the exact size."""
    rules: Rules = {}
    for (name, given, wanted), sent in zip(WORKED, gives, strict=True):
        unless = note_kept_shape(factors) if ":" in str(given[name]) or name == "size" else note_beyond_reach(factors)
        note = SHAPED if name == "aspect_ratio" else FINISHED if to else NOT_SENT
        here = Emulated("fit", _whole_fit, (Example(SHAPE, given, wanted),), note, None if to else unless)
        told = (Converted(to, using, (Example(SHAPE, given, sent),), unless=unless),) if to and using else ()
        rules[name] = (*told, here)
    padded = Example(SHAPE, {"size": "800x800", "fit": "pad"}, Fit(800, 800, "pad", (800, 600)))
    return {**rules, "fit": (Emulated("fit", _whole_fit, (padded,), unless=note_fit_without_box),)}


def note_beyond_reach(factors: ScaleRange | None) -> Unless:
    """Return a check that explains when a size is beyond the engine's range of factors."""

    def check(_given: Any, job: Job) -> str | None:
        geometry = solve_geometry(job, factors)
        if geometry.engine_width >= geometry.inner_width and geometry.engine_height >= geometry.inner_height:
            return None
        high = max(factors.only) if factors and factors.only else factors.high if factors else 0
        made = f"{geometry.engine_width}x{geometry.engine_height}"
        return f"More than x{high:g}: made at {made}, the rest is plain resampling."

    return check


def note_kept_shape(factors: ScaleRange | None) -> Unless:
    """Return a check that explains when an aspect ratio is given and the fit keeps the source's own."""
    limit = note_beyond_reach(factors)

    def check(given: Any, job: Job) -> str | None:
        if "x" in str(given) and is_size_a_shape(job):
            return (
                f"{given} is smaller than this picture, and many clients send it unasked under this model name: only "
                f"its shape counts here. Under another name, such as {job.model}, the result has exactly this size."
            )
        if ":" not in str(given):
            return limit(given, job)
        geometry = solve_geometry(job, factors)
        across, down = (int(part) for part in str(given).split(":"))
        if geometry.fit == "contain" and abs(geometry.width * down - geometry.height * across) > across + down:
            return "The fit contain keeps the picture's own shape; send fit cover, pad or stretch."
        return limit(given, job)

    return check


def note_fit_without_box(given: Any, job: Job) -> str | None:
    """Return a note when `fit` is given without a size to fit the picture into."""
    boxed = job.values.get("size", "auto") != "auto" or "aspect_ratio" in job.values or "resolution" in job.values
    if given != "contain" and not boxed:
        return "There is no box to fit: send size, aspect_ratio or resolution."
    return None


def _size_converted(to: str, using: Using) -> Callable[..., Converted]:
    def rule(*examples: Example, note: str = "", unless: Unless | None = None) -> Converted:
        return Converted(to, using, examples, note, unless)

    return rule


def _size_emulated(using: Using) -> Callable[..., Emulated]:
    def rule(*examples: Example, note: str = "", unless: Unless | None = None) -> Emulated:
        return Emulated("fit", using, examples, note, unless)

    return rule


def _requested_engine_size(factors: ScaleRange) -> Using:
    def using(_value: Any, job: Job) -> tuple[int, int]:
        geometry = solve_geometry(job, factors)
        return geometry.engine_width, geometry.engine_height

    return using


def _remaining_fit(factors: ScaleRange) -> Using:
    """Return a converter to the fit that remains after an engine of exact sizes, None where nothing remains."""

    def using(given: Any, job: Job) -> Fit | None:
        if given is None:
            return None
        geometry = solve_geometry(job, factors)
        return None if geometry.has_result_size else Fit(geometry.width, geometry.height, geometry.fit)

    return using


def _whole_fit(given: Any, job: Job) -> Fit | None:
    """Return the fit to the exact size of the result, for any size that the provider makes."""
    if given is None:
        return None
    geometry = solve_geometry(job, None)
    return Fit(geometry.width, geometry.height, geometry.fit, (geometry.inner_width, geometry.inner_height))


def _factor_to_send(factors: ScaleRange) -> Using:
    """Return a converter to the factor to send: the caller's own if it suffices, otherwise the smallest sufficient."""

    def using(_given: Any, job: Job) -> float:
        width, height = job.image.width, job.image.height
        geometry = solve_geometry(job, None)
        inner = geometry.inner_width, geometry.inner_height
        if factors.only:
            return float(smallest_factor(width, height, inner, factors.only))
        own = job.values.get("scale_factor", None if has_pixel_size(job) else job.factor)
        if own is not None and is_large_enough(width, height, inner, Fraction(str(own))):
            exact = Fraction(str(own))
        else:
            least = max(Fraction(inner[0], width), Fraction(inner[1], height))
            exact = Fraction(ceil(least * FINE), FINE)
        return min(max(float(exact), factors.low), factors.high)

    return using


def _frame_to_send(factors: ScaleRange, modes: Modes) -> Callable[[Any, Job], str | None]:
    """Return a converter to the video frame to send, None when a factor is sent instead.

    A frame is sent when the whole picture gets its pixel count and the provider enlarges that far.
    """

    def using(_given: Any, job: Job) -> str | None:
        wanted, frame = job.extras.get(modes.word), requested_frame(job)
        if frame is None or wanted == modes.factor:
            return None
        if not solve_geometry(job, factors).is_resampled:
            return frame
        if wanted != modes.target:
            return None
        message = (
            f"{modes.word}: {frame} is less than x{factors.low:g} or more than x{factors.high:g} of this picture. "
            f"Without {modes.word} it is made as near as can be, and the rest is plain resampling."
        )
        raise InvalidRequest(message, param=modes.word)

    return using


def _plain_factor(given: Any, job: Job) -> Any:
    """Return the caller's factor within the range, None beside an aspect ratio: pixels are sent, which express both."""
    shaped = "aspect_ratio" in job.values or ":" in requested_size(job)
    return None if shaped or given is None else min(given, EXACT.high)


def _size_to_send(given: Any, job: Job) -> str | None:
    """Return the pixel size to request, None when the provider may choose it."""
    if given == "auto":
        return None
    geometry = solve_geometry(job)
    return f"{geometry.engine_width}x{geometry.engine_height}"
