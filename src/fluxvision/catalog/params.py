"""PARAMS, the table of public parameters: HTTP parsing, CLI flags, schemas and documents are made from its rows.

The module is long because the table is: a row per parameter.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from fluxvision.core.formats import ACCEPTED, FORMATS
from fluxvision.core.types import Scalar

Kind = Literal["string", "integer", "number", "boolean", "choice", "picture"]


@dataclass(frozen=True, slots=True, eq=False)
class Param:
    """A public parameter. Rows are compared and hashed by identity."""

    name: str
    kind: Kind
    help: str
    """One sentence for schemas, documents and the command line's help."""
    default: Scalar | None = None
    """Applies when the parameter is absent; None: the provider or another parameter decides."""
    low: float | None = None
    """Smallest number, or fewest characters, inclusive."""
    high: float | None = None
    """Largest number, or most characters, inclusive."""
    choices: tuple[str, ...] = ()
    """All values of a parameter of kind `choice`."""
    synonyms: Mapping[str, str] = field(default_factory=dict)
    """Other words for some of `choices`, in lower case."""
    pattern: re.Pattern[str] | None = None
    """What a string must match in full, in lower case."""
    pattern_help: str = ""
    """Examples that match `pattern`, for error messages."""
    flag: str | None = None
    """The command line's flag, None if it has none."""
    required: bool = False
    group: str = "Detail"
    """Heading under which documents and the command line list it."""
    aliases: tuple[str, ...] = ()
    """Names that other services have for the same parameter."""
    absent: tuple[str, ...] = ()
    """Values that mean the same as leaving it out, besides those that do so for every parameter."""
    unsupported: str = ""
    """What the receipt says at an offer without a rule for it; empty: every offer must have one."""


def describe_param(param: Param) -> str:
    """Return a phrase for the values that a parameter accepts, such as "a number from 1 to 16"."""
    if param.choices:
        return "one of " + ", ".join(param.choices)
    if param.pattern is not None:
        return f"written like {param.pattern_help}"
    noun = {
        "integer": "a whole number",
        "number": "a number",
        "boolean": "true or false",
        "string": "text",
        "picture": "a picture",
        "choice": "",
    }[param.kind]
    if param.low is None:
        return noun
    if param.kind == "string":
        return f"text of at most {param.high:,.0f} characters"
    return f"{noun} from {param.low:g} to {param.high:.10g}"


def narrow(rows: Sequence[Param], facts: Mapping[str, Mapping[str, Any]]) -> tuple[Param, ...]:
    """Return the rows with some fields replaced, as a model needs them: `facts` by parameter, then by field."""
    return tuple(replace(row, **facts[row.name]) if row.name in facts else row for row in rows)


SIZE = re.compile(r"(?:auto|[1-9]\d{0,5}[xX][1-9]\d{0,5}|[1-9]\d{0,4}:[1-9]\d{0,4})")
ENGINE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
RATIO = re.compile(r"[1-9]\d{0,4}:[1-9]\d{0,4}")
RESTORE = re.compile(r"auto|off|0|1|0?\.\d+|[01]\.0*|0\.\d+")
OUTPUT_FORMATS = tuple(row.name for row in FORMATS if row.writable)

