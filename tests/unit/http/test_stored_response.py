"""Stored responses: what is asked of the media store."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from fluxvision.core.errors import NotFound
from fluxvision.http.stored_response import load_response
from fluxvision.storage.media_folder import MediaFolder
from fluxvision.storage.object_media import ObjectMediaStore

END = 1_796_000_400.0
"""The hour in which the picture is deleted."""
NAME = f"2026113001-{'A' * 32}.png"


class NoBucket:
    """A bucket that must not be asked."""


async def test_sizes_are_told_without_asking_the_object_store(tmp_path):
    """The size of a picture is in its row and its expiry in its name: ten thousand pictures are no request."""
    store = ObjectMediaStore(NoBucket(), MediaFolder(tmp_path / "copies", 60), tmp_path, 600, b"s" * 32)
    picture = {"name": NAME, "pixels": 12, "size": 345, "metadata": {}}
    body = {"id": "req_1", "created": 1, "data": [{}], "output_format": "png", "metadata": {}}
    found = {"body": body, "pictures": [picture], "response_format": "b64_json", "is_format_asked": True}
    edge = SimpleNamespace(media=store, media_clock=lambda: END - 1)
    assert (await load_response(edge, found, sizes_only=True)).pictures[0].size == 345
    edge.media_clock = lambda: END
    with pytest.raises(NotFound):
        await load_response(edge, found, sizes_only=True)
