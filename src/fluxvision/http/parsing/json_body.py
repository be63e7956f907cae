"""application/json: fields as they are, pictures as URLs, data URIs, or OpenAI's image references."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import suppress
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any

import msgspec

from fluxvision.core.concurrency import run_in_thread
from fluxvision.core.errors import InvalidRequest, PayloadTooLarge
from fluxvision.http.parsing.body import MAX_FIELD, MAX_FIELDS, MAX_PARTS, FileReference, Form, Reference
from fluxvision.http.parsing.fields import IMAGE_NAMES, image_key, is_known_field, show_name
from fluxvision.http.upload_limits import Take, release_nothing
from fluxvision.net.fetch import SLICE, read_reference

MAX_BODY = 64_000_000
"""Most bytes of any JSON body, because all of it is in memory for a moment. A form is written to disk."""
MARGIN = 1_000_000
MAX_DEPTH = 16
MAX_MARKS = 100_000
"""Most colons and commas of a body. Base64 has none; each is an object in memory or part of a long text."""
LOOK = 1024 * 1024
"""Bytes that are searched at a time."""
BOM = b"\xef\xbb\xbf"
PICTURES = frozenset({*IMAGE_NAMES, "mask"})
NULL = msgspec.Raw(b"null")
ESCAPE = len(r"\u002b")
"""Characters of the longest escape."""


class _Name:
    """A member's name that is equal to no other, so that a decoder keeps every member with it."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text


_OBJECT = msgspec.json.Decoder(dict[_Name, msgspec.Raw], dec_hook=lambda _type, text: _Name(text))
_LIST = msgspec.json.Decoder(list[msgspec.Raw])
Convert = Callable[[Mapping[str, msgspec.Raw]], Form]
REFERENCE_HELP = "an http(s) URL, a data URI, base64, or an object with image_url or file_id"


def body_limit(upload: int) -> tuple[int, str]:
    """Return the most bytes of a body for a picture of `upload` bytes in base64, and an explanation for the error."""
    wanted = upload * 4 // 3 + MARGIN
    advice = "; send a larger picture as multipart/form-data" if wanted > MAX_BODY else ""
    return min(wanted, MAX_BODY), f" for JSON{advice}"


async def read_json(
    chunks: AsyncIterator[bytes], folder: Path, take: Take = release_nothing, convert: Convert | None = None
) -> Form:
    """Read the whole body, whose size the caller limits; `convert` makes the form of its members, as in `parse_json`.

    What `take` has no memory for is in a mapped file in `folder`, whose memory the system may reclaim at any time.
    """
    body = bytearray()
    async for chunk in chunks:
        if not take(len(chunk)):
            break
        body += chunk
    else:
        return await run_in_thread(parse_json, body, convert)
    path = folder / "body"
    with path.open("x+b") as file:
        file.writelines((body, chunk))
        body.clear()
        async for chunk in chunks:
            file.write(chunk)
        file.flush()
        mapped = mmap(file.fileno(), 0, access=ACCESS_READ)
    path.unlink()  # the room on the disk is free again with the last picture
    return await run_in_thread(parse_json, mapped, convert)


def parse_json(body: bytes | bytearray | mmap, convert: Convert | None = None) -> Form:
    """Return the form that `convert` (`to_form`) makes of a JSON object; raises `InvalidRequest` for other JSON.

    The text of a picture stays in the body, which is freed when the last picture has been read.
    """
    text = memoryview(body)
    if text[: len(BOM)] == BOM:
        text = text[len(BOM) :]
    if _count_marks(text) > MAX_MARKS:
        message = f"The JSON object has more than {MAX_MARKS:,} colons and commas."
        raise PayloadTooLarge(message)
    try:
        return (convert or to_form)(object_members(text))
    except msgspec.ValidationError:
        raise InvalidRequest("The request body must be a JSON object.") from None
    except (RecursionError, ValueError):  # msgspec's errors and those of UTF-8
        raise InvalidRequest("The request body is not valid JSON.") from None


def _count_marks(text: memoryview) -> int:
    pieces = (bytes(text[start : start + LOOK]) for start in range(0, len(text), LOOK))
    return sum(piece.count(b":") + piece.count(b",") for piece in pieces)


def _too_large() -> PayloadTooLarge:
    message = f"The JSON object has more than {MAX_PARTS} members, or over {MAX_FIELDS:,} bytes beside its pictures."
    return PayloadTooLarge(message)


def object_members(text: memoryview | msgspec.Raw) -> dict[str, msgspec.Raw]:
    """Return the members of an object; raises `InvalidRequest` when two of one name differ, as in a form."""
    found: dict[str, msgspec.Raw] = {}
    for name, raw in _OBJECT.decode(text).items():
        if found.setdefault(name.text, raw) != raw:
            message = f"{show_name(name.text)} is given twice with different values."
            raise InvalidRequest(message, param=show_name(name.text))
    return found


