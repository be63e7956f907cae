"""Rows and converters that models share. Pure functions of the caller's value and the job."""

from __future__ import annotations

from typing import Any

from fluxvision.geometry import solve
from fluxvision.rules import Converted, Emulated, Example, Passthrough, Rule
from fluxvision.types import Fit, Job

SIZE_WORDS = ("scale_factor", "size", "aspect_ratio", "resolution", "fit")
LOSSLESS = ("png", "gif", "tiff")
MAX_FACTOR = 4.0
VERSIONS = 8


def made_size(_value: Any, job: Job) -> tuple[int, int]:
    """Return the pixels that an engine of exact sizes is asked for, within 1 to 4 times the source."""
    geometry = solve(job, MAX_FACTOR)
    return geometry.made_width, geometry.made_height


def fitted(given: Any, job: Job) -> Fit | None:
    """Return what the gateway does after the engine to reach the exact result, None when nothing is left to do."""
    if given is None:
        return None
    geometry = solve(job, MAX_FACTOR)
    return None if geometry.finished else Fit(geometry.width, geometry.height, geometry.fit)


def beyond(_given: Any, job: Job) -> str | None:
    """Say so when a size is more than the engine can make of the source."""
    geometry = solve(job, MAX_FACTOR)
    if geometry.made_width < geometry.inner_width or geometry.made_height < geometry.inner_height:
        made = f"{geometry.made_width}x{geometry.made_height}"
        return f"More than x{MAX_FACTOR:g}: made at {made}, the rest is plain resampling."
    return None


def shapeless(given: Any, job: Job) -> str | None:
    """Say so when a shape was asked for and the fit keeps the picture's own."""
    if ":" not in str(given):
        return beyond(given, job)
    geometry = solve(job, MAX_FACTOR)
    across, down = (int(part) for part in str(given).split(":"))
    if geometry.fit == "contain" and abs(geometry.width * down - geometry.height * across) > across + down:
        return "The fit contain keeps the picture's own shape; send fit cover, pad or stretch."
    return beyond(given, job)


def boxless(given: Any, job: Job) -> str | None:
    """Say so when a fit was asked for and there is no box to fit."""
    boxed = job.values.get("size", "auto") != "auto" or "aspect_ratio" in job.values or "resolution" in job.values
    if given != "contain" and not boxed:
        return "There is no box to fit: send size, aspect_ratio or resolution."
    return None


def lossless(_given: Any, job: Job) -> str | None:
    """Say so when a quality was asked for and the format has none."""
    output = str(job.values.get("output_format", "png"))
    return f"{output.upper()} is lossless and has no quality." if output in LOSSLESS else None


def flattened(given: Any, job: Job) -> str | None:
    """Say so when transparency is lost."""
    if given == "jpeg" and job.image.alpha:
        return "JPEG has no transparency: the picture is laid on white."
    return None


def previews(given: Any, job: Job) -> str | None:
    """Say so when fewer previews are shown than were asked for."""
    if not given:
        return None
    if not job.values.get("stream"):
        return "Only a stream shows previews."
    return "One preview is shown: the resampled picture." if given > 1 else None


def same(given: Any, job: Job) -> str | None:
    """Say so when versions are alike: without invented detail nothing varies, and there are eight orientations."""
    if given > 1 and job.values.get("creativity") == 0:
        return "Creativity is 0: all versions are the same."
    return "There are eight different versions; more repeat them." if given > VERSIONS else None


def value(given: Any, _job: Job) -> Any:
    """Return the value itself."""
    return given


def response_format(given: Any, job: Job) -> str:
    """Return the format asked for, else base64 for OpenAI's model names (their clients need it) and a link for ours."""
    if given is not None:
        return str(given)
    return "b64_json" if job.prefers_base64 else "url"


