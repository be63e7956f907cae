"""GET /media: files behind links, served so that a browser runs nothing of them."""

from __future__ import annotations

import asyncio
import io
import time
from email.utils import parsedate_to_datetime
from types import SimpleNamespace

import pytest
from PIL import Image

from fakes.gateway import png
from fakes.server import Server, wait_until
from fluxvision.http import deep_zoom_cache, media
from fluxvision.http.media import public_base
from fluxvision.storage.media import open_media_store
from fluxvision.storage.media_folder import MediaFolder

MODEL = ("model", "flux-vision-upscaler")
RESULT = png(64, 48, (0, 30, 60))


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Serve for real: ranges and whole files go different ways."""
    with Server(tmp_path_factory.mktemp("media") / "data") as running:
        yield running


@pytest.fixture(scope="module")
def path(server):
    """Return the path and query of a result's link."""
    return "/" + server.edit(MODEL, ("image", png(32, 24), "a")).json()["data"][0]["url"].split("/", 3)[3]


def test_a_link_opens_the_file_safely(server, path):
    """The type is the format's; no sniffing, no scripts, no shared cache, a harmless name."""
    answer = server.get(path)
    assert (answer.status, answer.body) == (200, RESULT)
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-security-policy"] == "default-src 'none'; sandbox"
    assert answer.headers["content-disposition"] == 'inline; filename="upscaled.png"'
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["x-request-id"]
    kind, _, age = answer.headers["cache-control"].partition(", max-age=")
    assert (kind, 3590 <= int(age) <= 3600) == ("private", True)


def test_head_tells_the_size(server, path):
    """HEAD has the headers of GET and no body."""
    answer = server.get(path, method="HEAD")
    assert (answer.status, answer.body, int(answer.headers["content-length"])) == (200, b"", len(RESULT))


@pytest.mark.parametrize(
    ("wanted", "status", "body"),
    [
        ("bytes=0-9", 206, RESULT[:10]),
        ("bytes=10-", 206, RESULT[10:]),
        ("bytes=-5", 206, RESULT[-5:]),
        ("bytes=0-999999", 206, RESULT),
        ("bytes=999999-", 416, None),
        ("bytes=abc", 200, RESULT),
        ("lines=1-2", 200, RESULT),
        ("bytes=" + ",".join(["0-1"] * 500), 200, RESULT),
    ],
)
def test_ranges(server, path, wanted, status, body):
    """A range gives that part; one outside the file 416; one that cannot be understood is ignored."""
    answer = server.get(path, {"Range": wanted})
    assert answer.status == status
    assert body is None or answer.body == body
    if status == 206:
        assert answer.headers["content-range"].endswith(f"/{len(RESULT)}")


@pytest.mark.parametrize("wanted", ["bytes=999999-", f"bytes={len(RESULT)}-", "bytes=-0", "bytes=0-1,999999-"])
def test_a_range_behind_the_end_is_an_error_like_every_other(server, path, wanted):
    """It has OpenAI's body, tells how long the file is, and is kept by nobody; the whole file is still there."""
    answer = server.get(path, {"Range": wanted})
    assert (answer.status, answer.headers["content-range"]) == (416, f"bytes */{len(RESULT)}")
    error = answer.json()["error"]
    assert (error["type"], error["code"]) == ("invalid_request_error", "RANGE_NOT_SATISFIABLE")
    assert f"of {len(RESULT):,} bytes" in error["message"]
    assert (answer.headers["x-should-retry"], answer.headers["cache-control"]) == ("false", "no-store")
    head = server.get(path, {"Range": wanted}, method="HEAD")
    assert (head.status, head.headers["content-range"], head.body) == (416, f"bytes */{len(RESULT)}", b"")
    assert server.get(path).body == RESULT


