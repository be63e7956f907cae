"""An answer's bytes: read up to a limit, and its base64 written to a file in slices."""

from __future__ import annotations

import binascii
from pathlib import Path

import aiohttp
import msgspec
import pybase64

from fluxvision.core.errors import UpstreamError

SLICE = 4 * 1024 * 1024
"""Characters of base64 that are decoded at once."""


async def read(response: aiohttp.ClientResponse, limit: int) -> bytearray:
    """Return a body; raises `UpstreamError` for one over the limit."""
    content = bytearray()
    async for chunk in response.content.iter_any():
        content += chunk
        if len(content) > limit:
            raise UpstreamError("The provider's answer is too long.", billed=True)
    return content


def content(raw: msgspec.Raw) -> bytes | None:
    """Return what a JSON text of base64 stands for, None for null and for an empty text.

    Raises `binascii.Error` or `msgspec.DecodeError` for a text that is no base64.
    """
    text = memoryview(raw)
    if bytes(text[:1]) != b'"':
        return None
    try:
        return pybase64.b64decode(text[1:-1], validate=True) or None
    except binascii.Error:
        return _lenient(msgspec.json.decode(raw, type=str)) or None


def write(raw: msgspec.Raw, path: Path) -> bool:
    """Write what a JSON text of base64 stands for to a new file, in slices; False for null and for an empty text.

    Raises `binascii.Error` or `msgspec.DecodeError` for a text that is no base64.
    """
    text = memoryview(raw)
    if bytes(text[:1]) != b'"' or len(text) == len('""'):
        return False
    slices = (text[start : min(start + SLICE, len(text) - 1)] for start in range(1, len(text) - 1, SLICE))
    with path.open("xb") as file:
        try:
            for each in slices:
                file.write(pybase64.b64decode(each, validate=True))
        except binascii.Error:
            file.seek(0)
            file.truncate()
            file.write(_lenient(msgspec.json.decode(raw, type=str)))
    return True


def _lenient(text: str) -> bytes:
    """Decode base64 with line breaks, or behind the beginning of a data URI, as some servers write it."""
    return binascii.a2b_base64("".join(text.rpartition(",")[2].split()), strict_mode=True)
