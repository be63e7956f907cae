"""Whether a foreign text repeats something private, however it is written there."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterable
from urllib.parse import unquote

WITHHELD = ". Its words repeat what was sent and are not shown."
"""The end of a sentence, in place of such a text."""
TELLING, RUN, DEEPEST = 3, 10, 4
"""Characters from which a text is worth hiding, those of a fragment that tells it, and how often it may be quoted."""
ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|x([0-9a-fA-F]{2})|(.))", re.DOTALL)
CONTROLS = dict(zip("abfnrtv0", "\a\b\f\n\r\t\v\0", strict=True))


def repeats(text: str, private: Iterable[str]) -> bool:
    """Return whether a text holds one of the private ones, or a run of ten of its characters.

    It may be quoted as programs write it: by Python, JSON, HTML or in an address, and so up to four times over.
    """
    hidden = [(_worded(secret), _lettered(secret)) for secret in private]
    hidden = [(words, letters) for words, letters in hidden if len(words) >= TELLING]
    return bool(hidden) and any(
        _holds(_worded(reading), words) or _shares(_lettered(reading), letters)
        for reading in _readings(text)
        for words, letters in hidden
    )


def _readings(text: str) -> set[str]:
    """Return a text as it is and with its quotations undone, in every order."""
    found = latest = {text}
    for _ in range(DEEPEST):
        latest = {undo(reading) for reading in latest for undo in QUOTATIONS} - found
        found = found | latest
    return found


def _unescaped(text: str) -> str:
    """Undo the escapes of Python and JSON; two halves of a character become one."""
    plain = ESCAPE.sub(_character, text)
    return plain.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _character(found: re.Match[str]) -> str:
    code = found[1] or found[2] or found[3]
    if code is None:
        return CONTROLS.get(found[4], found[4])
    return chr(int(code, 16)) if int(code, 16) <= 0x10FFFF else " "  # noqa: PLR2004, the last character


QUOTATIONS: tuple[Callable[[str], str], ...] = (_unescaped, html.unescape, unquote)


def _worded(text: str) -> str:
    return " ".join(text.casefold().split())


def _lettered(text: str) -> str:
    return "".join(character for character in text.casefold() if character.isalnum())


def _holds(text: str, words: str) -> bool:
    """Return whether a text has a run of the words, all of them where they are few."""
    if len(words) >= RUN:
        return _shares(text, words)
    return re.search(rf"(?<!\w){re.escape(words)}(?!\w)", text) is not None


def _shares(text: str, other: str) -> bool:
    """Return whether two texts share a run of ten characters."""
    runs = {other[start : start + RUN] for start in range(len(other) - RUN + 1)}
    return any(text[start : start + RUN] in runs for start in range(len(text) - RUN + 1))
