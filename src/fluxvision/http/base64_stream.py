"""Encodes JSON with whole files as base64 in it, without holding a file in memory."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pybase64

from fluxvision.core.images import ResultImage

SLICE = 3 * 64 * 1024
"""Bytes of a file in one chunk, few enough that a slow connection takes one before the timeout."""


MARKER = secrets.token_hex(16)
"""Replaces a file while the JSON around it is encoded; random, so that no text of a caller contains it."""


class InMemoryFile:
    """A file in memory."""

    __slots__ = ("content",)

    def __init__(self, content: bytes) -> None:
        """Hold these bytes."""
        self.content = content


class FileSize:
    """Replaces a file where only the length of the body is asked for."""

    __slots__ = ("size",)

    def __init__(self, size: int) -> None:
        """Stand for a file of so many bytes."""
        self.size = size


class DataUri:
    """A file as a data URI."""

    __slots__ = ("file", "mime")

    def __init__(self, mime: str, file: InMemoryFile | FileSize | Path) -> None:
        """Hold a placeholder for a file of this media type."""
        self.mime = mime
        self.file = file


def base64_file(picture: ResultImage) -> InMemoryFile | Path:
    """Return a placeholder for the file of a picture, from memory if it is there."""
    return picture.path if picture.content is None else InMemoryFile(picture.content)


Part = bytes | InMemoryFile | FileSize | Path
"""A part of a body."""


@dataclass(frozen=True, slots=True)
class ChunkedBody:
    """Bytes and files in order; a file is sent as base64."""

    parts: tuple[Part, ...]

    @property
    def length(self) -> int:
        """The length in bytes of the whole body as it is sent."""
        return sum(len(part) if isinstance(part, bytes) else (_encoded_size(part) + 2) // 3 * 4 for part in self.parts)

    def chunks(self) -> Iterator[bytes]:
        """Yield the body in few pieces; small parts are joined.

        Files were just written and are in the page cache, so reading a slice takes less time than switching to a
        thread.
        """
        waiting: list[bytes] = []
        for piece in self._pieces():
            waiting.append(piece)
            if sum(map(len, waiting)) >= SLICE:
                yield b"".join(waiting)
                waiting.clear()
        if waiting:
            yield b"".join(waiting)

    def _pieces(self) -> Iterator[bytes]:
        for part in self.parts:
            if isinstance(part, bytes):
                yield part
                continue
            if isinstance(part, InMemoryFile):
                yield pybase64.b64encode(part.content)
                continue
            if isinstance(part, FileSize):
                raise TypeError("a file of which only the size is known")
            with part.open("rb") as file:
                while chunk := file.read(SLICE):
                    yield pybase64.b64encode(chunk)


def encode_base64(value: Any, before: bytes = b"", after: bytes = b"") -> ChunkedBody:
    """Encode a value as JSON in which every file becomes its base64 text."""
    files: list[InMemoryFile | FileSize | Path] = []

    def hook(found: Any) -> str:
        if isinstance(found, InMemoryFile | FileSize | Path):
            files.append(found)
            return MARKER
        if isinstance(found, DataUri):
            return f"data:{found.mime};base64,{hook(found.file)}"
        return str(found)

    texts = msgspec.json.encode(value, enc_hook=hook).split(MARKER.encode())
    texts[0] = before + texts[0]
    texts[-1] += after
    parts: list[Part] = [texts[0]]
    for file, text in zip(files, texts[1:], strict=True):
        parts += [file, text]
    return ChunkedBody(tuple(parts))


def _encoded_size(part: InMemoryFile | FileSize | Path) -> int:
    if isinstance(part, FileSize):
        return part.size
    return len(part.content) if isinstance(part, InMemoryFile) else part.stat().st_size
