"""The provider for OpenAI-compatible servers sends what their own clients send and reads what they answer."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import threading
import tracemalloc

import msgspec
import openai
import pytest
from PIL import Image

from fakes.openai import FakeOpenAI, running_openai
from fluxvision import imaging
from fluxvision.config import Upstream, load
from fluxvision.errors import Cancelled, InvalidRequest, UpstreamError
from fluxvision.imaging import Limits
from fluxvision.providers.openai import Provider, configured
from fluxvision.types import Call, Fidelity, Source, Watch

CAPTION = "a small test picture, enlarged"


@pytest.fixture
async def upstream():
    async with FakeOpenAI() as fake:
        yield fake


@pytest.fixture
async def provider(upstream):
    made = Provider(Upstream("other", upstream.base_url, {}, key=upstream.key))
    yield made
    await made.aclose()


@pytest.fixture
def folder(tmp_path):
    found = tmp_path / "work"
    found.mkdir()
    return found


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    Image.linear_gradient("L").resize((48, 40)).convert("RGB").save(path)
    return imaging.probe(path, Limits())


def call(photo, body=None, **other):
    return Call("other", "gpt-image-1", {"scale_factor": 2.0} if body is None else body, photo, None, **other)


async def serving(answer):
    """Serve one raw answer to every request; returns the server, its address and the heads of requests."""
    heads = []

    async def handle(reader, writer):
        try:
            heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
            length = int(heads[-1].lower().partition("content-length: ")[2].partition("\r\n")[0])
            while length > 0:
                length -= len(await reader.read(min(length, 65_536)) or bytes(length))
            writer.write(answer)
            await writer.drain()
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    return server, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", heads


def raw(document):
    """Return a success with a document as it stands, or with the JSON of one."""
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


def size(path):
    with Image.open(path) as picture:
        return picture.size


async def until(condition):
    async with asyncio.timeout(3):
        while not condition():  # noqa: ASYNC110, what the fake counts has no event
            await asyncio.sleep(0.01)


def png():
    found = io.BytesIO()
    Image.new("RGB", (96, 80), (200, 30, 60)).save(found, "PNG")
    return found.getvalue()


async def answered(document, photo, folder, **options):
    """Return what the provider makes of one raw success."""
    server, address, _ = await serving(raw(document))
    provider = Provider(Upstream("other", address, {}), **options)
    try:
        return await provider.run(call(photo), Watch(), folder)
    finally:
        await provider.aclose()
        server.close()


async def test_a_picture_and_what_is_said_of_it(upstream, provider, photo, folder):
    """The picture is a file in the folder, of the size asked for, with the caption and the server's own name."""
    outcome = await provider.run(call(photo, {"scale_factor": 3.0}), Watch(), folder)
    assert size(outcome.picture) == (144, 120)
    assert outcome.picture.parent == folder
    assert outcome.caption == CAPTION
    assert outcome.upstream_id.startswith("req-")
    assert (outcome.seed, outcome.fidelity, dict(outcome.details)) == (None, None, {})
    assert (upstream.paid, len(upstream.requests)) == (1, 1)


async def test_a_link_is_fetched_from_the_configured_server(upstream, provider, photo, folder):
    """The server's own origin is trusted, though its address is private."""
    upstream.answers = "url"
    outcome = await provider.run(call(photo), Watch(), folder)
    assert size(outcome.picture) == (96, 80)
    assert upstream.fetched == 1


async def test_what_another_fluxvision_says_is_kept(upstream, provider, photo, folder):
    """Seed, fidelity, provider and model come from the metadata, the name from the body."""
    upstream.metadata = {
        "seed": 7,
        "fidelity": {"lr_psnr_db": 44, "seam_ratio": None, "delta_e": 0.5},
        "provider": "fal",
        "executed_model": "fal/fal-ai/flux-vision-upscaler",
    }
    outcome = await provider.run(call(photo), Watch(), folder)
    assert outcome.seed == 7
    assert outcome.fidelity == Fidelity(44.0, None, 0.5)
    assert outcome.details == {"upstream_provider": "fal", "upstream_model": "fal/fal-ai/flux-vision-upscaler"}
    assert outcome.upstream_id.startswith("req_")