EXACT_SIZE: dict[str, tuple[Rule, ...]] = {
    "scale_factor": (
        Converted(
            "size",
            made_size,
            (
                Example((640, 427), {"scale_factor": 2.0}, (1280, 854)),
                Example((640, 427), {"scale_factor": 1.5}, (960, 640)),
            ),
            note="The exact pixels are computed and sent.",
            unless=beyond,
        ),
    ),
    "size": (
        Converted(
            "size",
            made_size,
            (
                Example((512, 512), {"size": "1024x1024"}, (1024, 1024)),
                Example((640, 427), {"size": "1024x1024"}, (1024, 683)),
                Example((1024, 1024), {"size": "512x512"}, (1024, 1024)),
                Example((100, 100), {"size": "1000x1000"}, (400, 400)),
            ),
            note="The picture keeps its shape inside the box unless fit says otherwise.",
            unless=shapeless,
        ),
        Emulated(
            "fit",
            fitted,
            (
                Example((512, 512), {"size": "1024x1024"}, None),
                Example((1024, 1024), {"size": "512x512"}, Fit(512, 512, "contain")),
                Example((100, 100), {"size": "1000x1000"}, Fit(1000, 1000, "contain")),
            ),
            note="Sizes below x1 or above x4 are finished by exact resampling.",
        ),
    ),
    "aspect_ratio": (
        Converted(
            "size",
            made_size,
            (Example((400, 300), {"aspect_ratio": "1:1", "fit": "cover"}, (800, 600)),),
            unless=shapeless,
        ),
        Emulated(
            "fit",
            fitted,
            (Example((400, 300), {"aspect_ratio": "1:1", "fit": "cover"}, Fit(600, 600, "cover")),),
            note="Shows only with fit cover, pad or stretch; contain keeps the picture's own shape.",
        ),
    ),
    "resolution": (
        Converted("size", made_size, (Example((512, 256), {"resolution": "1K"}, (1024, 512)),), unless=beyond),
        Emulated("fit", fitted, (Example((2048, 1024), {"resolution": "1K"}, Fit(1024, 512, "contain")),)),
    ),
    "fit": (
        Emulated(
            "fit",
            fitted,
            (
                Example((400, 300), {"size": "800x800", "fit": "pad"}, Fit(800, 800, "pad")),
                Example((400, 300), {"size": "800x800", "fit": "cover"}, Fit(800, 800, "cover")),
                Example((400, 300), {"size": "800x800", "fit": "stretch"}, None),
            ),
            unless=boxless,
        ),
    ),
}
"""Rules for an engine that makes any exact size from 1 to 4 times."""

N = Emulated("n", value, (Example((8, 8), {"n": 3}, 3),), note="Made with the seeds seed, seed+1, ….")
DELIVERY: dict[str, tuple[Rule, ...]] = {
    "n": (N,),
    "response_format": (
        Emulated("response_format", response_format, (Example((8, 8), {"response_format": "b64_json"}, "b64_json"),)),
    ),
    "output_format": (
        Emulated("output_format", value, (Example((8, 8), {"output_format": "webp"}, "webp"),), unless=flattened),
    ),
    "output_compression": (
        Emulated("output_compression", value, (Example((8, 8), {"output_compression": 80}, 80),), unless=lossless),
    ),
    "strip_metadata": (Emulated("strip_metadata", value, (Example((8, 8), {"strip_metadata": True}, True),)),),
    "stream": (Emulated("stream", value, (Example((8, 8), {"stream": True}, True),)),),
    "partial_images": (
        Emulated("partial_images", value, (Example((8, 8), {"partial_images": 2}, 2),), unless=previews),
    ),
    "strict": (Emulated("strict", value, (Example((8, 8), {"strict": True}, True),), note="Checked on this receipt."),),
}
"""Rules for what the gateway does itself, whatever the provider knows."""

NO_PLACE: dict[str, tuple[Rule, ...]] = {
    "quality": (Passthrough("An enlargement has one quality; use creativity and engine.", sent=False),),
    "style": (Passthrough("The picture's own style is kept.", sent=False),),
    "background": (Passthrough("Transparency is kept as it is in the picture.", sent=False),),
    "input_fidelity": (Passthrough("Fidelity is set by creativity and reported in metadata.fidelity.", sent=False),),
    "moderation": (Passthrough("Pictures are not moderated on this machine.", sent=False),),
    "user": (Passthrough("Nothing is kept about users.", sent=False),),
}
"""Rules for OpenAI's words that an enlargement on this machine has no use for."""
