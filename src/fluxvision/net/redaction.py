"""Removes secrets from remote text, and detects whether it repeats private text, such as a prompt, even if escaped."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterable, Iterator
from urllib.parse import unquote

LONGEST_MESSAGE = 300
READ = 4_000
"""Characters of a remote text that are processed; the rest is dropped."""
HIDDEN = "…"
WITHHELD = ". Its words repeat what was sent and are not shown."
"""The end of an error message, instead of a text that repeats private text."""
SHORTEST, RUN, DEEPEST = 3, 10, 4
"""Shortest private text that is checked, length of a repeated fragment that counts, and most levels of quoting."""
ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|x([0-9a-fA-F]{2})|(.))", re.DOTALL)
SIDE_BY_SIDE = re.compile(f".{{{RUN}}}", re.DOTALL)
CONTROLS = dict(zip("abfnrtv0", "\a\b\f\n\r\t\v\0", strict=True))

SECRETS = (
    re.compile(r"data:[^\s,;]*[;,]\S*", re.IGNORECASE),
    re.compile(r"\b[a-z][a-z0-9+.-]{1,15}://\S*", re.IGNORECASE),
    re.compile(r"\b(?:key|bearer|basic|token)[\s:=]+(?=\S*\d)\S{6,}", re.IGNORECASE),
    re.compile(r"\b[sprf]k[-_][\w*-]{4,}"),
    re.compile(r"(?<=\w)\?[\w.-]+=\S*"),
    re.compile(r"[A-Za-z0-9+/_-]{40,}={0,2}"),
)
"""Matches data URIs, addresses, credentials, queries and base64."""


def redact(text: str, *secrets: str) -> str:
    """Return at most 300 printable characters of a remote text, without `secrets` and anything that looks like one.

    Addresses, data URIs and long base64 are removed too.
    """
    for secret in secrets:
        text = text.replace(secret, HIDDEN) if secret else text
    text = "".join(character if character.isprintable() else " " for character in text[:READ])
    for pattern in SECRETS:
        text = pattern.sub(HIDDEN, text)
    return " ".join(text.split())[:LONGEST_MESSAGE]


def repeats_private_text(text: str, private: Iterable[str]) -> bool:
    """Return whether a text contains one of the private texts, or ten consecutive characters of one.

    The text may be escaped as in Python, JSON, HTML or URLs, up to four times.
    """
    hidden = [
        (words, _keep_alphanumerics(secret)) for secret in private if len(words := _normalize_words(secret)) >= SHORTEST
    ]
    if not hidden:
        return False
    readings = _unquoted_readings(text)
    told = {_normalize_words(reading) for reading in readings}
    runs: set[str] = set()
    for each in told | {_keep_alphanumerics(reading) for reading in readings}:
        for found in _runs(each):
            runs.update(found)
    return any(
        _shares_run(words, runs) or _shares_run(letters, runs) or _holds_all_words(told, words)
        for words, letters in hidden
    )


def _unquoted_readings(text: str) -> set[str]:
    """Return a text as it is and with its escapes undone, in every order."""
    found = latest = {text}
    for _ in range(DEEPEST):
        latest = {undo(reading) for reading in latest for undo in QUOTATIONS} - found
        found = found | latest
    return found


def _unescaped(text: str) -> str:
    """Undo the escapes of Python and JSON, and join surrogate pairs."""
    plain = ESCAPE.sub(_decode_escape, text)
    return plain.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _decode_escape(found: re.Match[str]) -> str:
    code = found[1] or found[2] or found[3]
    if code is None:
        return CONTROLS.get(found[4], found[4])
    return chr(int(code, 16)) if int(code, 16) <= 0x10FFFF else " "  # noqa: PLR2004, the last character


QUOTATIONS: tuple[Callable[[str], str], ...] = (_unescaped, html.unescape, unquote)


def _normalize_words(text: str) -> str:
    return " ".join(text.casefold().split())


def _keep_alphanumerics(text: str) -> str:
    return "".join(filter(str.isalnum, text.casefold()))


def _holds_all_words(told: Iterable[str], words: str) -> bool:
    """Return whether one of the texts has all words of a private text that is too short for a fragment."""
    if len(words) >= RUN:
        return False
    whole = re.compile(rf"(?<!\w){re.escape(words)}(?!\w)")
    return any(whole.search(text) for text in told)


def _shares_run(text: str, runs: set[str]) -> bool:
    """Return whether a text contains one of the fragments."""
    return any(not runs.isdisjoint(found) for found in _runs(text))


def _runs(text: str) -> Iterator[list[str]]:
    """Yield all fragments of ten characters of a text, as ten lists of adjacent ones, one for each offset."""
    return (SIDE_BY_SIDE.findall(text, start) for start in range(RUN))
