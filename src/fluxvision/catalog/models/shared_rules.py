"""Rules and converters that several models share, except those of the size parameters. Pure."""

from __future__ import annotations

from typing import Any

from fluxvision.catalog.rules import Converted, Emulated, Example, Passthrough, Rule, Using
from fluxvision.core.formats import find_format
from fluxvision.core.types import Job

VERSIONS = 8


def note_lossless(_given: Any, job: Job) -> str | None:
    """Return a note when output_compression is given and the format has no quality setting."""
    row = find_format(str(job.values.get("output_format", "png")))
    if row.quality is not None:
        return None
    return f"{row.label} is lossless and has no quality." if row.lossless else f"{row.label} has no quality."


def note_format_limits(given: Any, job: Job) -> str | None:
    """Return a note on what the format cannot hold of the picture; the loss of a lossy format itself is no reason."""
    row, image = find_format(given), job.image
    sides = {
        f"{row.label} has no transparency: the picture is laid on white.": image.alpha and not row.alpha,
        f"{row.label} knows no half transparency: a pixel is there or it is not.": image.alpha and not row.shades,
        f"{row.label} has at most {row.bits} bits a sample; this picture has {image.bits}.": image.bits > row.bits,
        f"{row.label} has at most {row.colours} colours: the others become the nearest of them.": row.colours,
        f"{row.label} keeps no colour profile: colours become those of sRGB.": not (row.profile or image.metadata_free),
        f"{row.label} keeps no metadata and no resolution.": not (row.described or image.metadata_free),
    }
    return " ".join(reason for reason, holds in sides.items() if holds) or None


def note_first_picture(job: Job) -> str | None:
    """Return a note when the request has several pictures and does not say which of them are enlarged."""
    if job.pictures == 1 or "images_mode" in job.values:
        return None
    return (
        f"Only the first of {job.pictures} pictures is enlarged: clients send the picture to edit first, and after it "
        "those that it refers to. images_mode=each enlarges every one, images_mode=first agrees to this."
    )


def note_first_frame(_given: Any, job: Job) -> str | None:
    """Return a note when a picture has more frames or pages than the first and the caller does not ask for `frames`."""
    if job.image.frames == 1 or "frames" in job.values:
        return None
    return f"Only the first of its {job.image.frames:,} frames is enlarged; frames=first agrees to that."


def note_other_frames(given: Any, job: Job) -> str | None:
    """Return a note when all frames are asked for and only the first is enlarged."""
    return "Only the first frame is enlarged." if given == "all" and job.image.frames > 1 else None


def note_fewer_previews(given: Any, job: Job) -> str | None:
    """Return a note when fewer previews are shown than requested."""
    if not given:
        return None
    if not job.values.get("stream"):
        return "Only a stream shows previews."
    return "One preview is shown: the resampled picture." if given > 1 else None


def note_identical_versions(given: Any, job: Job) -> str | None:
    """Return a note when versions are identical: without invented detail only the eight orientations can vary."""
    if given > 1 and job.values.get("creativity") == 0:
        return "Creativity is 0: all versions are the same."
    return "There are eight different versions; more repeat them." if given > VERSIONS else None


def constant(sent: Any) -> Using:
    """Return a converter that always returns the same value."""
    return lambda _given, _job: sent


def note_unseeded_versions(given: Any, _job: Job) -> str | None:
    """Return a note when several versions are requested from a provider that takes no seed."""
    return "The provider takes no seed: the versions may be the same." if given > 1 else None


def resolve_response_format(given: Any, job: Job) -> str:
    """Return the requested format, else base64 for OpenAI's model names (their clients need it), else a link."""
    if given is not None:
        return str(given)
    return "b64_json" if job.prefers_base64 else "url"


def restoration_strength(given: Any, _job: Job) -> float:
    """Return the share of noise and compression that is removed: 1 for "auto" and when absent, 0 for "off"."""
    return {None: 1.0, "auto": 1.0, "off": 0.0}[given] if given in {None, "auto", "off"} else float(given)


RESTORED = Converted(
    "restoration",
    restoration_strength,
    (
        Example((8, 8), {"restore": "auto"}, 1.0),
        Example((8, 8), {"restore": "off"}, 0.0),
        Example((8, 8), {"restore": "0.5"}, 0.5),
    ),
    "The share of what is measured; metadata.source has the measurement.",
)
N = Emulated("n", None, (Example((8, 8), {"n": 3}, 3),), note="Made with the seeds seed, seed+1 and so on.")
MASKED = Emulated(
    "apply_mask",
    lambda given, _job: None if given is None else True,
    note="New detail appears only where the mask is transparent; the rest is a faithful enlargement made here.",
)
DELIVERY: dict[str, tuple[Rule, ...]] = {
    "n": (N,),
    "response_format": (
        Emulated(
            "response_format", resolve_response_format, (Example((8, 8), {"response_format": "b64_json"}, "b64_json"),)
        ),
    ),
    "output_format": (
        Emulated(
            "output_format", None, (Example((8, 8), {"output_format": "webp"}, "webp"),), unless=note_format_limits
        ),
    ),
    "output_compression": (
        Emulated("output_compression", None, (Example((8, 8), {"output_compression": 80}, 80),), unless=note_lossless),
    ),
    "frames": (
        Emulated(
            "frames",
            lambda given, _job: None if given is None else 1,
            (Example((8, 8), {"frames": "first"}, 1),),
            unless=note_other_frames,
        ),
    ),
    "images_mode": (Emulated("images_mode", None, (Example((8, 8), {"images_mode": "each"}, "each"),)),),
    "strip_metadata": (Emulated("strip_metadata", None, (Example((8, 8), {"strip_metadata": True}, True),)),),
    "stream": (Emulated("stream", None, (Example((8, 8), {"stream": True}, True),)),),
    "partial_images": (
        Emulated("partial_images", None, (Example((8, 8), {"partial_images": 2}, 2),), unless=note_fewer_previews),
    ),
    "max_cost": (
        Emulated(
            "max_cost", None, (Example((8, 8), {"max_cost": 0.5}, 0.5),), note="Offers that cost more are not used."
        ),
    ),
    "strict": (Emulated("strict", None, (Example((8, 8), {"strict": True}, True),), note="Checked on this receipt."),),
}
"""Rules of the parameters that the gateway handles itself, for any provider."""

