"""A request's body as chunks, with limits on size, time and speed, and the form that it is parsed into."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from starlette.datastructures import Headers
from starlette.types import Receive, Scope

from fluxvision.core.errors import InvalidRequest, PayloadTooLarge, UnsupportedMediaType, UploadTooSlow

MAX_PARTS = 200
"""Parts of a form, or members of a JSON object."""
MAX_FIELD = 1_000_000
"""Most bytes of one field that is not a picture."""
MAX_FIELDS = 4_000_000
"""Most bytes of all such fields."""
BYTES_PER_SECOND = 8 * 1024
"""Slowest accepted upload or download, after the first `upload_timeout` seconds."""

MAX_STRUCT = 65_536
"""Most bytes of a JSON body without pictures."""
FIELD = re.compile(r"field `(\w{1,64})`")
"""How msgspec names a missing or unknown member."""
LONGEST_REASON = 200

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class FileReference:
    """A picture that was uploaded to /files, by its id there."""

    id: str


Reference = Path | str | Iterator[bytes] | FileReference


@dataclass(slots=True)
class Form:
    """A parsed request: fields by name; pictures as a file or reference, by the names of `fields.image_key`.

    Those are `image`, `image.1` and so on, and `mask`. A data URI may be in pieces, which are read once. `contents` has
    the files that are in memory and not written.
    """

    fields: dict[str, Any] = field(default_factory=dict)
    pictures: dict[str, Reference] = field(default_factory=dict)
    contents: dict[str, bytes] = field(default_factory=dict)
    filenames: dict[str, str] = field(default_factory=dict)
    """What a form calls the files."""
    places: dict[str, str] = field(default_factory=dict)
    """How errors name the pictures that are not in a parameter of their own, such as `messages[0].content[1]`."""


def content_type(headers: Headers) -> str:
    """Return the body's media type; raises for a compressed body."""
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if encoding not in {"", "identity"}:
        raise UnsupportedMediaType("Compressed request bodies are not read; send the body without Content-Encoding.")
    return headers.get("content-type", "")


def content_length(headers: Headers, limit: int, hint: str = "") -> int | None:
    """Return the announced length of the body, None without one.

    Raises `PayloadTooLarge` for one over the limit, before anything is read.
    """
    text = headers.get("content-length")
    if text is None:
        return None
    if not (text.isascii() and text.isdigit()):
        raise InvalidRequest("The Content-Length header is not a number.")
    if len(text) > len(str(limit)) or int(text) > limit:
        raise too_large_error(limit, hint)
    return int(text)


def too_large_error(limit: int, hint: str = "") -> PayloadTooLarge:
    """Return the error for a body over the limit; `hint` explains the limit and what to do."""
    message = f"The request body is larger than the limit of {limit:,} bytes{hint}."
    return PayloadTooLarge(message)


async def body_chunks(
    receive: Receive,
    limit: int,
    idle: float,
    hint: str = "",
    *,
    announced: int | None = None,
    speed: float = BYTES_PER_SECOND,
) -> AsyncIterator[bytes]:
    """Yield the body as it arrives; with an `announced` length, the end is known without another message.

    Raises `PayloadTooLarge` after more than `limit` bytes, `UploadTooSlow` after `idle` seconds without a byte or for a
    body slower than `speed` bytes per second, and `InvalidRequest` for a truncated body.
    """
    seen, waited, more = 0, 0.0, True
    while more:
        patience = min(idle, idle + seen / speed - waited)
        started = time.monotonic()
        try:
            async with asyncio.timeout(max(patience, 0.0)):
                message = await receive()
        except TimeoutError:
            raise UploadTooSlow("The request body did not arrive in time.") from None
        waited += time.monotonic() - started
        if message["type"] == "http.disconnect":  # or chunks that cannot be read: both look alike
            raise InvalidRequest("The request body broke off, or its chunks cannot be read.")
        chunk = message.get("body", b"")
        seen += len(chunk)
        more = message.get("more_body", False) and seen != announced
        if seen > limit:
            raise too_large_error(limit, hint)
        if chunk:
            yield chunk


async def read_struct(scope: Scope, receive: Receive, idle: float, kind: type[T]) -> T:
    """Read a small JSON body; raises `InvalidRequest` that names the member which is wrong."""
    headers = Headers(scope=scope)
    content_type(headers)
    length = content_length(headers, MAX_STRUCT)
    content = b"".join([chunk async for chunk in body_chunks(receive, MAX_STRUCT, idle, announced=length)])
    try:
        return msgspec.json.decode(content, type=kind)
    except msgspec.ValidationError as error:
        reason, _, place = str(error).partition(" - at `$")
        named = FIELD.search(reason)
        param = named[1] if named else place.strip(".`").partition("[")[0] or None
        message = f"{param or 'The request body'}: {reason[:LONGEST_REASON]}."
        raise InvalidRequest(message, param=param) from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise InvalidRequest("The request body is not valid JSON.") from None
