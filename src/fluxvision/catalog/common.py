"""Rows and converters that models share. Pure functions of the caller's value and the job."""

from __future__ import annotations

from typing import Any

from fluxvision.geometry import RESOLUTIONS, Geometry, solve
from fluxvision.rules import Converted, Emulated, Example, Passthrough, Rule
from fluxvision.types import Fit, Job

SIZE_WORDS = ("scale_factor", "size", "aspect_ratio", "resolution", "fit")


def made_size(_value: Any, job: Job) -> tuple[int, int]:
    """Return the pixels that an engine of exact sizes is asked for, within 1 to 4 times the source."""
    geometry = solve(job)
    return geometry.made_width, geometry.made_height


def fitted(given: Any, job: Job) -> Fit | None:
    """Return what the gateway does after the engine to reach the exact result, None when nothing is left to do."""
    if given is None:
        return None
    geometry = solve(job)
    return None if geometry.finished else Fit(geometry.width, geometry.height, geometry.fit)


def out_of_range(geometry: Geometry) -> str:
    """Say what the gateway does when a size is outside the engine's 1 to 4 times; empty when it is not."""
    if not geometry.resampled:
        return ""
    made = f"{geometry.made_width}x{geometry.made_height}"
    if geometry.made_width < geometry.inner_width:
        return f"more than x4: made at {made}, the rest is plain resampling"
    return f"less than x1: made at {made} and reduced"


def value(given: Any, _job: Job) -> Any:
    """Return the value itself."""
    return given


def response_format(given: Any, job: Job) -> str:
    """Return the format asked for, else base64 for OpenAI's model names (their clients need it) and a link for ours."""
    if given is not None:
        return str(given)
    return "b64_json" if job.alias is not None and job.alias.lower().startswith(("gpt-image", "dall-e")) else "url"


def present(_value: Any, job: Job) -> bool:
    """Return whether the job has a mask."""
    return job.mask is not None


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
        Converted("size", made_size, (Example((400, 300), {"aspect_ratio": "1:1", "fit": "cover"}, (800, 600)),)),
        Emulated(
            "fit",
            fitted,
            (Example((400, 300), {"aspect_ratio": "1:1", "fit": "cover"}, Fit(600, 600, "cover")),),
            note="Shows only with fit cover, pad or stretch; contain keeps the picture's own shape.",
        ),
    ),
    "resolution": (
        Converted("size", made_size, (Example((512, 256), {"resolution": "1K"}, (1024, 512)),)),
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
        ),
    ),
}
"""Rules for an engine that makes any exact size from 1 to 4 times."""

DELIVERY: dict[str, tuple[Rule, ...]] = {
    "n": (Emulated("n", value, (Example((8, 8), {"n": 3}, 3),), note="Run in turn with the seeds seed, seed+1, …."),),
    "response_format": (
        Emulated("response_format", response_format, (Example((8, 8), {"response_format": "b64_json"}, "b64_json"),)),
    ),
    "output_format": (Emulated("output_format", value, (Example((8, 8), {"output_format": "webp"}, "webp"),)),),
    "output_compression": (Emulated("output_compression", value, (Example((8, 8), {"output_compression": 80}, 80),)),),
    "strip_metadata": (Emulated("strip_metadata", value, (Example((8, 8), {"strip_metadata": True}, True),)),),
    "stream": (Emulated("stream", value, (Example((8, 8), {"stream": True}, True),)),),
    "partial_images": (Emulated("partial_images", value, (Example((8, 8), {"partial_images": 2}, 2),)),),
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

__all__ = ["DELIVERY", "EXACT_SIZE", "NO_PLACE", "RESOLUTIONS", "SIZE_WORDS", "out_of_range", "present", "value"]
