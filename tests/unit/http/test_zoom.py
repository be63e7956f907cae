"""Large results as tiles, behind the link of the result."""

from __future__ import annotations

import asyncio
import io

import pytest
from PIL import Image

from fluxvision.http import media, state, streaming
from fluxvision.storage.media import MediaStore

MODEL = ("model", "flux-vision-upscaler")


@pytest.fixture(autouse=True)
def _everything_is_large(monkeypatch):
    monkeypatch.setattr(media, "DEEP", 64 * 48 - 1)


async def made(served, picture, *parts):
    return (await served.edit(MODEL, ("image", picture, "a"), *parts)).json()


def path(url):
    return url.removeprefix("http://localhost:8000")


async def test_a_viewer_finds_the_tiles(edge, picture):
    """The document lies beside its tiles, as viewers expect: NAME.dzi and NAME_files/LEVEL/X_Y.FORMAT."""
    served = edge()
    document = path((await made(served, picture))["metadata"]["deep_zoom"])
    answer = await served.get(document)
    assert (answer.status, answer.answered["content-type"]) == (200, "application/xml")
    assert b'Width="64"' in answer.body
    tile = await served.get(document.replace(".dzi", "_files/6/0_0.jpeg"))
    assert Image.open(io.BytesIO(tile.body)).size == (64, 48)
    assert tile.answered["content-type"] == "image/jpeg"
    assert tile.answered["cache-control"] == "private, max-age=3600"
    assert tile.answered["content-security-policy"] == "default-src 'none'; sandbox"


async def test_tiles_come_without_the_document(edge, picture):
    """A tile that is asked for first makes them, too."""
    served = edge()
    document = path((await made(served, picture))["metadata"]["deep_zoom"])
    assert (await served.get(document.replace(".dzi", "_files/0/0_0.jpeg"))).status == 200


async def test_small_results_have_none(edge, picture, monkeypatch):
    """At the limit a picture is loaded whole; base64 has no link to look behind."""
    served = edge()
    assert "deep_zoom" not in (await made(served, picture, ("response_format", "b64_json")))["metadata"]
    monkeypatch.setattr(media, "DEEP", 64 * 48)
    assert "deep_zoom" not in (await made(served, picture))["metadata"]


async def test_several_have_one_each(edge, picture):
    """Each of n pictures has a document; a stream tells each picture's with its own event."""
    served = edge()
    body = await made(served, picture, ("n", "2"))
    assert body["metadata"]["deep_zooms"][0] == body["metadata"]["deep_zoom"]
    assert [f"/media/{url.split('/')[4]}" for url in body["metadata"]["deep_zooms"]] == [
        path(row["url"]).partition("?")[0] for row in body["data"]
    ]
    events = (await served.edit(MODEL, ("image", picture, "a"), ("n", "2"), ("stream", "true"))).events()
    completed = [data for name, data in events if name == streaming.COMPLETED]
    assert all(data["url"].split("?")[0] in data["metadata"]["deep_zoom"] for data in completed)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace(".dzi", "_files/6/9_9.jpeg"),
        lambda text: text.replace(".dzi", "_files/6/0_0.png"),
        lambda text: text.replace(".dzi", "_files/99/0_0.jpeg"),
        lambda text: text.replace(".dzi", "_files/../../a.png"),
        lambda text: text.replace("/image.dzi", "0/image.dzi"),
        lambda text: "/".join([*text.split("/")[:3], "1899999999", *text.split("/")[4:]]),
        lambda text: text.replace("/media/", "/media/a"),
    ],
)
async def test_wrong_addresses_are_nothing(edge, picture, change):
    """A tile that is not there, a changed expiry, signature or name are all the same 404."""
    served = edge()
    document = path((await made(served, picture))["metadata"]["deep_zoom"])
    assert (await served.get(change(document))).status == 404


async def test_two_at_once_make_them_once(edge, picture, monkeypatch):
    """Whoever asks while the tiles are made waits for the same work, and a caller that goes away does not end it."""
    served, calls = edge(), []

    def slow(file, folder, really=state.write_pyramid):
        calls.append(file)
        really(file, folder)

    monkeypatch.setattr(state, "write_pyramid", slow)
    document = path((await made(served, picture))["metadata"]["deep_zoom"])
    first = asyncio.create_task(served.get(document))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    first.cancel()
    answers = await asyncio.gather(*(served.get(document) for _ in range(5)))
    assert [answer.status for answer in answers] == [200] * 5
    assert len(calls) == 1


async def test_tiles_go_with_their_file(edge, picture):
    """After the link's time a sweep leaves neither the file nor its tiles."""
    served = edge()
    document = path((await made(served, picture))["metadata"]["deep_zoom"])
    await served.get(document)
    folder = served.folder / "media"
    assert len(list(folder.iterdir())) == 2
    served.clock.now += 3601
    assert (await served.get(document)).status == 404
    assert MediaStore(folder, 3600, b"").sweep(served.clock.now) == 1
    assert list(folder.iterdir()) == []