@pytest.mark.parametrize(
    "metadata",
    [
        {"seed": True, "fidelity": {"lr_psnr_db": 1e9, "seam_ratio": None, "delta_e": 0}, "provider": "x" * 300},
        {"seed": -1, "fidelity": {"lr_psnr_db": 40, "seam_ratio": -1, "delta_e": 0}, "provider": "a\nb"},
        {"seed": "7", "fidelity": {"lr_psnr_db": "high"}, "provider": {"name": "x"}},
        {"seed": 2**80, "fidelity": [], "provider": ""},
        ["seed"],
    ],
)
async def test_nonsense_in_the_metadata_is_left_out(upstream, provider, photo, folder, metadata):
    """Facts of the wrong type or out of range are as if they were not there."""
    upstream.metadata = metadata
    outcome = await provider.run(call(photo), Watch(), folder)
    assert (outcome.seed, outcome.fidelity, dict(outcome.details)) == (None, None, {})


async def test_the_form_is_that_of_the_official_clients(upstream, provider, photo, folder):
    """Numbers are short, truths are words, nested values have brackets, and nothing is there that was not asked for."""
    body = {
        "prompt": "ä “quoted”\r\nline",
        "scale_factor": 2.0,
        "creativity": 0.35,
        "seed": 7,
        "moderation": "low",
        "tiny": 1e-7,
        "empty": "",
        "nothing": None,
        "flag": True,
        "off": False,
        "options": {"a": {"b": 1.0}, "list": ["x", 2]},
        "tags": ["one", {"k": "v"}],
        'odd "name"': "1",
    }
    await provider.run(call(photo, body), Watch(), folder)
    assert list(upstream.requests[0].fields.items()) == [
        ("model", "gpt-image-1"),
        ("prompt", "ä “quoted”\r\nline"),
        ("scale_factor", "2"),
        ("creativity", "0.35"),
        ("seed", "7"),
        ("moderation", "low"),
        ("tiny", "1e-07"),
        ("empty", ""),
        ("flag", "true"),
        ("off", "false"),
        ("options[a][b]", "1"),
        ("options[list][]", "x"),
        ("options[list][]", "2"),
        ("tags[]", "one"),
        ("tags[][k]", "v"),
        ("odd %22name%22", "1"),
    ]


async def test_nested_fields_are_those_of_the_openai_sdk(upstream, provider, photo, folder):
    """The same extra values sent by the official SDK make the same fields."""
    extras = {"options": {"a": {"b": 1}, "list": ["x", 2]}, "tags": ["one", "two"], "flag": True, "factor": 0.5}
    await provider.run(call(photo, {"prompt": "p", **extras}), Watch(), folder)
    client = openai.AsyncOpenAI(base_url=upstream.base_url, api_key=upstream.key, max_retries=0)
    await client.images.edit(image=photo.path, prompt="p", model="gpt-image-1", extra_body=extras)
    await client.close()
    ours, theirs = (sorted(request.fields.items()) for request in upstream.requests)
    assert ours == theirs


@pytest.mark.parametrize(("kind", "extension"), [("png", "png"), ("jpeg", "jpg"), ("webp", "webp")])
async def test_the_picture_is_sent_as_it_is(upstream, provider, tmp_path, kind, extension):
    """The file's bytes, its true content type and a matching name."""
    path = tmp_path / "no-extension"
    Image.new("RGB", (20, 10), "teal").save(path, kind)
    await provider.run(call(imaging.probe(path, Limits())), Watch(), tmp_path)
    sent = upstream.requests[0]
    assert (sent.image, sent.content_type) == (path.read_bytes(), f"image/{kind}")
    assert sent.filename == f"image.{extension}"


async def test_a_mask_is_a_second_file(upstream, provider, photo, tmp_path, folder):
    """A mask in the call goes along."""
    path = tmp_path / "mask"
    Image.new("RGBA", (48, 40)).save(path, "PNG")
    mask = imaging.probe(path, Limits(), "mask")
    await provider.run(Call("other", "m", {}, photo, mask), Watch(), folder)
    assert upstream.requests[0].mask == path.read_bytes()


