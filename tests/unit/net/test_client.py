"""What the HTTP providers share."""

from __future__ import annotations

import pytest

from fluxvision.net import client

NOW = 1_700_000_000.0  # Tue, 14 Nov 2023 22:13:20 GMT
KEY = "abcd1234-secret:0123456789"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": " 1.5 "}, 1.5),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after-ms": "250"}, 0.25),
        ({"retry-after-ms": "250", "retry-after": "7"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "7"}, 7.0),
        ({"retry-after": "Tue, 14 Nov 2023 22:13:30 GMT"}, 10.0),
        ({"retry-after": "Tue, 14 Nov 2023 22:13:30 -0000"}, 10.0),
        ({"retry-after": "Tue, 14 Nov 2023 22:10:00 GMT"}, 0.0),
        ({"retry-after": "Tue, 14 Nov 2033 22:10:00 GMT"}, 3600.0),
        ({"retry-after": "99999999"}, 3600.0),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "1e999"}, None),
        ({"retry-after": "later"}, None),
        ({"retry-after": "Tue, 99 Nov 2023 22:13:30 GMT"}, None),
    ],
)
def test_retry_after(headers, seconds):
    """Every form that servers use is read; nonsense is nothing, and no wait is negative or over an hour."""
    assert client.parse_retry_after(headers, NOW) == seconds


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
    assert client.scrub(text, KEY, "") == clean


def test_foreign_words_are_short():
    """However long a text is, 300 characters of it are shown."""
    assert len(client.scrub("word " * 1_000_000)) == 300
