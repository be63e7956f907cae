"""Who gets the key."""

from __future__ import annotations

import pytest

from fluxvision.providers.fal.client import FalClient


@pytest.mark.parametrize(
    ("url", "own"),
    [
        ("https://queue.fal.run/a/b/requests/1", True),
        ("https://queue.fal.run:443/x", True),
        ("http://queue.fal.run/x", False),
        ("https://queue.fal.run:444/x", False),
        ("https://queue.fal.run.evil.example/x", False),
        ("https://evil.example/queue.fal.run", False),
        ("https://queue.fal.run@evil.example/", False),
        ("https://user:word@queue.fal.run/", False),
        ("//queue.fal.run/x", False),
        ("/a/b", False),
        ("", False),
        ("https://[::1/", False),
    ],
)
def test_who_gets_the_key(url, own):
    """Only the configured origin is sent the key."""
    assert FalClient("k", "https://queue.fal.run").owns(url) is own
