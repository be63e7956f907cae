"""application/json: fields as they are, pictures as URLs, data URIs, or OpenAI's image references."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec

from fluxvision.errors import InvalidRequest
from fluxvision.http.body import Form, too_large
from fluxvision.http.fields import one_image, shown

MAX_BODY = 32 * 1024 * 1024
MAX_DEPTH = 16
BOM = b"\xef\xbb\xbf"
REFERENCE_HELP = "an http(s) URL, a data URI, or an object with image_url"


async def read(chunks: AsyncIterator[bytes]) -> Form:
    """Read the whole body. It is held in memory, hence a limit below that of uploads."""
    body = bytearray()
    async for chunk in chunks:
        body += chunk
        if len(body) > MAX_BODY:
            raise too_large(MAX_BODY)
    return parse(bytes(body.removeprefix(BOM)))


def parse(body: bytes) -> Form:
    """Return the form of a JSON text; raises `InvalidRequest` for everything that is not one flat object."""
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError, ValueError):
        raise InvalidRequest("The request body is not valid JSON.") from None
    if not isinstance(value, dict):
        raise InvalidRequest("The request body must be a JSON object.")
    for name, field in value.items():
        if not _plain(field, MAX_DEPTH):
            message = f"{shown(name)} is nested too deeply or holds text that is not Unicode."
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


def _plain(value: Any, depth: int) -> bool:
    if depth == 0:
        return False
    if isinstance(value, str):
        return value.isascii() or not any("\ud800" <= character <= "\udfff" for character in value)
    if isinstance(value, list):
        return all(_plain(item, depth - 1) for item in value)
    if isinstance(value, dict):
        return all(_plain(key, depth) and _plain(item, depth - 1) for key, item in value.items())
    return True