async def test_the_headers(upstream, provider, photo, folder):
    """The key, the name of the work, and no wish for compression."""
    await provider.run(call(photo, key="work-1"), Watch(), folder)
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
        provider = Provider(Upstream("open", upstream.base_url + "/", {}))
        await provider.run(call(photo), Watch(), folder)
        await provider.aclose()
    assert not {"Authorization", "Idempotency-Key"} & set(upstream.requests[0].headers)


async def test_one_connection_serves_many_calls(upstream, provider, photo, folder):
    """A connection is kept for the next call."""
    for _ in range(3):
        await provider.run(call(photo), Watch(), folder)
    assert len(provider._session.connector._conns) == 1
    assert sum(len(kept) for kept in provider._session.connector._conns.values()) == 1
    assert upstream.paid == 3


@pytest.mark.parametrize(
    ("value", "param"),
    [(float("nan"), "x"), (float("inf"), "x"), (b"raw", "x"), ("\ud800", None), ({"a": {1, 2}}, "x")],
)
async def test_a_value_that_no_form_carries_is_refused(provider, photo, value, param):
    """It is refused before anything is sent, naming the parameter."""
    with pytest.raises(InvalidRequest) as caught:
        provider.check(call(photo, {"x": value}))
    assert caught.value.param == param


async def test_a_value_nested_too_deep_is_refused(provider, photo):
    """So that no value can exhaust the stack."""
    value = []
    for _ in range(5000):
        value = [value]
    with pytest.raises(InvalidRequest):
        provider.check(call(photo, {"x": value}))


async def test_a_large_upload_is_streamed(tmp_path, folder):
    """A file of 48 MB is sent with its length known, and never lies in memory."""
    path = tmp_path / "large.png"
    with path.open("wb") as file:
        file.truncate(48_000_000)
    source = Source(path, "png", 4000, 4000, 3, False, 8, 48_000_000)
    server, address, heads = await serving(raw({"data": [{"b64_json": base64.b64encode(png()).decode()}]}))
    provider = Provider(Upstream("other", address, {}))
    tracemalloc.start()
    try:
        outcome = await provider.run(call(source), Watch(), folder)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        await provider.aclose()
        server.close()
    assert outcome.picture.read_bytes() == png()
    assert int(heads[0].lower().partition("content-length: ")[2].partition("\r\n")[0]) > 48_000_000
    assert "chunked" not in heads[0].lower()
    assert peak < 6_000_000


@pytest.mark.parametrize("side", [900, 1500])
async def test_large_answers_are_the_same_as_small_ones(photo, folder, monkeypatch, side):
    """An answer over a megabyte is decoded in slices and in a thread, to the same bytes."""
    monkeypatch.setattr("fluxvision.providers.openai.SLICE", 64 * 1024)
    noise = Image.effect_noise((side, side), 90).convert("RGB")
    found = io.BytesIO()
    noise.save(found, "PNG")
    text = base64.b64encode(found.getvalue()).decode()
    outcome = await answered({"data": [{"b64_json": text}]}, photo, folder)
    assert len(text) > 1_000_000
    assert outcome.picture.read_bytes() == found.getvalue()


TEXT = base64.b64encode(png()).decode()


@pytest.mark.parametrize(
    "document",
    [
        {"data": [{"b64_json": TEXT, "url": None, "revised_prompt": None}]},
        {"data": [{"b64_json": TEXT}, {"b64_json": "second"}]},
        {"data": [{"b64_json": TEXT, "url": "http://127.0.0.1/never", "revised_prompt": 5}], "metadata": None, "id": 5},
        {"data": [{"b64_json": f"data:image/png;base64,{TEXT}"}]},
        {"data": [{"b64_json": "\n".join(TEXT[start : start + 76] for start in range(0, len(TEXT), 76))}]},
        {"data": [{"b64_json": None, "url": f"data:image/png;base64,{TEXT}"}]},
        {"data": [{"b64_json": "", "url": f"data:image/png;base64,{TEXT}"}]},
        {"data": [{"b64_json": TEXT}], "error": {"message": "a warning"}},
        json.dumps({"data": [{"b64_json": TEXT}]}).replace("/", "\\/").encode(),
    ],
)
async def test_every_way_to_write_a_picture(photo, folder, document):
    """Base64 as OpenAI, PHP and careless servers write it is the same picture; the first of several counts."""
    outcome = await answered(document, photo, folder)
    assert outcome.picture.read_bytes() == png()
    assert outcome.caption is None


