"""Reads names of form fields (`a[b]`, `k[]`, image and mask), query parameters and If-None-Match."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qsl

from starlette.datastructures import Headers
from starlette.types import Scope

from fluxvision.catalog.params import ALIASES, BY_NAME
from fluxvision.core.errors import InvalidRequest

IMAGE_NAMES = ("image", "images", "input_image", "input_images", "ref_images", "imageList")
"""What clients call the picture to enlarge, or a list of several.

`ref_images` is LocalAI's name, and `imageList` that of AUTOMATIC1111's web UI.
"""
PICTURE = re.compile(rf"(?:({'|'.join(IMAGE_NAMES)})|(mask))(?:\[\d{{0,4}}\])?")
NAME = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\])*)")
NUMBER = re.compile(r"-?(?:0|[1-9]\d{0,14})(?:\.\d{1,15})?")
OURS = frozenset({"model", "webhook_url", *IMAGE_NAMES, *BY_NAME, *ALIASES})
MAX_DEPTH = 8
MAX_IMAGES = 16
"""Pictures of a request, as many as OpenAI takes."""
SHOWN = 64


def picture_name(name: str) -> str | None:
    """Return `image` for each of `IMAGE_NAMES`, image[] and image[0], `mask` for mask and the like, else None."""
    match = PICTURE.fullmatch(name)
    return None if match is None else match[2] or IMAGE_NAMES[0]


def is_known_field(name: str) -> bool:
    """Return whether a part is a public parameter or the model."""
    return name.partition("[")[0] in OURS


def show_name(name: str) -> str:
    """Return a caller's field name in a form that is safe to show."""
    return "".join(character if character.isprintable() else "?" for character in name[:SHOWN])


def image_key(number: int) -> str:
    """Return the name in `Form.pictures` of the picture with this number, from 0; raises for one too many."""
    if number >= MAX_IMAGES:
        message = f"image: a request has at most {MAX_IMAGES} pictures; several requests, or a batch, take more."
        raise InvalidRequest(message, param="image")
    return f"image.{number}" if number else "image"


def collect_fields(pairs: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Build the fields from the parts of a form, in the notation of OpenAI's SDKs: `k[]` lists, `a[b]` objects.

    Raises `InvalidRequest` naming the field when two parts disagree.
    """
    fields: dict[str, Any] = {}
    for name, text in pairs:
        value = text if is_known_field(name) else _guess_type(text)
        if name.isidentifier():  # most are: the rest is for k[] and a[b]
            _set_member(fields, name, value, name)
            continue
        match = NAME.fullmatch(name)
        if match is None:
            raise _conflict(name, "is not a field name")
        keys = [match[1], *re.findall(r"\[([^\[\]]*)\]", match[2])]
        if len(keys) > MAX_DEPTH:
            raise _conflict(name, "is nested too deeply")
        _place_value(fields, keys, value, name)
    return fields


def _guess_type(text: str) -> Any:
    """Return the text of a provider's own parameter as a number or boolean if it clearly is one, else as text."""
    if text in {"true", "false"}:
        return text == "true"
    if NUMBER.fullmatch(text):
        return float(text) if "." in text else int(text)
    return text


def _place_value(fields: dict[str, Any], keys: list[str], value: Any, name: str) -> None:
    target: Any = fields
    for key, following in zip(keys, [*keys[1:], None], strict=True):
        if isinstance(target, list):
            if key or following is not None:
                raise _conflict(name, "mixes a list with something else")
            target.append(value)
            return
        if not isinstance(target, dict) or not key:
            raise _conflict(name, "is given twice with different values")
        if following is None:
            _set_member(target, key, value, name)
            return
        target = target.setdefault(key, [] if following == "" else {})


def _set_member(target: dict[str, Any], key: str, value: Any, name: str) -> None:
    if target.setdefault(key, value) != value:
        raise _conflict(name, "is given twice with different values")


def _conflict(name: str, reason: str) -> InvalidRequest:
    message = f"{show_name(name)} {reason}."
    return InvalidRequest(message, param=show_name(name))


MAX_PARAMETERS = 100


def query_parameters(scope: Scope) -> dict[str, str]:
    """Return the query parameters by name, the first of each; a name without a value has an empty one."""
    text = scope["query_string"].decode("latin-1")
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=MAX_PARAMETERS)
    except ValueError:
        message = f"The address has more than {MAX_PARAMETERS} parameters."
        raise InvalidRequest(message) from None
    return dict(reversed(pairs))


ENTITY_TAG = re.compile(r'(?:W/)?("[^"]*")')


def is_unmodified(headers: Headers, etag: str) -> bool:
    """Return whether If-None-Match names `etag`: weak comparison, lists and `*` (RFC 9110, 13.1.2)."""
    sent = ",".join(headers.getlist("if-none-match"))
    return sent.strip() == "*" or etag.removeprefix("W/") in ENTITY_TAG.findall(sent)
