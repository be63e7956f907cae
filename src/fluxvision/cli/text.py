"""Formats text for the terminal: errors with flag names, safe paths, prices, sizes and tables."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from fluxvision.catalog.params import PARAMS
from fluxvision.core.errors import Error
from fluxvision.core.money import format_amount
from fluxvision.core.system import resource_error

FLAGS = {row.name: row.flag for row in PARAMS if row.flag is not None}
REWORDED = (
    ("this server accepts at most", "the limit is"),
    ("this server makes at most", "the limit is"),
    (" on the server: pip", ": pip"),
    ("this server's disk", "the disk"),
    ("This server's disk", "The disk"),
    ("This server has", "This machine has"),
    ("This server can", "This machine can"),
    ("GET /models lists the models.", "`fluxvision models` lists them."),
)
TIMES = "\N{MULTIPLICATION SIGN}"
_NAMES = "|".join(sorted(FLAGS, key=len, reverse=True))
# Replace a parameter's name only at the beginning or beside another one; elsewhere it may be an ordinary word.
_LEADING = re.compile(rf"^({_NAMES})(?=:| and | cannot )")
_SECOND = re.compile(rf"(?<= and )({_NAMES})(?= ask )")
_UNMISTAKABLE = re.compile(rf"(?<!-)\b({'|'.join(name for name in FLAGS if '_' in name)})\b")


def replace_with_flags(text: str) -> str:
    """Return a sentence with the names of public parameters replaced by their flags."""
    for pattern in (_LEADING, _SECOND, _UNMISTAKABLE):
        text = pattern.sub(lambda match: str(FLAGS[match.group(1)]), text)
    return text


def error_sentence(error: BaseException) -> str:
    """Return an error as one or two sentences."""
    if isinstance(error, Error):
        text = error.message.removeprefix("image: ")
        for ours, shorter in REWORDED:
            text = text.replace(ours, shorter)
        if "pixels; the limit is" in text:
            text = text.removesuffix(".") + " (FLUXVISION_MAX_INPUT_PIXELS raises it)."
        return replace_with_flags(text)
    short = None if getattr(error, "filename", None) is not None else resource_error(error)
    if short is not None:
        return error_sentence(short)
    if isinstance(error, OSError) and error.strerror:
        what = error.strerror[0].lower() + error.strerror[1:]
        return f"{what}: {safe_path(error.filename)}." if error.filename is not None else f"{what}."
    return f"an internal error ({type(error).__name__}); please report it. `fluxvision --debug …` shows where."


def safe_path(path: str | Path) -> str:
    """Return a path as text without control characters for the terminal."""
    text = os.fsencode(path).decode("utf-8", "replace")
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def format_price(micros: int | None) -> str:
    """Return a price in micro-dollars as text in dollars, or that it is not known yet."""
    return "not known beforehand" if micros is None else format_amount(micros)


def format_paid(micros: int | None) -> str:
    """Return a cost in micro-dollars as text in dollars, or that it is unknown."""
    return "cost not known" if micros is None else format_amount(micros)


def pluralize(count: int, noun: str) -> str:
    """Return "1 file", "2 files"."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def format_size(width: int, height: int) -> str:
    """Return a size as text for people."""
    return f"{width}{TIMES}{height}"


def format_columns(rows: Sequence[tuple[str, ...]]) -> str:
    """Return rows as aligned text; the first row is the header."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
