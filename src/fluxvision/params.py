"""PARAMS: one row per public parameter. HTTP parsing, CLI flags, schemas and documents all come from these rows."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from fluxvision.errors import InvalidRequest
from fluxvision.types import Scalar

Kind = Literal["string", "integer", "number", "boolean", "choice", "picture"]

SIZE = re.compile(r"(?:auto|[1-9]\d{0,5}[xX][1-9]\d{0,5}|[1-9]\d{0,4}:[1-9]\d{0,4})")
RATIO = re.compile(r"[1-9]\d{0,4}:[1-9]\d{0,4}")
TRUE = frozenset({"true", "1", "yes", "on"})
FALSE = frozenset({"false", "0", "no", "off"})
UNSET_WORDS = frozenset({"", "null", "none", "undefined"})
SHOWN = 40


@dataclass(frozen=True, slots=True)
class Param:
    """A public parameter: its type, range, default, and the words that explain it.

    `low` and `high` bound numbers (inclusive) and the length of strings. `choices` closes a set; `pattern` restricts a
    string. `flag` is the CLI's spelling, None where the CLI has no such flag. `default` is what applies when the
    parameter is absent, None where the provider or another parameter decides.
    """

    name: str
    kind: Kind
    help: str
    default: Scalar | None = None
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    pattern: re.Pattern[str] | None = None
    pattern_help: str = ""
    flag: str | None = None
    required: bool = False
    group: str = "Detail"


FORMATS = ("png", "jpeg", "webp", "avif", "gif", "tiff")

PARAMS: tuple[Param, ...] = (
    Param(
        "image",
        "picture",
        "The picture to enlarge: PNG, JPEG, WebP, GIF (first frame), AVIF, TIFF or BMP.",
        required=True,
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
    ),
    Param(
        "scale_factor",
        "number",
        "How many times wider and higher the result is.",
        default=2.0,
        low=1,
        high=4,
        flag="--scale",
        group="Size",
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
        "The shape of the box that the result is fitted to, WIDTH:HEIGHT.",
        pattern=RATIO,
        pattern_help="16:9",
        flag="--aspect-ratio",
        group="Size",
    ),
    Param(
        "resolution",
        "choice",
        "The longer side of the result: 1K is 1024, 2K 2048 and 4K 4096 pixels.",
        choices=("1K", "2K", "4K"),
        flag="--resolution",
        group="Size",
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
    ),
    Param(
        "guidance",
        "number",
        "How closely new detail follows the caption and the prompt.",
        low=1,
        high=4,
        flag="--guidance",
    ),
    Param("steps", "integer", "How many denoising steps a full trajectory has.", low=4, high=50, flag="--steps"),
    Param(
        "seed",
        "integer",
        "Another seed gives another version of the new detail; the same seed the same picture.",
        low=0,
        high=2**32 - 1,
        flag="--seed",
    ),
    Param(
        "engine",
        "choice",
        "Which network makes the picture; absent, the one that fits the picture is chosen.",
        choices=("span", "quality", "restore"),
        flag="--engine",
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
        choices=FORMATS,
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
        "quality",
        "choice",
        "OpenAI's quality word.",
        choices=("auto", "low", "medium", "high", "xhigh", "max", "standard", "hd"),
        group="OpenAI",
    ),
    Param("style", "choice", "OpenAI's style word.", choices=("vivid", "natural"), group="OpenAI"),
    Param(
        "background", "choice", "OpenAI's background word.", choices=("auto", "transparent", "opaque"), group="OpenAI"
    ),
    Param("input_fidelity", "choice", "OpenAI's input fidelity word.", choices=("low", "high"), group="OpenAI"),
    Param("moderation", "choice", "OpenAI's moderation word.", choices=("low", "auto"), group="OpenAI"),
    Param("user", "string", "The caller's own name for its end user.", low=0, high=512, group="Request"),
)

BY_NAME: Mapping[str, Param] = {row.name: row for row in PARAMS}


def coerce(param: Param, value: Any) -> Scalar | None:
    """Return a form string or JSON value as the row's type, or None where it means "not given".

    Raises `InvalidRequest` naming the parameter when the value has the wrong type or is out of range.
    """
    free = param.kind == "string" and param.pattern is None
    if value is None or (not free and isinstance(value, str) and value.strip().lower() in UNSET_WORDS):
        return None
    coerced: Scalar = _TYPES[param.kind](param, value)
    _check_range(param, coerced)
    return coerced


def describe(param: Param) -> str:
    """Say in a few words which values the row takes."""
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


def _refuse(param: Param, value: Any) -> InvalidRequest:
    shown = "this value" if isinstance(value, list | dict) else repr(value)
    if isinstance(value, str) and len(value) > SHOWN:
        shown = f"a text of {len(value):,} characters"
    elif len(shown) > SHOWN:
        shown = "this value"
    if param.name == "prompt":
        shown = "the prompt"
    return InvalidRequest(f"{param.name}: {shown} is not {describe(param)}.", param=param.name)


def _string(param: Param, value: Any) -> str:
    if not isinstance(value, str) or "\x00" in value or _has_surrogate(value):
        raise _refuse(param, value)
    if param.pattern is None:
        return value
    text = value.strip().lower()
    if not param.pattern.fullmatch(text):
        raise _refuse(param, value)
    return text


def _has_surrogate(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def _number(param: Param, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise _refuse(param, value)
    try:
        number = float(value)
    except (ValueError, OverflowError):
        raise _refuse(param, value) from None
    if not math.isfinite(number) or (isinstance(value, str) and "_" in value):
        raise _refuse(param, value)
    return number


def _integer(param: Param, value: Any) -> int:
    number = _number(param, value)
    if number != int(number):
        raise _refuse(param, value)
    return int(number)


def _boolean(param: Param, value: Any) -> bool:
    if isinstance(value, bool):
        return value
    word = value.strip().lower() if isinstance(value, str) else str(value)
    if word in TRUE:
        return True
    if word in FALSE:
        return False
    raise _refuse(param, value)


def _choice(param: Param, value: Any) -> str:
    if isinstance(value, str):
        for choice in param.choices:
            if choice.lower() == value.strip().lower():
                return choice
        if param.name == "output_format" and value.strip().lower() in {"jpg", "tif"}:
            return {"jpg": "jpeg", "tif": "tiff"}[value.strip().lower()]
    raise _refuse(param, value)


def _picture(param: Param, _value: Any) -> Scalar:
    message = f"{param.name} must be a picture file."
    raise InvalidRequest(message, param=param.name)


_TYPES: Mapping[Kind, Callable[[Param, Any], Scalar]] = {
    "string": _string,
    "number": _number,
    "integer": _integer,
    "boolean": _boolean,
    "choice": _choice,
    "picture": _picture,
}


def _check_range(param: Param, value: Scalar) -> None:
    if param.low is None or param.high is None:
        return
    measure = len(value) if isinstance(value, str) else value
    if not param.low <= measure <= param.high:
        raise _refuse(param, value)