NO_PLACE: dict[str, tuple[Rule, ...]] = {
    "quality": (Passthrough("An enlargement has one quality; use creativity and engine.", sent=False),),
    "style": (Passthrough("The picture's own style is kept.", sent=False),),
    "background": (Passthrough("Transparency is kept as it is in the picture.", sent=False),),
    "input_fidelity": (Passthrough("Fidelity is set by creativity and reported in metadata.fidelity.", sent=False),),
    "moderation": (Passthrough("Pictures are not moderated on this machine.", sent=False),),
    "user": (Passthrough("Nothing is kept about users.", sent=False),),
}
"""Rules of OpenAI's parameters that have no effect on an enlargement on this machine."""

SENT: dict[str, tuple[Rule, ...]] = {name: (Passthrough(),) for name in NO_PLACE}
"""Rules of OpenAI's parameters at a provider with OpenAI's API."""


CHECKED: dict[str, tuple[Rule, ...]] = {
    "moderation": (Passthrough("Send enable_safety_checker, the provider's own word.", sent=False),),
}
"""The rule of moderation at a provider with its own moderation setting."""


def lossless_png_rules(to: str) -> dict[str, tuple[Rule, ...]]:
    """Return the rules of `output_format` for a provider that is asked for PNG; the gateway encodes the final file."""
    example = Example((8, 8), {"output_format": "jpeg"}, "png")
    asked = Converted(to, constant("png"), (example,), "The provider is asked for PNG, so that nothing is lost twice.")
    return {"output_format": (asked, *DELIVERY["output_format"])}


def unsupported(**notes: str) -> dict[str, tuple[Rule, ...]]:
    """Return rules for parameters that a provider does not have, each with its reason."""
    return {name: (Passthrough(note, sent=False),) for name, note in notes.items()}


def note_first_frame_in_eight_bits(given: Any, job: Job) -> str | None:
    """Return a note when a provider that works in 8 bits gets a 16-bit picture, or more frames than it is sent."""
    deep = "The provider works in 8 bits; this picture has 16." if job.image.bits > 8 else None  # noqa: PLR2004
    return " ".join(note for note in (deep, note_first_picture(job), note_first_frame(given, job)) if note) or None


IMAGE = Passthrough(
    "Sent without alpha, profile and metadata where the provider cannot take them; they are put back here.",
    unless=note_first_frame_in_eight_bits,
)


def _why_only_first(job: Job) -> str | None:
    """Return why a provider on this machine makes only the first frame of an animation, None when it makes all."""
    if not find_format(job.image.format).animated:
        return "Only the frames of GIF and WebP are read one by one."
    row = find_format(str(job.values.get("output_format", "png")))
    if not row.animated:
        return f"{row.label} is written here without animation; output_format=gif or webp keeps it."
    return "A mask is applied to one frame." if job.mask is not None else None


def count_frames(given: Any, job: Job) -> int | None:
    """Return how many frames a provider on this machine makes; None for a still picture, and where it was not asked."""
    if given != "first" and job.image.frames > 1 and _why_only_first(job) is None:
        return job.image.frames
    return None if given is None else 1


def note_left_frames(given: Any, job: Job) -> str | None:
    """Return a note when frames are left out that the caller did not agree to leave out."""
    reason = _why_only_first(job) if job.image.frames > 1 else None
    note = note_first_frame(given, job) if reason else None
    return " ".join(part for part in (note_first_picture(job), note, note and reason) if part) or None


def note_not_all_frames(given: Any, job: Job) -> str | None:
    """Return a note when all frames are asked for and a provider on this machine makes only the first."""
    reason = _why_only_first(job) if given == "all" and job.image.frames > 1 else None
    return f"Only the first frame is enlarged. {reason}" if reason else None


LOCAL_IMAGE = Passthrough(unless=note_left_frames)
"""The rule of the picture at a provider on this machine, which reads every format."""
LOCAL_FRAMES = Emulated(
    "frames",
    count_frames,
    (Example((8, 8), {"frames": "first"}, 1),),
    unless=note_not_all_frames,
)
"""The rule of `frames` at a provider on this machine."""
