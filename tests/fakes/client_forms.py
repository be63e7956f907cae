"""Multipart forms byte for byte as the HTTP libraries of real clients write them; their values are fixed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Library = Literal["aiohttp", "requests", "form-data", "undici"]
BOUNDARIES: dict[Library, str] = {
    "aiohttp": "0f3c9a7be1d84f6ca5b2e07d3f918c64",
    "requests": "b7d94e0c62fa4d1f8a35c19e70d26b8f",
    "form-data": "--------------------------415290769234128560473822",
    "undici": "----formdata-undici-048213905176",
}


@dataclass(frozen=True, slots=True)
class File:
    """A file of a form."""

    name: str
    content: bytes
    filename: str
    type: str = "image/png"


Part = File | tuple[str, str]


def form(library: Library, parts: Sequence[Part]) -> tuple[dict[str, str], bytes]:
    """Return headers and body; `requests` is also what httpx writes."""
    boundary = BOUNDARIES[library]
    pieces = [b"--" + boundary.encode() + b"\r\n" + _part(library, part) + b"\r\n" for part in parts]
    body = b"".join(pieces) + f"--{boundary}--\r\n".encode()
    return {"Content-Type": f"multipart/form-data; boundary={boundary}"}, body


def _part(library: Library, part: Part) -> bytes:
    if isinstance(part, File):
        place = f'Content-Disposition: form-data; name="{part.name}"; filename="{part.filename}"'
        lines, content = [place, f"Content-Type: {part.type}"], part.content
    else:
        lines, content = [f'Content-Disposition: form-data; name="{part[0]}"'], part[1].encode()
        if library == "aiohttp":
            lines.append("Content-Type: text/plain; charset=utf-8")
    if library == "aiohttp":  # it names the type first
        lines.reverse()
    return "\r\n".join([*lines, "", ""]).encode() + content
