"""application/json: fields as they are, pictures as URLs, data URIs, or OpenAI's image references."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec

from fluxvision.errors import InvalidRequest
from fluxvision.http.body import Form
from fluxvision.http.fields import one_image, shown

MAX_BODY = 64_000_000
"""The most bytes of any JSON body: it is held in memory, twice while it is decoded. A form goes to the disk."""
MARGIN = 1_000_000
MAX_DEPTH = 16
BOM = b"\xef\xbb\xbf"
REFERENCE_HELP = "an http(s) URL, a data URI, or an object with image_url"


def limit(upload: int) -> tuple[int, str]:
    """Return the most bytes of a body in which a picture of `upload` bytes fits as base64, and words for the error."""
    wanted = upload * 4 // 3 + MARGIN
    advice = "; send a larger picture as multipart/form-data" if wanted > MAX_BODY else ""
    return min(wanted, MAX_BODY), f" for JSON{advice}"


async def read(chunks: AsyncIterator[bytes]) -> Form:
    """Read the whole body, which is bounded by whoever makes the chunks."""
    body = bytearray()
    async for chunk in chunks:
        body += chunk
    if body.startswith(BOM):
        del body[: len(BOM)]
    return await asyncio.to_thread(parse, body)


def parse(body: bytes | bytearray) -> Form:
    """Return the form of a JSON text; raises `InvalidRequest` for everything that is not one flat object."""
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError, ValueError):
        raise InvalidRequest("The request body is not valid JSON.") from None
    if not isinstance(value, dict):
        raise InvalidRequest("The request body must be a JSON object.")
    for name, field in value.items():
        if not _shallow(field, MAX_DEPTH):
            message = f"{shown(name)} is nested too deeply."
            raise InvalidRequest(message, param=shown(name))
    pictures: dict[str, Any] = {}
    image = _image(value.pop("image", None), value.pop("images", None))
    if image is not None:
        pictures["image"] = image
    mask = value.pop("mask", None)
    if mask is not None:
        pictures["mask"] = _reference(mask, "mask")
    return Form(fields=value, pictures=pictures)


def _image(image: Any, images: Any) -> str | None:
    if image is not None and images is not None:
        raise InvalidRequest("image and images are both given; send one of them.", param="image")
    param = "image" if images is None else "images"
    given = image if images is None else images
    if given is None:
        return None
    if images is not None and not isinstance(images, list):
        raise InvalidRequest("images must be a list of image references.", param="images")
    if isinstance(given, list):
        if len(given) > 1:
            raise one_image()
        if not given:
            message = f"{param} is empty."
            raise InvalidRequest(message, param=param)
        given = given[0]
    return _reference(given, param)


def _reference(value: Any, param: str) -> str:
    if isinstance(value, dict):
        if value.get("file_id") is not None:
            message = f"{param}: file_id is not supported, this server keeps no files; send image_url."
            raise InvalidRequest(message, param=param)
        value = value.get("image_url")
    if not isinstance(value, str) or not value:
        message = f"{param} must be {REFERENCE_HELP}."
        raise InvalidRequest(message, param=param)
    return value


def _shallow(value: Any, depth: int) -> bool:
    if depth == 0:
        return False
    if isinstance(value, list | dict):
        return all(_shallow(item, depth - 1) for item in (value.values() if isinstance(value, dict) else value))
    return True
