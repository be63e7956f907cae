"""JSON with whole files in it as base64, written without ever holding a file in memory."""

from __future__ import annotations

import asyncio
import base64
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any

import msgspec

SLICE = 3 * 64 * 1024
"""Bytes of a file in one chunk: few enough that a slow line takes one before its caller is given up."""


@dataclass(frozen=True, slots=True)
class Body:
    """Bytes and files in order; a file stands for its base64."""

    parts: tuple[bytes | Path, ...]

    @property
    def length(self) -> int:
        """The length in bytes of the whole body as it is sent."""
        return sum(len(part) if isinstance(part, bytes) else (part.stat().st_size + 2) // 3 * 4 for part in self.parts)

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body in order."""
        for part in self.parts:
            if isinstance(part, bytes):
                yield part
                continue
            with part.open("rb") as file:
                while chunk := await asyncio.to_thread(_encode, file):
                    yield chunk


def encode(value: Any, before: bytes = b"", after: bytes = b"") -> Body:
    """Encode a value as JSON in which every `Path` becomes the base64 text of that file."""
    marker = secrets.token_hex(16)
    files: list[Path] = []

    def hook(found: Any) -> str:
        if isinstance(found, Path):
            files.append(found)
            return marker
        return str(found)

    texts = msgspec.json.encode(value, enc_hook=hook).split(marker.encode())
    texts[0] = before + texts[0]
    texts[-1] += after
    parts: list[bytes | Path] = [texts[0]]
    for file, text in zip(files, texts[1:], strict=True):
        parts += [file, text]
    return Body(tuple(parts))


def _encode(file: BufferedReader) -> bytes:
    return base64.b64encode(file.read(SLICE))
