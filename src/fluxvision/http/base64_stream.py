"""Encodes JSON with whole files as base64 in it, without holding a file in memory."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pybase64

from fluxvision.core.types import ResultImage

SLICE = 3 * 64 * 1024
"""Bytes of a file in one chunk: few enough that a slow line takes one before its caller is given up."""


MARKER = secrets.token_hex(16)
"""Stands for a file while the JSON around it is written; never sent, so that nobody can put it into a text."""


class InMemoryFile:
    """A file that is in memory."""

    __slots__ = ("content",)

    def __init__(self, content: bytes) -> None:
        """Stand for a file of these bytes."""
        self.content = content


def base64_file(picture: ResultImage) -> InMemoryFile | Path:
    """Return what stands for a picture's file."""
    return picture.path if picture.content is None else InMemoryFile(picture.content)


@dataclass(frozen=True, slots=True)
class ChunkedBody:
    """Bytes and files in order; a file stands for its base64."""

    parts: tuple[bytes | InMemoryFile | Path, ...]

    @property
    def length(self) -> int:
        """The length in bytes of the whole body as it is sent."""
        return sum(len(part) if isinstance(part, bytes) else (_encoded_size(part) + 2) // 3 * 4 for part in self.parts)

    def chunks(self) -> Iterator[bytes]:
        """Yield the body in order, in few pieces: what is small travels together.

        A file was written a moment ago and is in memory: a slice of it takes less time than a thread would.
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
            with part.open("rb") as file:
                while chunk := file.read(SLICE):
                    yield pybase64.b64encode(chunk)


def encode_base64(value: Any, before: bytes = b"", after: bytes = b"") -> ChunkedBody:
    """Encode a value as JSON in which every `Path` and every `Held` becomes the base64 text of that file."""
    files: list[InMemoryFile | Path] = []

    def hook(found: Any) -> str:
        if isinstance(found, InMemoryFile | Path):
            files.append(found)
            return MARKER
        return str(found)

    texts = msgspec.json.encode(value, enc_hook=hook).split(MARKER.encode())
    texts[0] = before + texts[0]
    texts[-1] += after
    parts: list[bytes | InMemoryFile | Path] = [texts[0]]
    for file, text in zip(files, texts[1:], strict=True):
        parts += [file, text]
    return ChunkedBody(tuple(parts))


def _encoded_size(part: InMemoryFile | Path) -> int:
    return len(part.content) if isinstance(part, InMemoryFile) else part.stat().st_size