PARAMS: tuple[Param, ...] = (
    Param(
        "image",
        "picture",
        f"The picture to enlarge: {ACCEPTED}.",
        required=True,
        group="Picture",
    ),
    Param(
        "images_mode",
        "choice",
        "Which pictures of a request with several are enlarged: the first, or each by itself; absent: the first, and "
        "the receipt says so.",
        choices=("first", "each"),
        group="Picture",
    ),
    Param(
        "mask",
        "picture",
        "A picture of the same size; new detail appears only where it is transparent.",
        flag="--mask",
        group="Picture",
    ),
    Param(
        "prompt",
        "string",
        "Words that guide the detail, where the engine can be guided.",
        low=0,
        high=32_000,
        group="Detail",
        flag="--prompt",
        unsupported="The provider takes no words: the prompt guided nothing.",
    ),
    Param(
        "negative_prompt",
        "string",
        "Words for what the detail must not show, where the engine can be guided.",
        low=0,
        high=32_000,
        group="Detail",
        flag="--negative-prompt",
        unsupported="The provider takes no words.",
    ),
    Param(
        "scale_factor",
        "number",
        "How many times wider and higher the result is.",
        default=2.0,
        low=1,
        high=16,
        flag="--scale",
        group="Size",
        aliases=("upscale_factor", "scale"),
    ),
    Param(
        "size",
        "string",
        "The size of the result: WIDTHxHEIGHT in pixels, a shape WIDTH:HEIGHT, or auto.",
        pattern=SIZE,
        pattern_help="1024x1024, 16:9 or auto",
        flag="--size",
        group="Size",
    ),
    Param(
        "aspect_ratio",
        "string",
        "The shape of the box that the result is fitted to, WIDTH:HEIGHT; auto is the same as none.",
        pattern=RATIO,
        pattern_help="16:9",
        flag="--aspect-ratio",
        group="Size",
        absent=("auto",),
    ),
    Param(
        "resolution",
        "choice",
        "The longer side of the result: 1K is 1024, 2K 2048 and 4K 4096 pixels; or its pixels in all, as many as a "
        "video of 720p, 1080p, 1440p or 2160p has, in the picture's own shape; auto is the same as none.",
        choices=("1K", "2K", "4K", "720p", "1080p", "1440p", "2160p"),
        flag="--resolution",
        group="Size",
        aliases=("target_resolution",),
        absent=("auto",),
    ),
    Param(
        "fit",
        "choice",
        "How the picture meets a box of another shape: kept inside it, cropped to it, padded, or stretched.",
        default="contain",
        choices=("contain", "cover", "pad", "stretch"),
        flag="--fit",
        group="Size",
    ),
    Param(
        "creativity",
        "number",
        "How much new detail is invented: 0 enlarges faithfully, 1 invents all it can.",
        default=0.3,
        low=0,
        high=1,
        flag="--creativity",
        aliases=("denoising_strength",),
        unsupported="This model has no such control.",
    ),
    Param(
        "resemblance",
        "number",
        "How strongly new detail is held to the original.",
        low=0,
        high=3,
        flag="--resemblance",
        unsupported="This model has no such control.",
    ),
    Param(
        "restore",
        "string",
        "How much of the picture's noise and compression is removed before it is enlarged: auto removes what is "
        "measured, off nothing, a number from 0 to 1 that share of it.",
        default="auto",
        pattern=RESTORE,
        pattern_help="auto, off or 0.5",
        flag="--restore",
        unsupported="The provider has no such stage: it gets the picture as it is.",
    ),
    Param(
        "guidance",
        "number",
        "How closely new detail follows the caption and the prompt.",
        low=1,
        high=4,
        flag="--guidance",
        aliases=("guidance_scale",),
        unsupported="This model has no guidance.",
    ),
    Param(
        "steps",
        "integer",
        "How many denoising steps a full trajectory has.",
        low=4,
        high=50,
        flag="--steps",
        aliases=("num_inference_steps",),
        unsupported="This model has no steps.",
    ),
    Param(
        "seed",
        "integer",
        "Another seed gives another version of the new detail; the same seed the same picture; -1 is the same as none.",
        low=0,
        high=2**32 - 1,
        absent=("-1",),
        flag="--seed",
        unsupported="The provider takes no seed.",
    ),
    Param(
        "engine",
        "string",
        "Which of the model's networks makes the picture; absent, the one that fits is chosen.",
        pattern=ENGINE,
        pattern_help="span",
        flag="--engine",
        unsupported="The provider has one engine.",
    ),
    Param(
        "n",
        "integer",
        "How many versions are made, with the seeds seed, seed+1, …",
        default=1,
        low=1,
        high=10,
        group="Output",
        flag="--n",
        aliases=("num_images",),
    ),
    Param(
        "response_format",
        "choice",
        "Whether a picture comes as a link that works for 60 minutes or as base64.",
        choices=("url", "b64_json"),
        group="Output",
    ),
    Param(
        "output_format",
        "choice",
        "The file format of the result.",
        default="png",
        choices=OUTPUT_FORMATS,
        synonyms={"jpg": "jpeg", "tif": "tiff"},
        flag="--format",
        group="Output",
    ),
    Param(
        "output_compression",
        "integer",
        "The quality of a lossy format, 0 (smallest) to 100 (best).",
        low=0,
        high=100,
        flag="--quality",
        group="Output",
    ),
    Param(
        "frames",
        "choice",
        "Which frames of an animation are enlarged; absent: all, where picture and result are GIF or WebP and the "
        "provider is this server, else the first, and the receipt says so.",
        choices=("first", "all"),
        flag="--frames",
        group="Output",
    ),
    Param(
        "strip_metadata",
        "boolean",
        "Leave out EXIF, XMP and IPTC (the colour profile and the resolution stay).",
        default=False,
        flag="--strip-metadata",
        group="Output",
    ),
    Param(
        "stream",
        "boolean",
        "Answer with server-sent events: a preview, progress, then the result.",
        default=False,
        group="Output",
    ),
    Param(
        "partial_images",
        "integer",
        "How many previews a stream shows before the result.",
        default=0,
        low=0,
        high=3,
        group="Output",
    ),
    Param(
        "strict",
        "boolean",
        "Refuse the request when a parameter cannot be honoured exactly.",
        default=False,
        flag="--strict",
        group="Request",
    ),
    Param(
        "max_cost",
        "number",
        "The most that the request may cost, in dollars; offers whose price is higher or not known are left out.",
        low=0,
        high=10_000,
        flag="--max-cost",
        group="Request",
    ),
    Param(
        "quality",
        "choice",
        "OpenAI's quality word.",
        choices=("auto", "low", "medium", "high", "xhigh", "max", "standard", "hd"),
        group="OpenAI",
        unsupported="The provider has no such word.",
    ),
    Param(
        "style",
        "choice",
        "OpenAI's style word.",
        choices=("vivid", "natural"),
        group="OpenAI",
        unsupported="The picture's own style is kept.",
    ),
    Param(
        "background",
        "choice",
        "OpenAI's background word.",
        choices=("auto", "transparent", "opaque"),
        group="OpenAI",
        unsupported="Transparency is kept as it is in the picture.",
    ),
    Param(
        "input_fidelity",
        "choice",
        "OpenAI's input fidelity word.",
        choices=("low", "high"),
        group="OpenAI",
        unsupported="The provider has no such word; see metadata.fidelity.",
    ),
    Param(
        "moderation",
        "choice",
        "OpenAI's moderation word.",
        choices=("low", "auto"),
        group="OpenAI",
        unsupported="The provider has no such word.",
    ),
    Param(
        "user",
        "string",
        "The caller's own name for its end user.",
        low=0,
        high=512,
        group="Request",
        unsupported="Not sent to the provider.",
    ),
)

BY_NAME: Mapping[str, Param] = {row.name: row for row in PARAMS}
ALIASES: Mapping[str, str] = {alias: row.name for row in PARAMS for alias in row.aliases}
"""Maps the parameter names of other services to the names in `PARAMS`."""
