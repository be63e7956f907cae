"""What is sent is what OpenAI’s own clients send."""

from __future__ import annotations

import base64
import tracemalloc

import openai
import pytest
from PIL import Image

from fakes.answers import png, raw, serving
from fakes.outcomes import delivered
from fluxvision import imaging
from fluxvision.core.callbacks import JobCallbacks
from fluxvision.core.errors import InvalidRequest
from fluxvision.core.images import InputImage
from fluxvision.core.openai_servers import OpenAIServer
from fluxvision.core.types import Call
from fluxvision.imaging import Limits
from fluxvision.providers.openai import Provider


def call(photo, body=None, **other):
    return Call("other", "gpt-image-1", {"scale_factor": 2.0} if body is None else body, photo, None, **other)


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
    await provider.run(call(photo, body), JobCallbacks(), folder)
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
    await provider.run(call(photo, {"prompt": "p", **extras}), JobCallbacks(), folder)
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
    await provider.run(call(imaging.probe(path, Limits())), JobCallbacks(), tmp_path)
    sent = upstream.requests[0]
    assert (sent.image, sent.content_type) == (path.read_bytes(), f"image/{kind}")
    assert sent.filename == f"image.{extension}"


async def test_a_mask_is_a_second_file(upstream, provider, photo, tmp_path, folder):
    """A mask in the call goes along."""
    path = tmp_path / "mask"
    Image.new("RGBA", (48, 40)).save(path, "PNG")
    mask = imaging.probe(path, Limits(), "mask")
    await provider.run(Call("other", "m", {}, photo, mask), JobCallbacks(), folder)
    assert upstream.requests[0].mask == path.read_bytes()


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
    source = InputImage(path, "png", 4000, 4000, 3, False, 8, 48_000_000)
    server, address, heads = await serving(raw({"data": [{"b64_json": base64.b64encode(png()).decode()}]}))
    provider = Provider(OpenAIServer("other", address, {}))
    tracemalloc.start()
    try:
        outcome = await provider.run(call(source), JobCallbacks(), folder)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        await provider.aclose()
        server.close()
    assert delivered(outcome).read_bytes() == png()
    assert int(heads[0].lower().partition("content-length: ")[2].partition("\r\n")[0]) > 48_000_000
    assert "chunked" not in heads[0].lower()
    assert peak < 6_000_000
