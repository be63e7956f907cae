"""Mutators of HTTP itself: framing, lengths, headers, methods, paths, and callers that stop, wait or leave."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from fuzz import documents, forms, headers, pictures

Body = tuple[bytes, bytes]
"""Content type and body."""
EDITS = b"/v1/images/edits"


class Act(Enum):
    """What a caller does beside sending."""

    HALF_CLOSE = "sends nothing more"
    LEAVE = "closes the connection"
    RESET = "closes it without a farewell"


@dataclass(frozen=True, slots=True)
class Read:
    """Reads some bytes of the answer."""

    size: int


Step = bytes | float | Act | Read


@dataclass(frozen=True, slots=True)
class Script:
    """What one connection does, and how many answers have to come.

    A `malformed` request may be answered by the HTTP library itself, or with the end of the connection. A number among
    the steps is a pause in seconds.
    """

    kind: str
    steps: tuple[Step, ...]
    answers: int = 1
    malformed: bool = False
    method: str = "POST"

    @property
    def sent(self) -> bytes:
        """All bytes that are sent."""
        return b"".join(step for step in self.steps if isinstance(step, bytes))


def access(chance: random.Random) -> bytes:
    """Return the headers that let a request in: a key, or the page's own; sometimes none that do."""
    lot = chance.random()
    if lot < 0.82:
        return b"Authorization: Bearer " + headers.KEY + b"\r\n"
    if lot < 0.95:
        return b"X-Fluxvision-Client: page\r\n"
    wrong = (b"", b"Authorization: Bearer wrong\r\n", b"Authorization: Basic \xff\r\n", b"Authorization:\r\n")
    return chance.choice(
        (*wrong, b"X-Fluxvision-Client: page\r\nOrigin: http://a.example\r\n", b"X-Fluxvision-Client: \xff\r\n")
    )


def head(chance: random.Random, kind: bytes, *lines: bytes, path: bytes = EDITS, method: bytes = b"POST") -> bytes:
    """Return a request's head without the empty line behind it."""
    host = headers.HOST if chance.random() < 0.96 else chance.choice(headers.HOSTS)
    start = method + b" " + path + b" HTTP/1.1\r\nHost: " + host + b"\r\n" + access(chance)
    return start + b"Content-Type: " + kind + b"\r\n" + b"".join(line + b"\r\n" for line in lines)


def length(body: bytes) -> bytes:
    """Return the header with a body's length."""
    return b"Content-Length: %d" % len(body)


def post(chance: random.Random, made: Body, kind: str) -> Script:
    """Return an ordinary request for a body."""
    path = chance.choice((EDITS, EDITS, EDITS, b"/openai/v1/images/edits", EDITS + b"?dryRun=true"))
    return Script(kind, (head(chance, made[0], length(made[1]), path=path) + b"\r\n" + made[1],))


def content(chance: random.Random) -> Body:
    """Return a body of some kind, mostly one that is right."""
    lot = chance.random()
    return forms.simple(chance) if lot < 0.7 else forms.form(chance) if lot < 0.85 else documents.document(chance)


def chunked(body: bytes, chance: random.Random, extension: bytes = b"") -> bytes:
    """Return a body in chunks."""
    made, at = b"", 0
    while at < len(body):
        size = chance.choice((1, 7, 100, 4096, 70_000))
        piece = body[at : at + size]
        made += b"%x" % len(piece) + extension + b"\r\n" + piece + b"\r\n"
        at += size
    return made + b"0\r\n\r\n"


def good_chunks(chance: random.Random) -> Script:
    """Send the body in chunks, with extensions or trailers, or byte for byte."""
    kind, body = content(chance)
    made = chunked(body, chance, chance.choice((b"", b"", b";a=b", b';a="\xff"')))
    if chance.random() < 0.2:
        made = made[:-2] + b"X-Trailer: a\r\n\r\n"
    return Script("chunks", (head(chance, kind, b"Transfer-Encoding: chunked") + b"\r\n", *_paced(made, chance)))


def broken_chunks(chance: random.Random) -> Script:
    """Break the framing of chunks."""
    kind, body = content(chance)
    made = chunked(body[:3000], chance)
    sizes = (
        b"ffffffffffffffff\r\n",
        b"-1\r\n",
        b"0x10\r\n",
        b"g\r\n",
        b"\r\n",
        b"1 \r\n",
        b"fffffff\r\n",
        b"1\n",
        b";" * 20_000,
    )
    ways = (
        chance.choice(sizes) + made,
        made.replace(b"\r\n", b"\n"),
        pictures.truncate(made, chance),
        pictures.flip_bits(made, chance),
        b"5\r\nabcdefgh\r\n" + made,
        made[:-2] + b"X: " + b"y" * 200_000 + b"\r\n\r\n",
    )
    begin = head(
        chance,
        kind,
        b"Transfer-Encoding: "
        + chance.choice((b"chunked",) * 5 + (b"gzip, chunked", b"xchunked", b"chunked, identity")),
    )
    return Script("broken chunks", (begin + b"\r\n" + chance.choice(ways), *_end(chance)), answers=0, malformed=True)


def wrong_length(chance: random.Random) -> Script:
    """Announce another length than the body has."""
    kind, body = content(chance)
    announced = chance.choice(
        (len(body) + 1, len(body) + 5000, len(body) - 1, 0, 1, 10**7, 10**12, 2**63, 2**64, 10**40)
    )
    begin = head(chance, kind, b"Content-Length: %d" % max(announced, 0)) + b"\r\n"
    return Script("wrong length", (begin + body, *_end(chance)), answers=0, malformed=True)


