"""The picture that a remote provider delivers."""

from __future__ import annotations

import asyncio
import base64
import io
from types import SimpleNamespace

import pytest
from aiohttp import web
from PIL import Image

from fakes.server import wait_until
from fluxvision.core.errors import UpstreamError
from fluxvision.net import client, fetch
from fluxvision.net.ssrf_guard import OPEN, Guard
from fluxvision.providers import result_file


def picture(kind="PNG", size=(40, 30)):
    buffer = io.BytesIO()
    Image.effect_noise(size, 60).convert("RGB").save(buffer, kind)
    return buffer.getvalue()


def address(content):
    return "data:image/png;base64," + base64.b64encode(content).decode()


async def load(reference, folder, **options):
    options = {"guard": OPEN, "limit": 100_000, "patience": 2.0, "pause": 0.01} | options
    return await result_file.fetch_result(reference, folder, **options)


@pytest.fixture
async def host():
    """A server whose answers are popped from a list: (status, content)."""
    answers = []

    async def handle(_request):
        status, content = answers.pop(0)
        return web.Response(status=status, body=content)

    app = web.Application()
    app.router.add_get("/{name}", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield SimpleNamespace(url=f"http://127.0.0.1:{runner.addresses[0][1]}/a", answers=answers)
    await runner.cleanup()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF"])
async def test_a_picture_inside_the_answer_is_written(tmp_path, kind):
    """A data URI becomes a new file, byte for byte."""
    content = picture(kind)
    path = await load(address(content), tmp_path)
    assert path.parent == tmp_path
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    "answers",
    [
        [(200, picture())],
        [(503, b""), (500, b""), (200, picture())],
        [(200, picture()[:500]), (200, picture())],
        [(200, picture("JPEG")[:-300]), (200, picture("JPEG"))],
    ],
    ids=["well", "failing", "cut", "cut JPEG"],
)
async def test_what_may_pass_is_tried_again(tmp_path, host, answers):
    """A server that fails, or sends half a file, is asked up to three times."""
    host.answers += answers
    whole = answers[-1][1]
    assert (await load(host.url, tmp_path)).read_bytes() == whole
    assert host.answers == []
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("answers", "left"),
    [
        ([(404, b""), (200, picture())], 1),
        ([(403, b""), (200, picture())], 1),
        ([(500, b"")] * 4, 1),
        ([(200, b"<html>expired</html>")] * 4, 1),
        ([(200, bytes(200_000))] * 2, 1),
    ],
    ids=["missing", "expired", "failing", "a page", "too long"],
)
async def test_what_stays_wrong_is_a_paid_failure(tmp_path, host, answers, left):
    """What does not pass is an error that is billed, names no address and leaves no file."""
    host.answers += answers
    with pytest.raises(UpstreamError) as caught:
        await load(host.url, tmp_path)
    assert caught.value.billed
    assert "127.0.0.1" not in caught.value.message
    assert len(host.answers) == left
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("reference", "options"),
    [
        ("ftp://host/a.png", {}),
        ("", {}),
        ("iVBORw0KGgo", {}),
        ("data:image/png,plain", {}),
        ("data:image/png;base64,????", {}),
        (address(b"no picture"), {}),
        (address(picture("WEBP")[:-100]), {}),
        (address(picture("JPEG")[:-100]), {}),
        (address(picture()), {"limit": 100}),
        (address(picture()), {"pixels": 100}),
        ("http://127.0.0.1:8080/a.png", {"guard": Guard()}),
        ("http://169.254.169.254/a.png", {"guard": Guard()}),
        ("http://localhost:1/a.png", {"guard": Guard()}),
    ],
)
async def test_references_that_are_no_pictures(tmp_path, reference, options):
    """Whatever else a provider calls a picture is a failure that is billed."""
    with pytest.raises(UpstreamError) as caught:
        await load(reference, tmp_path, tries=1, **options)
    assert caught.value.billed
    assert list(tmp_path.iterdir()) == []


async def test_a_full_disk_is_this_servers(tmp_path, monkeypatch):
    """Without room on the disk nobody else is to blame, and no file is left."""

    def full(*_arguments):
        raise OSError(28, "full")

    monkeypatch.setattr(fetch, "decode_data_uri", full)
    with pytest.raises(OSError, match="full"):
        await load(address(picture()), tmp_path)
    assert list(tmp_path.iterdir()) == []


async def test_a_cancelled_fetch_leaves_no_file(tmp_path, host):
    """When the caller goes away between two tries nothing is left."""
    host.answers += [(200, picture()[:500])] * 2
    task = asyncio.ensure_future(load(host.url, tmp_path, pause=30.0))
    assert await asyncio.to_thread(wait_until, lambda: list(tmp_path.iterdir()))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert list(tmp_path.iterdir()) == []


async def test_an_answer_has_an_end(host):
    """An answer over the limit is not read on."""
    host.answers += [(200, bytes(5000))] * 2
    async with client.create_session(5.0) as session:
        async with session.get(host.url) as response:
            assert len(await client.read_limited(response, 5000)) == 5000
        async with session.get(host.url) as response:
            with pytest.raises(UpstreamError, match="too long"):
                await client.read_limited(response, 4999)


async def test_the_session_is_quiet():
    """A session keeps no cookies and follows no proxy of the environment."""
    async with client.create_session(5.0) as session:
        assert not session.trust_env
        assert session.timeout.total is None
        assert session.headers["User-Agent"].startswith("fluxvision/")


@pytest.mark.parametrize(
    ("private", "url", "refused"),
    [
        (False, "http://127.0.0.1:7777/a", False),
        (False, "http://127.0.0.1:7778/a", True),
        (False, "https://cdn.example/a", False),
        (True, "http://127.0.0.1:7778/a", False),
    ],
)
def test_origins_of_the_operator_are_trusted(private, url, refused):
    """The guard lets configured origins pass, and everything where private addresses are allowed."""
    guard = client.result_guard(private, "http://127.0.0.1:7777/queue", "https://rest.example/")
    assert bool(guard.refusal(url)) is refused
