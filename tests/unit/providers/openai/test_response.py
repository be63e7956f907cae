"""What a server answers is read as careless as it is written, and believed where it makes sense."""

from __future__ import annotations

import base64
import io
import json

import pytest
from PIL import Image

from fakes.answers import png, raw, serving
from fakes.openai import FakeOpenAI
from fakes.outcomes import delivered
from fluxvision.core.callbacks import JobCallbacks
from fluxvision.core.errors import UpstreamError
from fluxvision.core.images import Fidelity
from fluxvision.core.openai_servers import OpenAIServer
from fluxvision.core.types import Call
from fluxvision.providers.openai import Provider

CAPTION = "a small test picture, enlarged"


TEXT = base64.b64encode(png()).decode()


def call(photo, body=None, **other):
    return Call("other", "gpt-image-1", {"scale_factor": 2.0} if body is None else body, photo, None, **other)


def size(path):
    with Image.open(path) as picture:
        return picture.size


async def answered(document, photo, folder, **options):
    """Return what the provider makes of one raw success."""
    server, address, _ = await serving(raw(document))
    provider = Provider(OpenAIServer("other", address, {}), **options)
    try:
        return await provider.run(call(photo), JobCallbacks(), folder)
    finally:
        await provider.aclose()
        server.close()


async def test_a_picture_and_what_is_said_of_it(upstream, provider, photo, folder):
    """The picture is a file in the folder, of the size asked for, with the caption and the server's own name."""
    outcome = await provider.run(call(photo, {"scale_factor": 3.0}), JobCallbacks(), folder)
    assert size(delivered(outcome)) == (144, 120)
    assert delivered(outcome).parent == folder
    assert outcome.caption == CAPTION
    assert outcome.upstream_id.startswith("req-")
    assert (outcome.seed, outcome.fidelity, dict(outcome.details)) == (None, None, {})
    assert (upstream.paid, len(upstream.requests)) == (1, 1)


async def test_a_link_is_fetched_from_the_configured_server(upstream, provider, photo, folder):
    """The server's own origin is trusted, though its address is private."""
    upstream.answers = "url"
    outcome = await provider.run(call(photo), JobCallbacks(), folder)
    assert size(delivered(outcome)) == (96, 80)
    assert upstream.fetched == 1


async def test_what_another_fluxvision_says_is_kept(upstream, provider, photo, folder):
    """Seed, fidelity, provider and model come from the metadata, the name from the body."""
    upstream.metadata = {
        "seed": 7,
        "fidelity": {"lr_psnr_db": 44, "seam_ratio": None, "delta_e": 0.5},
        "provider": "fal",
        "executed_model": "fal/fal-ai/flux-vision-upscaler",
    }
    outcome = await provider.run(call(photo), JobCallbacks(), folder)
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
    outcome = await provider.run(call(photo), JobCallbacks(), folder)
    assert (outcome.seed, outcome.fidelity, dict(outcome.details)) == (None, None, {})


@pytest.mark.parametrize("side", [900, 1500])
async def test_large_answers_are_the_same_as_small_ones(photo, folder, monkeypatch, side):
    """An answer over a megabyte is decoded in slices and in a thread, to the same bytes."""
    monkeypatch.setattr("fluxvision.net.client.SLICE", 64 * 1024)
    noise = Image.effect_noise((side, side), 90).convert("RGB")
    found = io.BytesIO()
    noise.save(found, "PNG")
    text = base64.b64encode(found.getvalue()).decode()
    outcome = await answered({"data": [{"b64_json": text}]}, photo, folder)
    assert len(text) > 1_000_000
    assert delivered(outcome).read_bytes() == found.getvalue()


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
    assert delivered(outcome).read_bytes() == png()
    assert outcome.caption is None


async def test_a_link_without_a_host_is_the_servers_own(upstream, provider, photo, folder, monkeypatch):
    """A path is read relative to the server's address."""
    monkeypatch.setattr(FakeOpenAI, "origin", "")
    upstream.answers = "url"
    outcome = await provider.run(call(photo), JobCallbacks(), folder)
    assert size(delivered(outcome)) == (96, 80)


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
