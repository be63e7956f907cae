"""Builds the multipart form of a call, encoded as by OpenAI's own clients; large files are read while sending."""

from __future__ import annotations

import secrets
from math import isfinite
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp.abc import AbstractStreamWriter

from fluxvision import imaging
from fluxvision.core.errors import InvalidRequest
from fluxvision.core.types import Call

SMALL = 1_000_000
"""Largest form that is sent in one piece, in bytes."""
CHUNK = 1024 * 1024
DEEPEST = 8
"""Most levels of nesting in the value of an unknown parameter."""

Pieces = tuple[bytes | Path, ...]


def check_call(call: Call) -> None:
    """Raise `InvalidRequest` when a call has a value that cannot be sent in a form."""
    _encode_value("".join(name + text for name, text in _text_fields(call)))


def build_form(call: Call) -> tuple[str, Pieces]:
    """Return the boundary and the pieces of a call's form; raises `InvalidRequest`."""
    boundary = secrets.token_hex(16)
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="'
    text = _encode_value("".join(f'{head}{_quoted(name)}"\r\n\r\n{text}\r\n' for name, text in _text_fields(call)))
    pieces: list[bytes | Path] = []
    for name, source in (("image", call.image), ("mask", call.mask)):
        if source is not None:
            row = imaging.find_format(source.format)
            kind = f'"; filename="{name}.{row.extension}"\r\nContent-Type: {row.mime}\r\n\r\n'
            picture = source.path if source.content is None else source.content
            pieces += [text + f"{head}{name}{kind}".encode(), picture]
            text = b"\r\n"
    return boundary, (*pieces, text + f"--{boundary}--\r\n".encode())


def build_upload(pieces: Pieces) -> bytes | aiohttp.Payload:
    """Return a small form as bytes, and a large one as a payload that reads its files while it is sent."""
    size = sum(map(_encoded_size, pieces))
    if size > SMALL:
        return _Upload(pieces, size)
    return b"".join(piece if isinstance(piece, bytes) else piece.read_bytes() for piece in pieces)


def _encoded_size(piece: bytes | Path) -> int:
    return len(piece) if isinstance(piece, bytes) else piece.stat().st_size


class _Upload(aiohttp.Payload):
    """A form whose files are read while it is sent."""

    _value: Pieces

    def __init__(self, pieces: Pieces, size: int) -> None:
        super().__init__(pieces)
        self._size = size

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Raise an error: the method is only for debugging, and a form is not text."""
        raise TypeError(encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Send all pieces in order."""
        for piece in self._value:
            if isinstance(piece, bytes):
                await writer.write(piece)
                continue
            with piece.open("rb") as file:
                while chunk := file.read(CHUNK):  # just written, so in the page cache: a thread would take longer
                    await writer.write(chunk)


def _text_fields(call: Call) -> list[tuple[str, str]]:
    """Return the form's fields except the pictures."""
    texts = [("model", call.upstream)]
    for name, value in call.body.items():
        _flatten(texts, name, value, name)
    return texts


def _encode_value(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise InvalidRequest("The request holds characters that cannot be sent.") from None


def _flatten(texts: list[tuple[str, str]], name: str, value: Any, param: str, depth: int = 0) -> None:
    """Add a value's form fields, named as OpenAI's own clients name them: a[b] and a[]."""
    match value:
        case None:
            return
        case bool():
            texts.append((name, "true" if value else "false"))
        case str() | int():
            texts.append((name, str(value)))
        case float() if isfinite(value):
            texts.append((name, repr(value).removesuffix(".0")))
        case dict() if depth < DEEPEST:
            for key, part in value.items():
                _flatten(texts, f"{name}[{key}]", part, param, depth + 1)
        case list() | tuple() if depth < DEEPEST:
            for part in value:
                _flatten(texts, f"{name}[]", part, param, depth + 1)
        case _:
            message = f"{param}: this value cannot be sent to the provider."
            raise InvalidRequest(message, param=param)


def _quoted(name: str) -> str:
    """Return a field's name, escaped as by browsers."""
    return name.replace("\r", "%0D").replace("\n", "%0A").replace('"', "%22")
