"""Mutators of JSON bodies: depth, numbers, names given twice, surrogates, broken references, wrong types."""

from __future__ import annotations

import base64
import json
import random
from typing import Any

from fuzz import pictures, values

TYPES = (
    b"application/json",
    b"application/json; charset=utf-8",
    b"application/json;charset=utf-16",
    b"APPLICATION/JSON",
)
OTHER_TYPES = (b"text/json", b"application/json, text/html", b"", b"application/x-www-form-urlencoded", b"\xff/\xfe")
LITERALS = (
    b"NaN",
    b"Infinity",
    b"-0",
    b"1e400",
    b"1e-400",
    b"01",
    b"9" * 400,
    b'"\\ud800"',
    b'"\\u0000"',
    b'"\xff"',
    b"tru",
)
LITERALS += (
    b"[" * 1000,
    b"[" * 200_000,
    b'{"a":' * 600 + b"1" + b"}" * 600,
    b"[]",
    b"{}",
    b"null",
    b"'a'",
    b'"\t"',
    b"1.",
    b"\xef\xbb\xbf",
)


def nested(chance: random.Random) -> Any:
    """Return a value in lists and objects."""
    found: Any = values.strange(chance)
    for _ in range(chance.choice((1, 2, 17, 200))):
        found = [found] if chance.random() < 0.5 else {chance.choice(("", "a", "image_url", "é\0")): found}
    return found


def image(chance: random.Random) -> Any:
    """Return what can stand for a picture, or hardly."""
    address = values.reference(chance)
    if chance.random() < 0.6:
        return address
    ways = (
        {"image_url": address},
        {"image_url": {"url": address}},
        {"url": address},
        [address],
        [{"image_url": address}],
        [address, address],
        {"file_id": "file-1"},
        {"image_url": address, "file_id": "x"},
        {"image_url": None},
        [],
        {},
        "",
        True,
        [[[]]],
        values.strange(chance),
        nested(chance),
    )
    return chance.choice(ways)


def encoded(data: bytes) -> str:
    """Return bytes in base64."""
    return base64.b64encode(data).decode()


def fields(chance: random.Random) -> dict[str, Any]:
    """Return the fields of a request for an edit."""
    found: dict[str, Any] = {
        "model": values.model(chance),
        chance.choice(("image", "image", "image", "images")): image(chance),
    }
    if chance.random() < 0.15:
        found["mask"] = image(chance)
    found |= dict(values.parameters(chance))
    if chance.random() < 0.25:
        found[chance.choice((*values.NAMES, "model", "a", "image[]", "prompt[0]", "", "é" * 99))] = nested(chance)
    if chance.random() < 0.02:
        found |= {f"a{number}": number for number in range(300)}
    return found


def document(chance: random.Random) -> tuple[bytes, bytes]:
    """Return the content type and the body of a JSON request."""
    found = fields(chance)
    body = json.dumps(found, ensure_ascii=chance.random() < 0.5).encode("utf-8", "surrogatepass")
    lot = chance.random()
    if lot < 0.05:
        body = pictures.truncate(body, chance)
    elif lot < 0.10:
        body = pictures.flip_bits(body, chance)
    elif lot < 0.14:
        body = pictures.overwrite(body, chance)
    elif lot < 0.24:
        name = chance.choice((*values.NAMES, "image", "model", "model")).encode()
        body = body[:-1] + b',"' + name + b'":' + chance.choice(LITERALS) + b"}"
    elif lot < 0.28:
        body = chance.choice(
            (*LITERALS, b"", b"1", b'"image"', body + body, b"[" + body + b"]", b"\xef\xbb\xbf" + body)
        )
    elif lot < 0.30:
        body = body.decode("utf-8", "replace").encode(chance.choice(("utf-16", "utf-32", "latin-1")), "replace")
    elif lot < 0.33:
        body = body.replace(b"/", b"\\/").replace(b"+", b"\\u002b")
    kind = chance.choice(TYPES) if chance.random() < 0.9 else chance.choice(OTHER_TYPES)
    return kind, body
