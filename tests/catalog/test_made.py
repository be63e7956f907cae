"""What the table promises is what a caller gets: sizes, prices and receipts of whole jobs at servers on loopback."""

from __future__ import annotations

import contextlib
import json

import pytest
from PIL import Image

from fakes.fal import RANGES, FakeFal
from fakes.openai import FakeOpenAI
from fakes.reports import run_job
from fluxvision import imaging
from fluxvision.catalog import catalog
from fluxvision.catalog.catalog import CATALOG
from fluxvision.core.callbacks import JobCallbacks
from fluxvision.core.errors import Exhausted, InvalidRequest
from fluxvision.core.load_settings import load_settings
from fluxvision.gateway.gateway import Gateway
from fluxvision.providers import embedded, fal, openai

FLUX = "flux-vision-upscaler"
OPENAIS = frozenset({"model", "prompt", "n", "size", "quality", "background", "user", "response_format"})
"""The fields that OpenAI's own server knows, or some of them."""


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "in.png"
    Image.radial_gradient("L").resize((96, 64)).convert("RGB").save(path)
    return imaging.probe(path, imaging.Limits())


@contextlib.asynccontextmanager
async def at_fal():
    """A gateway with fal.ai alone, and that fal.ai."""
    async with FakeFal() as upstream:
        gateway = Gateway(
            {"fal": fal.Provider(upstream.key, upstream.queue_url, upstream.storage_url, time_scale=0.01)}
        )
        yield gateway, upstream
        await gateway.aclose()


@contextlib.asynccontextmanager
async def at_other(**facts):
    """A gateway with another server before this machine, and that server; `facts` are attributes of it."""
    async with FakeOpenAI() as upstream:
        for name, value in facts.items():
            setattr(upstream, name, value)
        table = {"name": "other", "base_url": upstream.base_url, "key": upstream.key, "models": {FLUX: "theirs"}}
        settings = load_settings({"FLUXVISION_OPENAI": json.dumps([table | {"price": "0.05"}])})
        providers = {"other": openai.Provider(settings.openai[0]), **embedded.configured(settings)}
        gateway = Gateway(providers, models=catalog.configure_offers(CATALOG, settings))
        yield gateway, upstream
        await gateway.aclose()


async def made(gateway, model, source, folder, **fields):
    """Return the quote of a job and what it delivered."""
    job = gateway.admit(model, fields, source, None, "req_1")
    return gateway.prepare(job).quote(), await run_job(gateway, job, JobCallbacks(), folder)


def size(delivery):
    """Return the pixels of the file, which are those that are told."""
    [picture] = delivery.pictures
    with Image.open(picture.path) as opened:
        assert opened.size == (picture.width, picture.height)
    return picture.width, picture.height


@pytest.mark.parametrize(
    ("model", "factor"), [*(("seedvr", factor) for factor in (5, 6.5, 8, 10)), ("esrgan", 5), ("esrgan", 8)]
)
async def test_far_factors_are_made(source, folder, model, factor):
    """What the endpoint takes beyond x4 is asked for, made and billed as quoted."""
    async with at_fal() as (gateway, upstream):
        quote, delivery = await made(gateway, model, source, folder, scale_factor=factor)
        body = upstream.submissions[0].body
    assert size(delivery) == (96 * factor, 64 * factor)
    assert {body.get("upscale_factor"), body.get("scale")} == {None, factor}
    assert model == "esrgan" or delivery.cost == quote.total == round(0.001 * 6144 * factor**2)


async def test_a_resolution_beyond_four_times_is_made(source, folder):
    """A dry run that succeeds is followed by a job that does."""
    async with at_fal() as (gateway, _):
        quote, delivery = await made(gateway, "seedvr", source, folder, resolution="1K")
    assert (quote.width, quote.height) == size(delivery) == (1024, 683)


def test_the_fake_has_the_ranges_of_each_endpoint():
    """x8 is for some endpoints, not for all."""
    assert RANGES["fal-ai/esrgan"]["scale"] == (1, 8)
    assert RANGES["fal-ai/seedvr/upscale/image"]["upscale_factor"] == (1, 10)
    assert RANGES["fal-ai/flux-vision-upscaler"]["upscale_factor"] == (1, 4)


@pytest.mark.parametrize(
    "fields",
    [
        {"target_resolution": "1080p"},
        {"resolution": "1080p"},
        {"upscale_mode": "target", "target_resolution": "1080p"},
        {"upscale_mode": "target"},
    ],
)
async def test_a_target_is_made(folder, tmp_path, fields):
    """However it is said, the target is sent without a factor, and size, price and receipt are those of the target."""
    Image.radial_gradient("L").resize((400, 300)).convert("RGB").save(tmp_path / "in.png")
    picture = imaging.probe(tmp_path / "in.png", imaging.Limits())
    async with at_fal() as (gateway, upstream):
        quote, delivery = await made(gateway, "seedvr", picture, folder, strict=True, **fields)
        sent = dict(upstream.submissions[0].body)
    assert sent.pop("image_url")
    assert sent == {"upscale_mode": "target", "target_resolution": "1080p", "output_format": "png"}
    assert size(delivery) == (quote.width, quote.height) == (1663, 1247)
    assert delivery.cost == quote.total == round(0.001 * 1663 * 1247)
    line = next(line for line in delivery.receipt if line.parameter == "resolution")
    assert line.became["target_resolution"] == "1080p"
    assert line.honoured