@pytest.mark.parametrize("form", ["{}", "W/{}", '"x", {}', "*"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_file_that_the_client_has_is_a_304(server, path, form, method):
    """If-None-Match counts before Range; the answer has the tag and no body, and the next tag gets the file."""
    tag = server.get(path).headers["etag"]
    answer = server.get(path, {"If-None-Match": form.format(tag), "Range": "bytes=0-9"}, method)
    assert (answer.status, answer.body, answer.headers["etag"]) == (304, b"", tag)
    assert answer.headers["cache-control"].startswith("private, max-age=")
    assert "content-type" not in answer.headers
    assert server.get(path, {"If-None-Match": '"other"'}).body == RESULT


def test_a_tag_opens_no_link(server, path):
    """A changed link is a 404 for a client that has the file, too."""
    assert server.get(path[:-1], {"If-None-Match": "*"}).status == 404


@pytest.mark.parametrize(
    "change",
    [
        lambda path: path[:-1] + ("0" if path[-1] != "0" else "1"),
        lambda path: path.replace("expires=1", "expires=2"),
        lambda path: path.partition("?")[0],
        lambda path: path.replace(".png", ".jpg"),
        lambda path: path.replace("/media/", "/media/%2e%2e%2f"),
        lambda path: path + "&x=1" * 200,
    ],
)
def test_a_changed_link_is_a_404(server, path, change):
    """Whoever changes a link learns nothing, not even whether the file exists."""
    answer = server.get(change(path))
    assert answer.status in {400, 404}
    assert answer.json()["error"]["param"] is None


async def test_an_expired_link_is_a_404_and_the_file_goes(edge, picture):
    """After its time a link is dead at once, and the sweep deletes the bytes."""
    served = edge(media_ttl=60)
    url = (
        (await served.edit(MODEL, ("image", picture, "a")))
        .json()["data"][0]["url"]
        .removeprefix("http://localhost:8000")
    )
    served.clock.now += 59
    assert (await served.get(url)).status == 200
    served.clock.now += 1
    assert (await served.get(url)).status == 404


@pytest.mark.parametrize(
    ("public", "host", "expected"),
    [
        ("", "localhost:8000", "http://localhost:8000"),
        ("", "[::1]:8000", "http://[::1]:8000"),
        ("https://a.example/x/", "evil", "https://a.example/x"),
    ],
)
def test_the_base_of_links(public, host, expected):
    """Links begin with the public address, or else with the one that the caller used."""
    assert public_base(public, {"type": "http", "scheme": "http", "headers": [(b"host", host.encode())]}) == expected


def test_no_time_of_modification_lies_in_the_future(server, path):
    """The file's own time is that of its expiry; the header is the time at which it was stored."""
    said = parsedate_to_datetime(server.get(path).headers["last-modified"]).timestamp()
    assert -10 < said - time.time() < 1


def test_a_server_with_a_shorter_time_deletes_nobody_elses_results(server, path):
    """Of two servers on one folder each sweeps by the expiry that a result has, not by its own media_ttl."""
    with Server(server.folder, {"media_ttl": "1"}) as other:
        short = other.edit(MODEL, ("image", png(32, 24), "a")).json()["data"][0]["url"].split("/", 3)[3]
        name = short.partition("?")[0].removeprefix("media/")
        assert wait_until(lambda: not (server.folder / "media" / name).exists())
        assert server.get(path).status == 200


@pytest.fixture(autouse=True)
def _everything_is_large(monkeypatch):
    monkeypatch.setattr(media, "DEEP", 64 * 48 - 1)


async def made(served, picture, *parts):
    return (await served.edit(MODEL, ("image", picture, "a"), *parts)).json()


def zoom_path(url):
    return url.removeprefix("http://localhost:8000")


async def test_a_viewer_finds_the_tiles(edge, picture):
    """The document lies beside its tiles, as viewers expect: NAME.dzi and NAME_files/LEVEL/X_Y.FORMAT."""
    served = edge()
    document = zoom_path((await made(served, picture))["metadata"]["deep_zoom"])
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
    document = zoom_path((await made(served, picture))["metadata"]["deep_zoom"])
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
        zoom_path(row["url"]).partition("?")[0] for row in body["data"]
    ]
    events = (await served.edit(MODEL, ("image", picture, "a"), ("n", "2"), ("stream", "true"))).events()
    completed = [data for name, data in events if name == "image_edit.completed"]
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
    document = zoom_path((await made(served, picture))["metadata"]["deep_zoom"])
    assert (await served.get(change(document))).status == 404


async def test_two_at_once_make_them_once(edge, picture, monkeypatch):
    """Whoever asks while the tiles are made waits for the same work, and a caller that goes away does not end it."""
    served, calls = edge(), []

    def slow(file, folder, really=deep_zoom_cache.write_pyramid):
        calls.append(file)
        really(file, folder)

    monkeypatch.setattr(deep_zoom_cache, "write_pyramid", slow)
    document = zoom_path((await made(served, picture))["metadata"]["deep_zoom"])
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
    document = zoom_path((await made(served, picture))["metadata"]["deep_zoom"])
    await served.get(document)
    folder = served.folder / "media"
    assert len(list(folder.iterdir())) == 2
    served.clock.now += 3601
    assert (await served.get(document)).status == 404
    assert MediaFolder(folder, 3600).sweep(served.clock.now) == 1
    assert list(folder.iterdir()) == []


async def test_the_page_gets_links_to_its_own_server(edge, picture, bucket_url):
    """A bucket's links are those of the bucket; the page, which may read nothing else, gets links to its server."""
    served = edge(media_url=bucket_url)
    page = {"X-Fluxvision-Client": "page", "Authorization": "Bearer any"}
    links = [
        (await served.edit(MODEL, ("image", picture, "a"), **headers)).json()["data"][0]["url"]
        for headers in ({}, page)
    ]
    assert "X-Amz-Signature" in links[0]
    assert links[1].startswith("http://localhost:8000/media/")
    answer = await served.get(zoom_path(links[1]))
    assert (answer.status, answer.body) == (200, RESULT)


async def test_any_server_makes_the_tiles_of_a_bucket(edge, picture, bucket_url, tmp_path):
    """A server that has not made a result sends its tiles, until the result is deleted."""
    one, two = edge(media_url=bucket_url), edge(media_url=bucket_url, data_dir=tmp_path / "other")
    document = zoom_path((await made(one, picture))["metadata"]["deep_zoom"])
    assert (await two.get(document)).status == 200
    assert (await two.get(document.replace(".dzi", "_files/6/0_0.jpeg"))).status == 200
    await open_media_store(bucket_url, 60, SimpleNamespace(media=tmp_path / "x", run=tmp_path)).delete(
        document.split("/")[2]
    )
    assert [(await each.get(document)).status for each in (one, two)] == [404, 404]
