"""The provider for OpenAI-compatible servers: its headers, its connections, and how it is stopped."""

from __future__ import annotations

import asyncio
import base64
import io
import threading

import msgspec
import openai
import pytest
from PIL import Image

from fakes.openai import FakeOpenAI, running_openai
from fluxvision.core.callbacks import JobCallbacks
from fluxvision.core.errors import Cancelled
from fluxvision.core.images import InputImage
from fluxvision.core.load_settings import load_settings
from fluxvision.core.openai_servers import OpenAIServer
from fluxvision.core.types import Call
from fluxvision.providers.openai import Provider, configured


def call(photo, body=None, **other):
    return Call("other", "gpt-image-1", {"scale_factor": 2.0} if body is None else body, photo, None, **other)


async def until(condition):
    async with asyncio.timeout(3):
        while not condition():  # noqa: ASYNC110, what the fake counts has no event
            await asyncio.sleep(0.01)


async def test_the_headers(upstream, provider, photo, folder):
    """The key, the name of the work, and no wish for compression."""
    await provider.run(call(photo, key="work-1"), JobCallbacks(), folder)
    headers = upstream.requests[0].headers
    assert headers["Authorization"] == f"Bearer {upstream.key}"
    assert headers["Idempotency-Key"] == "work-1"
    assert headers["Accept-Encoding"] == "identity"
    assert headers["User-Agent"].startswith("fluxvision/")
    assert int(headers["Content-Length"]) > photo.size
    assert "Transfer-Encoding" not in headers


async def test_without_a_key_none_is_sent(photo, folder):
    """A server without a key gets no Authorization header, and no name for work that has none."""
    async with FakeOpenAI(key="") as upstream:
        provider = Provider(OpenAIServer("open", upstream.base_url + "/", {}))
        await provider.run(call(photo), JobCallbacks(), folder)
        await provider.aclose()
    assert not {"Authorization", "Idempotency-Key"} & set(upstream.requests[0].headers)


async def test_one_connection_serves_many_calls(upstream, provider, photo, folder):
    """A connection is kept for the next call."""
    for _ in range(3):
        await provider.run(call(photo), JobCallbacks(), folder)
    assert len(provider._session.connector._conns) == 1
    assert sum(len(kept) for kept in provider._session.connector._conns.values()) == 1
    assert upstream.paid == 3


async def test_a_cancelled_task_closes_the_connection(upstream, provider, photo, folder):
    """The server sees at once that nobody waits any more."""
    upstream.behave("hang")
    task = asyncio.create_task(provider.run(call(photo), JobCallbacks(), folder))
    await until(lambda: upstream.requests)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: upstream.abandoned)
    assert not any(provider._session.connector._conns.values())


async def test_a_cancelled_task_stops_reading_an_answer(upstream, provider, photo, folder):
    """The connection is closed in the middle of an answer, too, and no file is left."""
    upstream.behave("hang_midway")
    task = asyncio.create_task(provider.run(call(photo), JobCallbacks(), folder))
    await until(lambda: upstream.paid)
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: upstream.abandoned)
    assert list(folder.iterdir()) == []


async def test_a_cancelled_task_stops_an_upload(tmp_path, folder):
    """A large upload that nobody reads ends with the task."""
    path = tmp_path / "large.png"
    with path.open("wb") as file:
        file.truncate(48_000_000)
    gone = asyncio.Event()

    async def handle(reader, writer):
        await reader.read(100_000)
        await asyncio.sleep(0.2)
        while await reader.read(1_000_000):
            pass
        gone.set()
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    provider = Provider(OpenAIServer("other", f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", {}))
    source = InputImage(path, "png", 4000, 4000, 3, False, 8, 48_000_000)
    task = asyncio.create_task(provider.run(call(source), JobCallbacks(), folder))
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(gone.wait(), 2)
    await provider.aclose()
    server.close()


async def test_work_that_was_stopped_is_not_begun(upstream, provider, photo, folder):
    """A watch that was cancelled before sends nothing."""
    stopped = threading.Event()
    stopped.set()
    with pytest.raises(Cancelled):
        await provider.run(call(photo), JobCallbacks(cancel=stopped), folder)
    assert upstream.requests == []


async def test_ping_asks_nobody(upstream, provider):
    """Ping is True without a call, and closing twice or before any call is harmless."""
    assert await provider.ping()
    assert upstream.requests == []
    unused = Provider(OpenAIServer("unused", "https://example.org/v1", {}))
    await unused.aclose()


def test_configured_makes_one_provider_per_server():
    """Every configured server is a provider under its own name, with its title and the common limits."""
    rows = [
        {"name": "other", "base_url": "https://example.org/v1", "models": {}, "title": "The other one"},
        {"name": "plain", "base_url": "http://10.0.0.2:8000/openai/v1/", "models": {}},
    ]
    settings = load_settings({}, {"openai": rows, "remote_parallel": 5})
    found = configured(settings)
    assert [(name, one.title, one.workers, one.parallel, one.remote) for name, one in found.items()] == [
        ("other", "The other one", 5, 10, True),
        ("plain", "plain", 5, 10, True),
    ]
    assert str(found["plain"]._target) == "http://10.0.0.2:8000/openai/v1/images/edits"
    assert configured(load_settings({})) == {}


async def test_the_fake_is_what_the_openai_sdk_expects(upstream, photo):
    """The official client gets an enlarged picture, as base64 or as a link, and its own errors."""
    client = openai.AsyncOpenAI(
        base_url=upstream.base_url, api_key=upstream.key, max_retries=0, _strict_response_validation=True
    )
    ask = {"image": photo.path, "prompt": "", "model": "gpt-image-1"}
    found = await client.images.edit(**ask, extra_body={"scale_factor": 1.5})
    assert Image.open(io.BytesIO(base64.b64decode(found.data[0].b64_json))).size == (72, 60)
    assert (found.data[0].revised_prompt, found.usage.total_tokens) == ("a small test picture, enlarged", 100)
    linked = await client.images.edit(**ask, size="256x256", response_format="url")
    assert linked.data[0].url.startswith(upstream.origin)
    errors = {"policy": openai.BadRequestError, "busy": openai.RateLimitError, "503": openai.InternalServerError}
    for fault, kind in errors.items():
        upstream.behave(fault, times=1)
        with pytest.raises(kind):
            await client.images.edit(**ask)
    await client.close()
    assert (upstream.paid, len(upstream.requests)) == (2, 5)


def test_the_fake_runs_beside_a_test_without_a_loop(photo):
    """From a thread it serves, refuses while it is stopped, and comes back at the same address."""
    with running_openai() as upstream:
        client = openai.OpenAI(base_url=upstream.base_url, api_key=upstream.key, max_retries=0)
        upstream.blocking(upstream.stop())
        with pytest.raises(openai.APIConnectionError):
            client.images.edit(image=photo.path, prompt="")
        upstream.blocking(upstream.start())
        assert client.images.edit(image=photo.path, prompt="").data[0].b64_json
        client.close()
    assert upstream.paid == 1


def test_an_upstream_shows_no_key():
    """Neither the text of a configured server nor its provider's attributes print the key by accident."""
    upstream = OpenAIServer("other", "https://example.org/v1", {}, key="sk-secret")
    assert "sk-secret" not in f"{upstream} {upstream!r}"
    assert msgspec.structs.asdict(upstream)["key"] == "sk-secret"
