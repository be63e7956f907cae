"""A foreign text that repeats something private is recognised, however it writes it."""

from __future__ import annotations

import html
import json
import time
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as some

from fluxvision.core.images import InputImage
from fluxvision.core.openai_servers import OpenAIServer
from fluxvision.core.types import Call
from fluxvision.net.redaction import READ, SHORTEST, redact, repeats_private_text
from fluxvision.providers.openai.errors import ErrorTranslator, parse_error_response

KEY = "abcd1234-secret:0123456789"
WAYS = {
    "as it is": str,
    "repr": repr,
    "ascii": ascii,
    "json": json.dumps,
    "json in unicode": lambda text: json.dumps(text, ensure_ascii=False),
    "html": html.escape,
    "address": quote,
    "json in json": lambda text: json.dumps(json.dumps(text)),
    "repr in html": lambda text: html.escape(repr(text)),
    "json in repr in json": lambda text: json.dumps(repr(json.dumps(text))),
}
PIECES = some.text(max_size=12) | some.sampled_from(
    [
        "\n",
        "\r\n",
        '"',
        "'",
        "\\",
        "\\n",
        "&amp;",
        "%41",
        "\u00e9",
        "\u732b",
        "\U0001d49c",
        "\U0001f3a8",
        "a quiet meadow",
        "<b>",
    ]
)
PROMPTS = some.lists(PIECES, min_size=1, max_size=8).map("".join)
"""Quotes, line breaks, backslashes, all of Unicode, and what looks like an escape already."""
FRAGMENT = 12
SOON = 0.5
"""Seconds; it is done in less than 0.1, and machines differ."""
SOURCE = InputImage(None, "png", 8, 8, 3, False, 8, 1)


@given(PROMPTS, some.sampled_from(sorted(WAYS)), some.booleans())
def test_a_private_text_is_recognised(prompt, way, listed):
    """Quoted alone or inside a dictionary, by Python, JSON, HTML or in an address."""
    told = f"Bad request: {WAYS[way](prompt)}!" if not listed else f"Bad request: { {'prompt': WAYS[way](prompt)} }!"
    if len(" ".join(prompt.casefold().split())) >= SHORTEST:
        assert repeats_private_text(told, [prompt])


@given(PROMPTS, some.sampled_from(sorted(WAYS)), some.data())
def test_a_fragment_is_recognised(prompt, way, data):
    """Twelve characters of it are enough, wherever they begin."""
    words = " ".join(prompt.split())
    if len(words) >= FRAGMENT:
        start = data.draw(some.integers(0, len(words) - FRAGMENT))
        assert repeats_private_text(f"Cut: {WAYS[way](words[start : start + FRAGMENT])}", [prompt])


@given(PROMPTS, some.sampled_from(sorted(WAYS)))
def test_no_message_holds_it(prompt, way):
    """A refusal that quotes a prompt is told without the server's words."""
    if len(" ".join(prompt.casefold().split())) < SHORTEST:
        return
    call = Call("other", "m", {"prompt": prompt}, SOURCE, None, parameter_names={"prompt": "prompt"})
    said = parse_error_response({"error": {"message": f"Rejected {WAYS[way](prompt)} here", "param": "prompt"}}, 400)
    found = ErrorTranslator(OpenAIServer("other", "http://x", {}).name, ()).translate(said, call)
    assert found.message == "other refused the request. Its words repeat what was sent and are not shown."
    assert found.param == "prompt"


@pytest.mark.parametrize(
    ("text", "private"),
    [
        ("400 about the parameter scale_factor", ["a", " ", "", "!?"]),
        ("The picture is located elsewhere.", ["cat"]),
        ("Image is too large. Maximum dimensions are 4096x4096.", ["a large cat on a small mat"]),
        ("Invalid value for size \\u0041 &copy; %zz \\", ["snow on a meadow"]),
        ("\\Uffffffff \\ud800 alone", ["snow on a meadow"]),
    ],
)
def test_other_words_are_told(text, private):
    """What shares a letter or a short word with a prompt tells nothing of it."""
    assert not repeats_private_text(text, private)


@pytest.mark.parametrize(
    "text",
    [
        "\\u0061&amp;%20" * 300,
        ("%2525255cu0025 &amp;amp;amp;lt; %255c\\u005cu0026amp; &#37;26amp;lt; " * 60)[:READ],
    ],
)
def test_long_prompts_are_compared_soon(text):
    """The longest prompts take little time beside the longest text that is looked at, however it is quoted."""
    prompts = ["".join(f"{number**power:x} " for number in range(9_000))[:32_000] for power in (3, 5)]
    started = time.thread_time()
    assert not repeats_private_text(text, prompts)
    assert time.thread_time() - started < SOON


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("Input should be at most 4", "Input should be at most 4"),
        (f"the key {KEY} is wrong", "the key … is wrong"),
        ("Incorrect API key provided: sk-abc1***123.", "Incorrect API key provided: …."),
        ("Authorization: Bearer eyJhbGciOi.x1 failed", "Authorization: … failed"),
        ("Key 0123:abcd is locked", "… is locked"),
        ("bad data:image/png;base64,iVBORw0KGgo= here", "bad … here"),
        ("cannot load https://host/a.png?token=abc now", "cannot load … now"),
        ("cannot load s3://bucket/a.png now", "cannot load … now"),
        ("GET /files?sig=abc failed", "GET /files… failed"),
        ("hash " + "A1b2" * 20 + " end", "hash … end"),
        ("two\nlines\x00and\u200bmore", "two lines and more"),
        ("key is not valid for this model", "key is not valid for this model"),
        ("", ""),
    ],
)
def test_foreign_words_are_scrubbed(text, clean):
    """Secrets, addresses and data go, words stay."""
    assert redact(text, KEY, "") == clean


def test_foreign_words_are_short():
    """However long a text is, 300 characters of it are shown."""
    assert len(redact("word " * 1_000_000)) == 300
