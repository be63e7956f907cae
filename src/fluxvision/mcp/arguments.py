"""Builds the body of a request from the arguments of a tool: JSON, or a form where a picture is a file."""

from __future__ import annotations

import re
import secrets
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit
from urllib.request import url2pathname

import msgspec

from fluxvision.core.concurrency import run_in_thread
from fluxvision.core.errors import InvalidRequest
from fluxvision.mcp.api import JSON, RequestBody
from fluxvision.mcp.schemas import FORMS, FORMS_WITH_FILES, MODEL, PICTURES, TRANSPORT

SCHEMES = ("http://", "https://", "data:")
FILE_SCHEME = "file://"
BASE64 = re.compile(r"[A-Za-z0-9+/\s]+=*\s*")
LEAST_BASE64 = 32
"""Characters of base64 in the smallest picture; a shorter text is a wrong path rather than a picture."""
CHUNK = 1024 * 1024


def check_arguments(arguments: Mapping[str, Any]) -> None:
    """Raise `InvalidRequest` for an argument that the tools decide themselves."""
    for name in TRANSPORT:
        if name in arguments:
            message = f"{name}: the tool decides how the result comes; leave it out."
            raise InvalidRequest(message, param=name)


def request_body(arguments: Mapping[str, Any], *, local: bool) -> RequestBody:
    """Return the body of an edit; raises `InvalidRequest` for a picture that cannot be one.

    With `local`, a picture may be the path of a file of this machine.
    """
    fields = {"model": MODEL.id, **{name: value for name, value in arguments.items() if value is not None}}
    paths: dict[str, Path] = {}
    for name in PICTURES:
        if name in fields:
            found = read_reference(name, fields[name], local=local)
            fields[name] = found
            if isinstance(found, Path):
                paths[name] = fields.pop(name)
    return _form(fields, paths) if paths else _json(fields)


def read_reference(name: str, given: Any, *, local: bool) -> str | Path:
    """Return a picture as URL, data URI or existing file; raises `InvalidRequest` for anything else."""
    forms = FORMS_WITH_FILES if local else FORMS
    wrong = InvalidRequest(f"{name} must be {forms}.", param=name)
    if not isinstance(given, str) or not given.strip():
        raise wrong
    text = given.strip()
    if text[:8].lower().startswith(SCHEMES):
        return text
    path = local_path(text) if local else None
    if path is not None and _is_file(path):
        return path
    if len(text) >= LEAST_BASE64 and BASE64.fullmatch(text):
        return "data:;base64," + "".join(text.split())
    if path is not None:
        message = f"{name}: there is no such file, or it cannot be read."
        raise InvalidRequest(message, param=name)
    raise wrong


def local_path(text: str) -> Path | None:
    """Return the absolute path that a text names, with `~` or as file:// URL too; None for anything else."""
    if text[: len(FILE_SCHEME)].lower() == FILE_SCHEME:
        text = url2pathname(urlsplit(text).path)
    path = Path(text)
    if text.startswith("~"):
        try:
            path = path.expanduser()
        except RuntimeError:  # there is no such user
            return None
    return path if path.is_absolute() else None


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a text that is no path, such as base64 that begins with a slash
        return False


def _json(fields: Mapping[str, Any]) -> RequestBody:
    content = msgspec.json.encode(fields)
    return RequestBody(JSON, len(content), _once(content))


async def _once(content: bytes) -> AsyncIterator[bytes]:
    yield content


def _form(fields: Mapping[str, Any], paths: Mapping[str, Path]) -> RequestBody:
    """Return a form of fields and files, which are read while it is sent; raises `InvalidRequest`."""
    boundary = secrets.token_hex(16)
    head = b"".join(_part(boundary, name) + _text(value) + b"\r\n" for name, value in fields.items())
    parts: list[tuple[bytes, BinaryIO, int]] = []
    for name, path in paths.items():
        try:
            file = path.open("rb")
        except OSError:
            for _, other, _ in parts:
                other.close()
            message = f"{name}: the file cannot be read."
            raise InvalidRequest(message, param=name) from None
        parts.append((_part(boundary, name, "picture"), file, path.stat().st_size))
    tail = f"--{boundary}--\r\n".encode()
    length = len(head) + sum(len(start) + size + 2 for start, _, size in parts) + len(tail)
    return RequestBody(f"multipart/form-data; boundary={boundary}", length, _form_chunks(head, parts, tail))


async def _form_chunks(head: bytes, parts: list[tuple[bytes, BinaryIO, int]], tail: bytes) -> AsyncIterator[bytes]:
    try:
        yield head
        for start, file, _ in parts:
            yield start
            while chunk := await run_in_thread(file.read, CHUNK):
                yield chunk
            yield b"\r\n"
        yield tail
    finally:
        for _, file, _ in parts:
            file.close()


def _part(boundary: str, name: str, file_name: str = "") -> bytes:
    shown = f'; filename="{file_name}"' if file_name else ""
    quoted = name.replace("\\", "\\\\").replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
    return f'--{boundary}\r\nContent-Disposition: form-data; name="{quoted}"{shown}\r\n\r\n'.encode()


def _text(value: Any) -> bytes:
    """Return a value as a form has it: text as it is, anything else as JSON."""
    return value.encode() if isinstance(value, str) else msgspec.json.encode(value)