def to_form(given: Mapping[str, msgspec.Raw]) -> Form:
    """Return the form of a flat object's members."""
    others = {name: raw for name, raw in given.items() if name not in PICTURES}
    if len(given) > MAX_PARTS or sum(len(memoryview(raw)) for raw in others.values()) > MAX_FIELDS:
        raise _too_large()
    form = Form(fields={name: to_field(name, raw) for name, raw in others.items()})
    for number, reference in enumerate(_read_images(given)):
        form.pictures[image_key(number)] = reference
    mask = given_value(given, "mask")
    if mask is not None:
        form.pictures["mask"] = read_picture(mask, "mask")
    return form


def to_field(name: str, raw: msgspec.Raw) -> Any:
    """Return the value of a member that is not a picture."""
    if "[" in name and is_known_field(name):  # a server behind this one would read it as the parameter
        message = f"{show_name(name)} is how a form writes it; in JSON send {name.partition('[')[0]}."
        raise InvalidRequest(message, param=show_name(name))
    if len(memoryview(raw)) > MAX_FIELD:
        message = f"{show_name(name)}: a field may have at most {MAX_FIELD:,} bytes."
        raise PayloadTooLarge(message, param=show_name(name))
    try:
        value = msgspec.json.decode(raw)
    except msgspec.ValidationError:  # of JSON that is valid: a number that nobody can hold
        message = f"{show_name(name)} has a number that is too large."
        raise InvalidRequest(message, param=show_name(name)) from None
    if not _is_shallow(value, MAX_DEPTH):
        message = f"{show_name(name)} is nested too deeply."
        raise InvalidRequest(message, param=show_name(name))
    return value


def list_items(raw: msgspec.Raw) -> list[msgspec.Raw]:
    """Return the items of a list."""
    return _LIST.decode(raw)


def given_value(found: Mapping[str, msgspec.Raw], name: str) -> msgspec.Raw | None:
    """Return a member, None where it is absent or null."""
    raw = found.get(name)
    return None if raw is None or raw == NULL else raw


def _read_images(given: Mapping[str, msgspec.Raw]) -> Iterator[Reference]:
    """Yield the references of an object's pictures, under whichever name it has them."""
    names = [name for name in IMAGE_NAMES if given_value(given, name) is not None]
    if len(names) > 1:
        message = f"{' and '.join(names)} are both given; send one of them."
        raise InvalidRequest(message, param=names[0])
    for param in names:
        raw = given[param]
        if not begins_with(raw, b"["):
            if param == "images":
                raise InvalidRequest("images must be a list of image references.", param="images")
            yield read_picture(raw, param)
            continue
        several = list_items(raw)
        if not several:
            message = f"{param} is empty."
            raise InvalidRequest(message, param=param)
        yield from (read_picture(one, param) for one in several)


def read_picture(raw: msgspec.Raw, param: str) -> Reference:
    """Return the text of a reference; a data URI as pieces for `fetch.save_data_uri`."""
    found: msgspec.Raw | None = raw
    if begins_with(raw, b"{"):
        members = object_members(raw)
        file_id, found = given_value(members, "file_id"), given_value(members, "image_url")
        if file_id is not None:
            return _read_file_id(file_id, param, alone=found is None)
        found = given_value(members, "data") if found is None else found
        if found is not None and begins_with(found, b"{"):  # as in the messages of a chat
            found = object_members(found).get("url")
    pieces = iter(()) if found is None or not begins_with(found, b'"') else _split_pieces(memoryview(found)[1:-1])
    first = next(pieces, b"")
    if not first:
        message = f"{param} must be {REFERENCE_HELP}."
        raise InvalidRequest(message, param=param)
    return read_reference(first, pieces)


def _read_file_id(raw: msgspec.Raw, param: str, *, alone: bool) -> FileReference:
    text = msgspec.json.decode(raw) if begins_with(raw, b'"') else ""
    if not text or not alone:
        message = f"{param}: file_id must be the id of an uploaded picture, without image_url beside it."
        raise InvalidRequest(message, param=param)
    return FileReference(text)


def begins_with(raw: msgspec.Raw, start: bytes) -> bool:
    """Return whether a value begins with this character, which tells its type."""
    return bytes(memoryview(raw)[:1]) == start


def _split_pieces(text: memoryview) -> Iterator[bytes]:
    """Yield a JSON text in pieces without its escapes: many clients escape the slash or the plus of base64.

    Invalid UTF-8 is not changed; it is neither base64 nor a URL.
    """
    start = 0
    while start < len(text):
        piece = bytes(text[start : start + SLICE])
        if b"\\" in piece:
            cut = piece.rfind(b"\\", len(piece) - ESCAPE + 1)
            if cut > 0 and start + len(piece) < len(text):  # it may go on in the next one
                piece = piece[:cut]
            start += len(piece)
            with suppress(ValueError):
                piece = msgspec.json.decode(b'"%b"' % piece, type=str).encode()
        else:
            start += len(piece)
        yield piece


def _is_shallow(value: Any, depth: int) -> bool:
    if depth == 0:
        return False
    if isinstance(value, list | dict):
        return all(_is_shallow(item, depth - 1) for item in (value.values() if isinstance(value, dict) else value))
    return True
