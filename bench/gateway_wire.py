"""As much of HTTP/1.1 as the two ends of `gateway.py` need: where a message ends, and the form that is sent."""

from __future__ import annotations

import secrets
from pathlib import Path

HEAD = b"\r\n\r\n"
LAST_CHUNK = b"\r\n0\r\n\r\n"
FIELDS = {"prompt": "a photo", "scale_factor": "2", "response_format": "b64_json"}


class Message:
    """One request or response as it arrives. Its body is counted, and kept where `keep` says so."""

    def __init__(self, *, keep: bool = False) -> None:
        """Begin with nothing."""
        self.head = b""
        self.body = bytearray()
        self.count = 0
        self._keep = keep
        self._start = b""
        self._length: int | None = None
        self._tail = b""

    def take(self, data: bytes) -> bool:
        """Take what arrived; return whether the message is whole."""
        if not self.head:
            head, found, data = (self._start + data).partition(HEAD)
            if not found:
                self._start = head
                return False
            self.head = head
            self._length = self._announced(head.lower())
        self.count += len(data)
        if self._keep:
            self.body += data
        if self._length is not None:
            return self.count >= self._length
        self._tail = (self._tail + data[-len(LAST_CHUNK) :])[-len(LAST_CHUNK) :]
        return self._tail == LAST_CHUNK

    @staticmethod
    def _announced(head: bytes) -> int | None:
        _, found, rest = head.partition(b"\r\ncontent-length:")
        if found:
            return int(rest.partition(b"\r\n")[0])
        return None if b"\r\ntransfer-encoding:" in head else 0

    def content(self) -> bytes:
        """Return the kept body without the lengths of chunks."""
        if self._length is not None:
            return bytes(self.body)
        parts, rest = [], bytes(self.body)
        while rest:
            length, _, rest = rest.partition(b"\r\n")
            parts.append(rest[: int(length, 16)])
            rest = rest[int(length, 16) + 2 :]
        return b"".join(parts)


def form(boundary: str, fields: dict[str, str]) -> tuple[bytes, bytes]:
    """Return what stands before and behind the picture in a form like that of OpenAI's SDKs."""
    part = f'--{boundary}\r\nContent-Disposition: form-data; name="'
    before = "".join(f'{part}{name}"\r\n\r\n{value}\r\n' for name, value in fields.items())
    before += f'{part}image"; filename="source.png"\r\nContent-Type: image/png\r\n\r\n'
    return before.encode(), f"\r\n--{boundary}--\r\n".encode()


def upload(port: int, path: str, key: str, model: str, picture: Path) -> bytes:
    """Return the whole request of an edit."""
    boundary = secrets.token_hex(16)
    before, behind = form(boundary, {"model": model, **FIELDS})
    body = before + picture.read_bytes() + behind
    lines = (
        f"POST {path} HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        f"Authorization: Bearer {key}",
        f"Content-Type: multipart/form-data; boundary={boundary}",
        f"Content-Length: {len(body)}",
        "Accept: application/json",
    )
    return "\r\n".join(lines).encode() + HEAD + body