def strange_heads(chance: random.Random) -> Script:
    """Send headers that are too many, too large, twice, folded, not text, or at odds with each other."""
    kind, body = content(chance)
    begin = head(chance, kind, length(body), *chance.choice(headers.strange(chance, len(body)))) + b"\r\n"
    return Script("strange heads", (begin + body, *_end(chance)), answers=0, malformed=True)


PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ")


def paths(chance: random.Random) -> Script:
    """Ask for an address with a method, either of them perhaps strange."""
    path, method = chance.choice(headers.PATHS), chance.choice(headers.METHODS)
    version = chance.choice((b"HTTP/1.1",) * 8 + (b"HTTP/1.0", b"HTTP/2.0", b"HTTP/9", b""))
    lines = [
        b"Host: " + chance.choice((headers.HOST,) * 6 + (b"a.example", b"", b"\xff", b"127.0.0.1:99999", b"[::1]")),
        access(chance)[:-2],
    ]
    lines.append(
        chance.choice(
            (
                b"Accept: */*",
                b"Accept: text/html",
                b"Range: bytes=0-4",
                b"Range: bytes=-,5-1,\xff",
                b'If-None-Match: "a"',
                b"Accept-Encoding: gzip;q=x, br",
            )
        )
    )
    begin = (
        method + b" " + path + b" " + version + b"\r\n" + b"".join(line + b"\r\n" for line in lines if line) + b"\r\n"
    )
    simple = path.startswith(b"/") and path.isascii() and b" " not in path and len(path) < 50_000
    plain = (
        simple
        and version == b"HTTP/1.1"
        and PLAIN.issuperset(method)
        and method not in {b"CONNECT", b"PRI"}
        and b"\xff" not in lines[0]
    )
    return Script("paths", (begin,), int(plain), not plain, method.decode("latin-1"))


def pipeline(chance: random.Random) -> Script:
    """Send several requests at once on one connection."""
    count = chance.choice((2, 3, 5))
    made = []
    for _ in range(count):
        kind, body = forms.simple(chance)
        asked = head(chance, kind, length(body)) + b"\r\n" + body
        made.append(asked if chance.random() < 0.6 else b"GET /healthz HTTP/1.1\r\nHost: " + headers.HOST + b"\r\n\r\n")
    if chance.random() < 0.3:
        made.append(b"\r\n\r\nrubbish")
    return Script("pipeline", (b"".join(made), *_end(chance)), 0, malformed=True)


def slow(chance: random.Random) -> Script:
    """Send a good request in small pieces, with pauses."""
    kind, body = content(chance)
    return Script("slow", tuple(_paced(head(chance, kind, length(body)) + b"\r\n" + body, chance)))


def half(chance: random.Random) -> Script:
    """Send a part of a request, then leave, or half-close and wait."""
    kind, body = content(chance)
    sent = head(chance, kind, length(body)) + b"\r\n" + body
    return Script("half", (*_paced(sent[: chance.randrange(1, len(sent))], chance), *_end(chance)), 0, malformed=True)


def leave_at_work(chance: random.Random) -> Script:
    """Send a whole request and leave a moment later."""
    kind, body = forms.simple(chance)
    pause = chance.choice((0.0, 0.001, 0.01, 0.05, 0.2, 0.3, 0.5))
    act = chance.choice((Act.LEAVE, Act.RESET, Act.HALF_CLOSE))
    return Script("leave", (head(chance, kind, length(body)) + b"\r\n" + body, pause, act), 0, malformed=True)


def leave_in_answer(chance: random.Random) -> Script:
    """Read some of the answer, then leave, at once or after a pause."""
    kind, body = forms.simple(chance)
    sent = head(chance, kind, length(body)) + b"\r\n" + body
    return Script(
        "answer",
        (
            sent,
            Read(chance.choice((1, 20, 400, 2000))),
            chance.choice((0.0, 0.1)),
            chance.choice((Act.LEAVE, Act.RESET)),
        ),
        0,
    )


def rubbish(chance: random.Random) -> Script:
    """Send something that is no HTTP/1.1."""
    kind, body = content(chance)
    sent = head(chance, kind, length(body)) + b"\r\n" + body
    made = (
        chance.randbytes(200),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + chance.randbytes(60),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + chance.randbytes(30),
        b"GET /\r\n",
        b"\r\n" * 5000,
        b"\0" * 5000,
        pictures.flip_bits(sent, chance),
        pictures.overwrite(sent[:400], chance) + sent[400:],
        sent.replace(b"\r\n", b"\n", 6),
    )
    return Script("rubbish", (chance.choice(made), *_end(chance)), 0, malformed=True)


WAYS: tuple[Callable[[random.Random], Script], ...] = (
    good_chunks,
    broken_chunks,
    wrong_length,
    strange_heads,
    paths,
    paths,
    paths,
    pipeline,
    slow,
    half,
    leave_at_work,
    leave_in_answer,
    leave_at_work,
    rubbish,
)


def script(chance: random.Random) -> Script:
    """Return one connection's script."""
    return chance.choice(WAYS)(chance)


def _paced(data: bytes, chance: random.Random) -> list[Step]:
    """Return the data in up to nine pieces, cut anywhere, with short pauses between."""
    cuts = sorted(chance.randrange(len(data) + 1) for _ in range(chance.choice((0, 1, 3, 8))))
    found: list[Step] = []
    for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
        found += [data[start:end], chance.choice((0.0, 0.002, 0.02))]
    return found


def _end(chance: random.Random) -> tuple[Step, ...]:
    """Return how a caller ends who cannot be sure of an answer."""
    return chance.choice(((Act.HALF_CLOSE,), (Act.LEAVE,), (Act.RESET,), (0.05, Act.LEAVE), ()))
