"""Stored responses: what is asked of the media store."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from fakes.gateway import Gateway, png
from fluxvision.core.callbacks import JobCallbacks
from fluxvision.core.errors import NotFound, Unavailable
from fluxvision.core.images import InputImage
from fluxvision.core.types import Job
from fluxvision.http import stored_response
from fluxvision.http.stored_response import MediaResults, load_response
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


class FailingStore(ObjectMediaStore):
    """A store that moves a picture away, as all do, and does not answer on the turns in `faults`."""

    faults: tuple[int, ...] = ()
    asked = 0

    async def put(self, path, _mime, _now, _ttl=None):
        """Fail, or store."""
        self.asked += 1
        if self.asked in self.faults:
            raise Unavailable("It does not answer.")
        path.unlink()
        return f"stored-{path.name}"


@pytest.fixture
def store(tmp_path, monkeypatch):
    """A store that can fail, asked again at once."""
    monkeypatch.setattr(stored_response, "RETRY_SECONDS", 0.01)
    return FailingStore(NoBucket(), MediaFolder(tmp_path / "copies", 60), tmp_path, 600, b"s" * 32)


async def stored(store, folder, patience):
    """Store a result of two pictures and return its response."""
    (folder / "in.png").write_bytes(png(8, 6))
    image = InputImage(folder / "in.png", "png", 8, 6, 3, False, 8, 100)
    result = await Gateway()._make(Job("req_1", "m", image, {"n": 2}), JobCallbacks(), folder)
    return await MediaResults(store, lambda: END, lambda: END).response(result, 60, patience)


async def test_a_paid_result_waits_for_the_store(store, folder):
    """A store that does not answer for a while gets each picture once, when it answers again."""
    store.faults = (1, 2, 4)
    found = await stored(store, folder, 20.0)
    assert [picture["name"] for picture in found["pictures"]] == ["stored-0.png", "stored-1.png"]
    assert store.asked == 5


async def test_a_free_result_does_not_wait(store, folder):
    """A store that does not answer fails what has cost nothing at once."""
    store.faults = (2,)
    with pytest.raises(Unavailable):
        await stored(store, folder, 0.0)
    assert store.asked == 2