async def test_a_target_that_means_less_is_delivered(folder, tmp_path):
    """Fal publishes no sizes of its targets: what was paid is brought to the size promised, not thrown away."""
    Image.radial_gradient("L").resize((400, 300)).convert("RGB").save(tmp_path / "in.png")
    picture = imaging.probe(tmp_path / "in.png", imaging.Limits())
    async with at_fal() as (gateway, upstream):
        upstream.fault = "result small"
        _, delivery = await made(gateway, "seedvr", picture, folder, resolution="1080p")
        assert size(delivery) == (1663, 1247)
        with pytest.raises(Exhausted, match="533x400 where 1600x1200 was asked for"):
            await made(gateway, "seedvr", picture, folder, scale_factor=4)


async def test_a_target_and_a_factor_are_refused(source):
    """Two words that the caller did send, and no other."""
    async with at_fal() as (gateway, _):
        with pytest.raises(InvalidRequest, match="scale_factor and upscale_mode"):
            gateway.prepare(
                gateway.admit("seedvr", {"upscale_mode": "target", "scale_factor": 3}, source, None, "req_1")
            ).quote()
        with pytest.raises(InvalidRequest, match="resolution and scale_factor"):
            gateway.prepare(
                gateway.admit("seedvr", {"target_resolution": "720p", "scale_factor": 3}, source, None, "req_1")
            ).quote()


async def test_a_bare_request_goes_as_it_is(source, folder):
    """A server that knows nothing but OpenAI's words is asked in those, and makes the picture."""
    async with at_other(known=OPENAIS) as (gateway, upstream):
        _, delivery = await made(gateway, "gpt-image-2-2026-04-21", source, folder)
    assert list(upstream.requests[0].fields) == ["model"]
    assert (delivery.provider, size(delivery)) == ("other", (192, 128))
    assert "creativity" not in {line.parameter for line in delivery.receipt}


async def test_a_server_may_choose_its_own_size(source, folder):
    """What comes larger and in its shape is brought to twice the picture, and the receipt says who was told what."""
    async with at_other() as (gateway, upstream):
        upstream.factor = 1.5
        _, delivery = await made(gateway, FLUX, source, folder)
        assert (delivery.provider, size(delivery)) == ("other", (192, 128))
        line = next(line for line in delivery.receipt if line.parameter == "scale_factor")
        assert (line.sent, line.became) == (None, "contain 192x128")
        assert "Not sent" in line.note
        upstream.behave("wrong_size")
        for fields in ({}, {"scale_factor": 2}):
            _, delivery = await made(gateway, FLUX, source, folder, **fields)
            assert [(one.provider, one.outcome) for one in delivery.attempts] == [
                ("other", "UPSTREAM_ERROR"),
                ("embedded", "ok"),
            ]


async def test_a_server_that_knows_no_seed_makes_versions(source, folder):
    """A seed that nobody but this server asked for is left out where it is refused, and is told of no picture."""
    async with at_other(known=OPENAIS) as (gateway, upstream):
        job = gateway.admit(f"other/{FLUX}", {"n": 2}, source, None, "req_1")
        delivery = await run_job(gateway, job, JobCallbacks(), folder)
        assert sorted((one.outcome, one.cost) for one in delivery.attempts) == [
            ("UPSTREAM_REFUSED", 0),
            ("UPSTREAM_REFUSED", 0),
            ("ok", 50_000),
            ("ok", 50_000),
        ]
        assert [picture.seed for picture in delivery.pictures] == [None, None]
        keys = [request.headers["idempotency-key"] for request in upstream.requests]
        assert len(set(keys)) == len(keys)  # other words under the same key would be taken for the same work
        assert gateway.health.snapshot()["other"].reliability == 1
        assert upstream.paid == 2


@pytest.mark.parametrize("fields", [{}, {"seed": 9}])
async def test_the_seeds_that_were_sent_are_told(source, folder, fields):
    """A server that says nothing of seeds was told one for each version: drawn here, or the caller's and its next."""
    async with at_other() as (gateway, upstream):
        job = gateway.admit(f"other/{FLUX}", {"n": 3, **fields}, source, None, "req_1")
        delivery = await run_job(gateway, job, JobCallbacks(), folder)
        first = delivery.pictures[0].seed
        assert [picture.seed for picture in delivery.pictures] == [first, first + 1, first + 2]
        assert first == fields.get("seed", first)
        assert {int(request.fields["seed"]) for request in upstream.requests} == {first, first + 1, first + 2}


@pytest.mark.parametrize(
    ("fields", "param"),
    [({"scale_factor": 3}, "scale_factor"), ({"creativity": 0.5}, "creativity"), ({"n": 2, "seed": 4}, "seed")],
)
async def test_what_the_caller_sent_is_the_callers(source, folder, fields, param):
    """A word that the other server refuses is told by our name for it, and nobody else is asked."""
    async with at_other(known=OPENAIS) as (gateway, upstream):
        job = gateway.admit(FLUX, fields, source, None, "req_1")
        with pytest.raises(InvalidRequest) as caught:
            await run_job(gateway, job, JobCallbacks(), folder)
        assert caught.value.param == param
        assert {one.provider for one in caught.value.attempts} == {"other"}
        assert upstream.paid == 0
