"""GET /media: files behind links, served so that a browser runs nothing of them."""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime

import pytest

from fakes.gateway import png
from fakes.server import Server, wait_until
from fluxvision.http.media import public_base

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
