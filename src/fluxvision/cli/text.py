"""Sentences for people at a terminal: errors in terms of the flags they typed, names and amounts safe to show."""

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
# A parameter is named at the beginning, or beside another one; anywhere else a short name may be a plain word.
_LEADING = re.compile(rf"^({_NAMES})(?=:| and | cannot )")
_SECOND = re.compile(rf"(?<= and )({_NAMES})(?= ask )")
_UNMISTAKABLE = re.compile(rf"(?<!-)\b({'|'.join(name for name in FLAGS if '_' in name)})\b")


def replace_with_flags(text: str) -> str:
    """Return a sentence about public parameters with the flags that stand for them."""
    for pattern in (_LEADING, _SECOND, _UNMISTAKABLE):
        text = pattern.sub(lambda match: str(FLAGS[match.group(1)]), text)
    return text


def error_sentence(error: BaseException) -> str:
    """Return what went wrong in one or two sentences."""
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
    """Return a path as text that cannot steer a terminal."""
    text = os.fsencode(path).decode("utf-8", "replace")
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def format_price(micros: int | None) -> str:
    """Return micro-dollars as dollars, or that they are not known yet."""
    return "not known beforehand" if micros is None else format_amount(micros)


def format_paid(micros: int | None) -> str:
    """Return what something has cost, or that nobody told."""
    return "cost not known" if micros is None else format_amount(micros)


def pluralize(count: int, noun: str) -> str:
    """Return "1 file", "2 files"."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def format_size(width: int, height: int) -> str:
    """Return a size as people write it."""
    return f"{width}{TIMES}{height}"


def format_columns(rows: Sequence[tuple[str, ...]]) -> str:
    """Return rows, the first of which is the head, as aligned text."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
