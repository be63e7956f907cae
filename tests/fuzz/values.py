"""Values of the public parameters, right and wrong, and references to pictures, good and broken."""

from __future__ import annotations

import base64
import random
from typing import Any

from fluxvision.catalog.params import PARAMS, Param
from fuzz import corpus, pictures

MODEL = "flux-vision-upscaler"
ROWS = tuple(row for row in PARAMS if row.kind != "picture")
NAMES = (*(row.name for row in ROWS), *(alias for row in ROWS for alias in row.aliases))
COSTLY = {"scale_factor": (1, 1.5, 2, 3.3), "n": (1, 2), "resolution": ("1K", "auto")}
"""Values of parameters that make much work: those of the range that cost little."""
SIZES = ("auto", "64x48", "1x1", "128X128", "16:9", "1024x1024", "0x5", "99999x99999", "16:0", "1e3x7", "64×48")
TEXTS = (
    "",
    " ",
    "a tree",
    "\0",
    "\ud800",
    "%s%n",
    "\u202eabc",
    "é" * 40,
    "a" * 40_000,
    "👩‍👩‍👧",
    "null",
    "[]",
    "{}",
    "\x1b[2J",
)
NUMBERS = (0, -1, 1, 0.5, 1e308, -1e-320, 2**31, 2**32, 2**63, 2**64, 10**30, 1.0000000000000002, 4.0000001)
NUMERALS = (
    "NaN",
    "Infinity",
    "-Infinity",
    "1e999",
    "0x10",
    "1_0",
    "٣",
    "+1",
    " 2 ",
    "1,5",
    "--1",
    "1e-999",
    "²",
    "0" * 400,
)
WORDS = ("true", "false", "TRUE", "yes", "on", "1", "0", "maybe", "None", "nul")
ADDRESSES = (
    "http://127.0.0.1/a.png",
    "http://127.0.0.1:1/",
    "http://127.0.0.1:8000/healthz",
    "http://localhost:8080/x",
    "http://[::1]/",
    "http://[::ffff:127.0.0.1]/",
    "http://0x7f000001/",
    "http://2130706433/",
    "http://0/",
    "http://169.254.169.254/latest/",
    "https://127.0.0.1:443/",
    "http://user:word@127.0.0.1/",
    "http://127.0.0.1:99999/",
    "http://127.0.0.1:-1/",
    "http://[",
    "http://[::1%25lo]/",
    "http://",
    "http:///a",
    "http://\u2024/",
    "http://xn--/",
    "http://" + "a" * 300 + "/",
    "http://127.0.0.1/\r\nX: y",
    "http://picture.invalid/",
    "HTTP://127.0.0.1",
    "file:///etc/passwd",
    "ftp://127.0.0.1/",
    "gopher://127.0.0.1/",
    "//127.0.0.1/a",
    "javascript:1",
    "about:blank",
)


def value(row: Param, chance: random.Random) -> Any:
    """Return a value of a row that is in range more often than not."""
    if chance.random() < 0.35:
        return strange(chance)
    if row.name in COSTLY:
        return chance.choice(COSTLY[row.name])
    if row.kind not in {"number", "integer"}:
        sizes = SIZES if row.pattern is not None else TEXTS
        return chance.choice(row.choices or ((True, False) if row.kind == "boolean" else sizes))
    low, high = row.low or 0, row.high or 10
    found = chance.choice((low, high, chance.uniform(low, high), low - 1, high + 1))
    return int(found) if row.kind == "integer" else found


def strange(chance: random.Random) -> Any:
    """Return a value that hardly any parameter takes."""
    return chance.choice(chance.choice((TEXTS, NUMBERS, NUMERALS, WORDS, SIZES)))


def parameters(chance: random.Random) -> list[tuple[str, Any]]:
    """Return some parameters under their names or aliases."""
    found = []
    for row in chance.sample(ROWS, chance.choice((0, 1, 1, 2, 3, 5, len(ROWS)))):
        name = chance.choice((row.name, row.name, *row.aliases))
        found.append((name, value(row, chance)))
    return found


def model(chance: random.Random) -> str:
    """Return a model's name, mostly the one that is there."""
    return (
        MODEL if chance.random() < 0.93 else chance.choice(("", "gpt-image-1", "../x", "esrgan", "\0", "a" * 3000, "É"))
    )


def mask(chance: random.Random) -> bytes:
    """Return a mask of some size and kind."""
    return corpus.file("png-rgba") if chance.random() < 0.4 else pictures.picture(chance)


def reference(chance: random.Random) -> str:
    """Return a data URI or another address of a picture, good or broken."""
    lot = chance.random()
    if lot < 0.25:
        return chance.choice(ADDRESSES)
    encoded = base64.b64encode(pictures.picture(chance)).decode()
    if lot < 0.7:
        return f"data:image/png;base64,{encoded}"
    at = chance.randrange(len(encoded) + 1)
    broken = (
        f"data:image/png;base64,{encoded[:at]}",
        f"data:image/png;base64,{encoded[:at]}={encoded[at:]}",
        f"data:image/png;base64,{encoded[:at]}\n {encoded[at:]}",
        f"data:image/png;base64,{encoded[:at]}é{encoded[at:]}",
        f"data:image/png;base64,{encoded.replace('+', '-').replace('/', '_')}",
        f"data:image/png,{encoded}",
        f"data:;base64,{encoded}",
        f"DATA:text/html;charset=utf-8;BASE64,{encoded}",
        f"data:{'a' * 300};base64,{encoded}",
        "data:image/png;base64,",
        "data:",
        "data:,",
        encoded,
        f" data:image/png;base64,{encoded}",
    )
    return chance.choice(broken)