async def test_a_link_without_a_host_is_the_servers_own(upstream, provider, photo, folder, monkeypatch):
    """A path is read relative to the server's address."""
    monkeypatch.setattr(FakeOpenAI, "origin", "")
    upstream.answers = "url"
    outcome = await provider.run(call(photo), Watch(), folder)
    assert size(outcome.picture) == (96, 80)


async def test_a_private_link_needs_leave(photo, folder):
    """A link to another private address is refused, unless the operator allows those."""
    async with FakeOpenAI() as files:
        name = files._link(png(), None)
        document = {"data": [{"url": name}]}
        with pytest.raises(UpstreamError) as caught:
            await answered(document, photo, folder)
        assert files.fetched == 0
        assert (await answered(document, photo, folder, private=True)).picture.read_bytes() == png()
    assert caught.value.billed


async def test_a_cancelled_task_closes_the_connection(upstream, provider, photo, folder):
    """The server sees at once that nobody waits any more."""
    upstream.behave("hang")
    task = asyncio.create_task(provider.run(call(photo), Watch(), folder))
    await until(lambda: upstream.requests)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: upstream.abandoned)
    assert not any(provider._session.connector._conns.values())


async def test_a_cancelled_task_stops_reading_an_answer(upstream, provider, photo, folder):
    """The connection is closed in the middle of an answer, too, and no file is left."""
    upstream.behave("hang_midway")
    task = asyncio.create_task(provider.run(call(photo), Watch(), folder))
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
    provider = Provider(Upstream("other", f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", {}))
    source = Source(path, "png", 4000, 4000, 3, False, 8, 48_000_000)
    task = asyncio.create_task(provider.run(call(source), Watch(), folder))
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
        await provider.run(call(photo), Watch(cancel=stopped), folder)
    assert upstream.requests == []


async def test_ping_asks_nobody(upstream, provider):
    """Ping is True without a call, and closing twice or before any call is harmless."""
    assert await provider.ping()
    assert upstream.requests == []
    unused = Provider(Upstream("unused", "https://example.org/v1", {}))
    await unused.aclose()


def test_configured_makes_one_provider_per_server():
    """Every configured server is a provider under its own name, with its title and the common limits."""
    rows = [
        {"name": "other", "base_url": "https://example.org/v1", "models": {}, "title": "The other one"},
        {"name": "plain", "base_url": "http://10.0.0.2:8000/openai/v1/", "models": {}},
    ]
    settings = load({}, {"openai": rows, "remote_parallel": 5})
    found = configured(settings)
    assert [(name, one.title, one.workers, one.parallel, one.remote) for name, one in found.items()] == [
        ("other", "The other one", 5, 10, True),
        ("plain", "plain", 5, 10, True),
    ]
    assert str(found["plain"]._target) == "http://10.0.0.2:8000/openai/v1/images/edits"
    assert configured(load({})) == {}


async def test_the_fake_is_what_the_openai_sdk_expects(upstream, photo):
    """The official client gets an enlarged picture, as base64 or as a link, and its own errors."""
    client = openai.AsyncOpenAI(
        base_url=upstream.base_url, api_key=upstream.key, max_retries=0, _strict_response_validation=True
    )
    ask = {"image": photo.path, "prompt": "", "model": "gpt-image-1"}
    found = await client.images.edit(**ask, extra_body={"scale_factor": 1.5})
    assert Image.open(io.BytesIO(base64.b64decode(found.data[0].b64_json))).size == (72, 60)
    assert (found.data[0].revised_prompt, found.usage.total_tokens) == (CAPTION, 100)
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
    upstream = Upstream("other", "https://example.org/v1", {}, key="sk-secret")
    assert "sk-secret" not in f"{upstream} {upstream!r}"
    assert msgspec.structs.asdict(upstream)["key"] == "sk-secret"
