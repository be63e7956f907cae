"""Mutators of multipart/form-data: names, file names, boundaries, doubled fields, encodings, values out of range."""

from __future__ import annotations

import json
import random
from typing import Any

from fuzz import corpus, pictures, values

Part = tuple[bytes, bytes]
"""The part's head and its content."""
FILE_NAMES = (
    b"a.png",
    b"",
    b"../../etc/passwd",
    b"\xff\xfe",
    b'a\\"b',
    b"a" * 3000,
    b"a\0b",
    b"C:\\x.png",
    b"caf\xc3\xa9",
)
TYPES = (b"image/png", b"text/html", b"", b"image/png; charset=\xff", b"multipart/mixed; boundary=x", b"a" * 400)
ENCODINGS = (b"base64", b"quoted-printable", b"gzip", b"8bit", b"\xff")
NAMES = (
    b"images[]",
    b"image[0]",
    b"image[][]",
    b"a[b][c]",
    b"a[",
    b"]",
    b"a[b",
    b"",
    b"\xff",
    b"a" * 9000,
    b"a\0",
    b"_charset_",
)
NAMES += (b"x" + b"[a]" * 9, b"prompt[]", b"scale[a]", b"model[]", b"mask[1]", b"__proto__", b"n[0]", b"image_url")


def text(value: Any) -> bytes:
    """Return a value as a form has it."""
    shown = value if isinstance(value, str) else json.dumps(value)
    return shown.encode("utf-8", "surrogatepass")


def part(name: bytes, content: bytes, file: bytes | None = None, *heads: bytes) -> Part:
    """Return a part; with `file` it has a file name."""
    shown = b'; filename="' + file + b'"' if file is not None else b""
    lines = (b'Content-Disposition: form-data; name="' + name + b'"' + shown, *heads)
    return b"\r\n".join(lines), content


def parts(chance: random.Random) -> list[Part]:
    """Return the parts of a request that is right but for its picture and the values of its parameters."""
    found = [part(b"model", text(values.model(chance)))]
    if chance.random() < 0.85:
        found.append(part(b"image", pictures.picture(chance), b"a.png"))
    else:
        found.append(part(b"image", text(values.reference(chance))))
    if chance.random() < 0.12:
        found.append(part(b"mask", values.mask(chance), b"m.png"))
    found += [part(name.encode(), text(value)) for name, value in values.parameters(chance)]
    return found


def change(found: list[Part], chance: random.Random) -> None:
    """Change the parts in one way."""
    at = chance.randrange(len(found))
    head, content = found[at]
    name = chance.choice((*(each.encode() for each in values.NAMES), *NAMES))
    others = (
        (head.replace(b"form-data", chance.choice((b"attachment", b"", b"FORM-DATA", b"form-data;;")), 1), content),
        (head.replace(b'"', b"", 1), content),
        (head + b"\r\nContent-Type: " + chance.choice(TYPES), content),
        (head + b"\r\nContent-Transfer-Encoding: " + chance.choice(ENCODINGS), content),
        (head + b"; name*=utf-8''a%ff", content),
        (head + b"\r\nX: " + b"y" * 9000, content),
        (head + b"\r\n" + b"A: b\r\n" * 20, content),
        (head + b"\r\n folded", content),
        (pictures.overwrite(head, chance), content),
        (head, pictures.overwrite(content or b"a", chance)),
        (head, b""),
        (head, content * 3),
        part(name, content),
        part(name, text(values.strange(chance)), chance.choice(FILE_NAMES)),
        part(b"image", pictures.picture(chance), chance.choice(FILE_NAMES)),
    )
    way = chance.randrange(6)
    if way < 4:
        found[at] = chance.choice(others)
    elif way == 4:
        found.insert(chance.randrange(len(found) + 1), chance.choice((found[at], *others)))
    else:
        found[:] = (
            [*found[:at], *found[at + 1 :]] if chance.random() < 0.7 else found[at : at + 1] * chance.choice((2, 250))
        )


def form(chance: random.Random) -> tuple[bytes, bytes]:
    """Return the content type and the body of a form."""
    found = parts(chance)
    for _ in range(chance.choice((0, 0, 1, 1, 2))):
        change(found or [part(b"model", b"x")], chance)
    boundary = b"b" + b"%016x" % chance.getrandbits(64)
    inner = boundary
    kind = b"multipart/form-data; boundary="
    if chance.random() < 0.12:
        boundary, inner = chance.choice(
            (
                (boundary, b"other"),
                (b'"' + boundary + b'"', boundary),
                (b"a b", b"a b"),
                (b"", b""),
                (b"x" * 71,) * 2,
                (b"\xe9", b"\xe9"),
                (b"--", b"--"),
            )
        )
    body = b"".join(b"--" + inner + b"\r\n" + head + b"\r\n\r\n" + content + b"\r\n" for head, content in found)
    body += b"--" + inner + b"--\r\n"
    lot = chance.random()
    if lot < 0.05:
        body = pictures.truncate(body, chance)
    elif lot < 0.08:
        body = body.replace(b"\r\n", b"\n")
    elif lot < 0.11:
        body = chance.randbytes(30) + body + chance.randbytes(30)
    elif lot < 0.13:
        body = body.replace(inner, inner[:-1])
    elif lot < 0.15:
        kind = chance.choice(
            (b"multipart/mixed; boundary=", b"Multipart/Form-Data;BOUNDARY=", b"multipart/form-data; a=b; boundary=")
        )
    return kind + boundary, body


def plain(picture: bytes, *fields: tuple[str, str]) -> tuple[bytes, bytes]:
    """Return the content type and the body of a form with nothing wrong in it but perhaps the picture."""
    found = [part(b"model", values.MODEL.encode()), part(b"image", picture, b"a.png")]
    found += [part(name.encode(), value.encode()) for name, value in fields]
    return encode(found)


def encode(found: list[Part]) -> tuple[bytes, bytes]:
    """Return the content type and the body of a form with these parts."""
    body = b"".join(b"--b0\r\n" + head + b"\r\n\r\n" + content + b"\r\n" for head, content in found)
    return b"multipart/form-data; boundary=b0", body + b"--b0--\r\n"


def simple(chance: random.Random) -> tuple[bytes, bytes]:
    """Return a form with a picture of some kind and how the result shall be."""
    formats = ("png", "png", "png", "jpeg", "webp", "tiff", "gif", "avif")
    given = {
        "output_format": chance.choice(formats),
        "scale_factor": chance.choice(("1", "1", "1", "1", "2", "1.5")),
        "response_format": chance.choice(("b64_json", "url")),
        "strip_metadata": chance.choice(("true", "false")),
        "fit": chance.choice(("contain", "cover", "pad", "stretch")),
    }
    if chance.random() < 0.3:
        given["frames"] = chance.choice(("first", "all"))
    if chance.random() < 0.2:
        given |= {"stream": "true", "partial_images": "2"}
    if chance.random() < 0.2:
        del given["scale_factor"]
        given["size"] = chance.choice(("64x48", "33x7", "16:9"))
    return plain(pictures.picture(chance), *given.items())


CONTROL_PICTURE = corpus.file("png")
CONTROL = plain(CONTROL_PICTURE, ("response_format", "b64_json"), ("scale_factor", "2"))
"""A request that always has to work."""
