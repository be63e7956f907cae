"""The flow: a job goes in, a delivery comes out, and what goes wrong is told truthfully."""

from __future__ import annotations

import asyncio
import itertools
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fakes.painter import Painter
from fakes.reports import run_job
from fluxvision import engine, imaging
from fluxvision.core.callbacks import JobCallbacks
from fluxvision.core.errors import DeadlineExceeded, Exhausted, InvalidRequest, ModelNotFound, UpstreamError
from fluxvision.gateway.gateway import Gateway

MODEL = "flux-vision-upscaler"


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "in.png"
    Image.new("RGB", (40, 30), (1, 2, 3)).save(path)
    return imaging.probe(path, imaging.Limits())


def admitted(gateway, source, **fields):
    return gateway.admit(fields.pop("model", MODEL), fields, source, None, "req_1")


def opened(path: Path):
    with Image.open(path) as picture:
        picture.load()
        return picture


async def test_one_job_is_one_picture_of_the_promised_size(source, tmp_path):
    """Size, format, provider, cost and the receipt agree with the file."""
    gateway = Gateway({"embedded": Painter()})
    job = admitted(gateway, source, scale_factor="1.5", output_format="webp")
    delivery = await run_job(gateway, job, JobCallbacks(), tmp_path)
    picture = opened(delivery.pictures[0].path)
    assert (picture.size, picture.format) == ((60, 45), "WEBP")
    assert (delivery.provider, delivery.upstream, delivery.cost) == ("embedded", "flat", 0)
    assert [attempt.outcome for attempt in delivery.attempts] == ["ok"]
    assert "scale_factor" in [line.parameter for line in delivery.receipt]


@pytest.mark.parametrize(
    ("fields", "size"),
    [
        ({"size": "80x80"}, (80, 60)),
        ({"size": "80x80", "fit": "cover"}, (80, 80)),
        ({"size": "80x80", "fit": "pad"}, (80, 80)),
        ({"size": "80x80", "fit": "stretch"}, (80, 80)),
        ({"size": "20x20"}, (20, 15)),
        ({"size": "400x400"}, (400, 300)),
        ({"aspect_ratio": "1:1", "fit": "cover"}, (60, 60)),
        ({"resolution": "1K"}, (1024, 768)),
        ({}, (80, 60)),
    ],
)
async def test_the_delivered_pixels_are_those_quoted(source, tmp_path, fields, size):
    """Quote, delivery and file agree for every way to ask for a size."""
    gateway = Gateway({"embedded": Painter()})
    job = admitted(gateway, source, **fields)
    quote = gateway.prepare(job).quote()
    delivery = await run_job(gateway, job, JobCallbacks(), tmp_path)
    picture = delivery.pictures[0]
    assert (quote.width, quote.height) == (picture.width, picture.height) == opened(picture.path).size == size


def test_the_engines_are_those_whose_weights_are_here(monkeypatch):
    """The names are values of `engine`; one whose package is missing is left out."""
    gateway = Gateway({"embedded": Painter()})
    assert "span" in gateway.engines()
    rows = [replace(row, package="nowhere" if row.name == "realsr" else row.package) for row in engine.BACKENDS]
    monkeypatch.setattr("fluxvision.gateway.gateway.BACKENDS", rows)
    assert "realsr" not in gateway.engines()
    assert gateway.engines()["span"].startswith("SPAN")


async def test_versions_have_consecutive_seeds(source, tmp_path):
    """N pictures are made with seed, seed+1, …; progress counts all of them."""
    seen = []
    gateway, painter = None, Painter()
    gateway = Gateway({"embedded": painter})
    job = admitted(gateway, source, n="3", seed="5")
    delivery = await run_job(gateway, job, JobCallbacks(lambda done, total: seen.append((done, total))), tmp_path)
    assert [call.body["seed"] for call in painter.calls] == [5, 6, 7]
    assert [picture.seed for picture in delivery.pictures] == [5, 6, 7]
    assert seen[-1] == (3, 3)


async def test_what_succeeded_is_delivered_and_the_rest_listed(source, tmp_path):
    """One failure of three is told in `failures`; two pictures come."""
    gateway = Gateway({"embedded": Painter(faults={1: UpstreamError("That one broke.")})})
    delivery = await run_job(gateway, admitted(gateway, source, n=3), JobCallbacks(), tmp_path)
    assert len(delivery.pictures) == 2
    [failure] = delivery.failures
    assert (failure.index, failure.code, failure.message) == (1, "UPSTREAM_ERROR", "That one broke.")


async def test_nothing_made_is_an_error(source, tmp_path):
    """When every version fails, the error says what the first failure was."""
    gateway = Gateway({"embedded": Painter(faults={0: UpstreamError("a"), 1: UpstreamError("b")})})
    with pytest.raises(Exhausted, match="said: a"):
        await run_job(gateway, admitted(gateway, source, n=2), JobCallbacks(), tmp_path)


async def test_a_job_over_its_deadline_ends(source, tmp_path):
    """The deadline is told in seconds, and the worker is free again."""
    gateway = Gateway({"embedded": Painter(seconds=5)}, deadline=0.05)
    with pytest.raises(DeadlineExceeded, match=r"0\.05 seconds"):
        await run_job(gateway, admitted(gateway, source), JobCallbacks(), tmp_path)
    assert gateway.queues["embedded"].running == 0


async def test_the_deadline_of_a_job_that_waits_begins_with_its_turn(source, tmp_path):
    """A background job may wait for its place longer than its deadline; its work may not take longer."""
    gateway = Gateway({"embedded": Painter(seconds=5)}, deadline=0.5)
    prepared = gateway.prepare(admitted(gateway, source))
    prepared.prefer((), waits=True)
    async with gateway.queues["embedded"].slot():
        running = asyncio.create_task(prepared.run(JobCallbacks(), tmp_path))
        await asyncio.sleep(0.8)
        assert not running.done()
        begins = time.monotonic()
    assert isinstance((await running).error, DeadlineExceeded)
    assert 0.4 < time.monotonic() - begins < 4


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"scale_factor": 4, "size": "100x100"}, "size"),
        ({"output_format": "jpeg", "size": "66000x66000", "fit": "stretch"}, "size"),
        ({"strict": True, "size": "4000x4000"}, "size"),
        ({"strict": True, "prompt": "stars"}, "prompt"),
        ({"strict": True, "unheard_of": 1}, "unheard_of"),
    ],
)
async def test_what_cannot_be_done_is_refused_before_work(source, tmp_path, fields, param):
    """Quote and run refuse the same things, naming the parameter, and call nobody."""
    painter = Painter()
    gateway = Gateway({"embedded": painter}, max_output_pixels=1_000_000)
    job = admitted(gateway, source, **fields)
    with pytest.raises(InvalidRequest) as quoted:
        gateway.prepare(job).quote()
    with pytest.raises(InvalidRequest) as ran:
        await run_job(gateway, job, JobCallbacks(), tmp_path)
    assert quoted.value.param == ran.value.param == param
    assert painter.calls == []


async def test_a_format_tells_its_limit_before_work(source, tmp_path):
    """A side that WebP cannot have is refused naming output_format."""
    gateway = Gateway({"embedded": Painter()})
    job = admitted(gateway, source, output_format="webp", size="17000x10", fit="stretch")
    with pytest.raises(InvalidRequest) as caught:
        await run_job(gateway, job, JobCallbacks(), tmp_path)
    assert caught.value.param == "output_format"


async def test_providers_that_are_not_here_are_said_so(source, tmp_path):
    """A pinned provider that is not configured is not found, and neither is a model that nobody here makes."""
    empty = Gateway({})
    with pytest.raises(ModelNotFound, match="it can be had from"):
        empty.prepare(admitted(empty, source)).quote()
    gateway = Gateway({"embedded": Painter()})
    with pytest.raises(ModelNotFound):
        gateway.prepare(replace(admitted(gateway, source), pin="elsewhere")).quote()
    pinned = admitted(gateway, source, model=f"EMBEDDED/{MODEL}")
    assert (await run_job(gateway, pinned, JobCallbacks(), tmp_path)).provider == "embedded"


@pytest.mark.parametrize(("fields", "size"), [({"scale_factor": 4}, (160, 120)), ({"resolution": "2K"}, (1024, 768))])
async def test_a_stream_shows_a_preview_of_the_results_shape(source, tmp_path, fields, size):
    """The preview comes before the result, at most 1024 pixels long; without a stream there is none."""
    seen = []
    gateway = Gateway({"embedded": Painter()})
    callbacks = JobCallbacks(preview=lambda path: seen.append(opened(path).size))
    await run_job(gateway, admitted(gateway, source, stream=True, partial_images=1, **fields), callbacks, tmp_path)
    await run_job(gateway, admitted(gateway, source, **fields), callbacks, tmp_path)
    assert seen == [size]


async def test_fidelity_is_that_of_the_delivered_file(source, tmp_path):
    """A flat picture is told apart from its source; strong compression is not hidden; a smaller one has no figure."""
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)).save(source.path)
    gateway = Gateway({"embedded": Painter()})
    flat = (await run_job(gateway, admitted(gateway, source), JobCallbacks(), tmp_path)).pictures[0]
    assert flat.fidelity.lr_psnr_db < 15
    small = (await run_job(gateway, admitted(gateway, source, size="20x15"), JobCallbacks(), tmp_path)).pictures[0]
    assert small.fidelity is None


async def test_every_try_is_told(source, tmp_path):
    """Three versions are three attempts, the failed one with its code."""
    gateway = Gateway({"embedded": Painter(faults={1: UpstreamError("That one broke.")})})
    delivery = await run_job(gateway, admitted(gateway, source, n=3), JobCallbacks(), tmp_path)
    assert sorted(attempt.outcome for attempt in delivery.attempts) == ["UPSTREAM_ERROR", "ok", "ok"]


def test_a_mask_is_checked_when_the_job_is_admitted(source, tmp_path):
    """A mask of another size, or without transparency, is refused before anything else, naming mask."""
    gateway = Gateway({"embedded": Painter()})
    for mode, size in (("RGBA", (9, 9)), ("RGB", (40, 30))):
        path = tmp_path / "mask.png"
        Image.new(mode, size).save(path)
        with pytest.raises(InvalidRequest) as caught:
            gateway.admit(MODEL, {}, source, imaging.probe(path, imaging.Limits()), "req_1")
        assert caught.value.param == "mask"


@pytest.mark.parametrize(
    ("given", "values"),
    [
        ({"upscale_factor": "3"}, {"scale_factor": 3.0}),
        ({"scale": 2, "scale_factor": 2.0}, {"scale_factor": 2.0}),
        ({"num_images": "2", "guidance_scale": "3", "num_inference_steps": 9}, {"n": 2, "guidance": 3.0, "steps": 9}),
    ],
)
def test_what_upstream_services_call_a_parameter_is_understood(source, given, values):
    """Their names are ours under another name, checked and priced as such."""
    gateway = Gateway({"embedded": Painter()})
    job = admitted(gateway, source, **given)
    assert (job.values, job.extras) == (values, {})


def test_two_names_of_one_parameter_must_agree(source):
    """Different values are refused, naming both as they were sent, in any order."""
    gateway = Gateway({"embedded": Painter()})
    for first, second in itertools.permutations(("scale", "scale_factor", "upscale_factor"), 2):
        with pytest.raises(InvalidRequest, match=f"^{first} and {second} mean the same"):
            admitted(gateway, source, **{first: 2, second: 3})


def test_every_wrong_parameter_is_told_at_once(source):
    """One error has them all: its message every sentence, its `errors` one each, its param the first."""
    gateway = Gateway({"embedded": Painter()})
    with pytest.raises(InvalidRequest) as caught:
        admitted(gateway, source, creativity=7, output_format="doc", n="many", fit="contain")
    assert [error.param for error in caught.value.errors] == ["creativity", "output_format", "n"]
    assert caught.value.param == "creativity"
    assert all(error.message in caught.value.message for error in caught.value.errors)


@pytest.mark.parametrize(
    ("providers", "fields", "refused"),
    [
        (("embedded",), {"steps": 2}, False),
        (("embedded",), {"guidance": "7.5"}, False),
        (("embedded",), {"steps": 2, "strict": True}, True),
        (("embedded",), {"steps": 10**30}, True),
        (("embedded",), {"creativity": 7}, True),
        (("embedded", "fal"), {"steps": 2}, True),
    ],
)
def test_a_range_counts_where_the_parameter_has_an_effect(source, providers, fields, refused):
    """A number that no provider here uses may be out of range: the receipt says that it has no effect."""
    gateway = Gateway({name: Painter() for name in providers})
    if refused:
        with pytest.raises(InvalidRequest):
            gateway.prepare(admitted(gateway, source, **fields))
        return
    (name,) = fields
    (line,) = (
        line for line in gateway.prepare(admitted(gateway, source, **fields)).quote().receipt if line.parameter == name
    )
    assert (line.honoured, line.became) == (False, None)


@pytest.mark.parametrize("seed", [-1, "-1"])
def test_a_seed_of_minus_one_is_none(source, seed):
    """Other tools write it for "any seed"."""
    assert admitted(Gateway({"embedded": Painter()}), source, seed=seed).values == {}


@pytest.mark.parametrize(
    ("name", "size", "quoted", "honoured"),
    [
        ("gpt-image-1", "20x20", (80, 60), False),
        ("gpt-image-1", "auto", (80, 60), True),
        ("gpt-image-1", "64x64", (64, 48), True),
        ("dall-e-2", "39x100", (80, 60), False),
        (MODEL, "20x20", (20, 15), True),
    ],
)
def test_a_clients_default_size_never_shrinks_a_picture(source, name, size, quoted, honoured):
    """Under OpenAI's names, which clients send with a size of their own, a smaller size is a shape only."""
    gateway = Gateway({"embedded": Painter()})
    quote = gateway.prepare(gateway.admit(name, {"size": size}, source, None, "req_1")).quote()
    (line,) = (line for line in quote.receipt if line.parameter == "size")
    assert ((quote.width, quote.height), line.honoured) == (quoted, honoured)
    assert honoured or "smaller than this picture" in line.note


@pytest.mark.parametrize(
    ("pictures", "mode", "honoured"), [(1, None, True), (3, None, False), (3, "first", True), (3, "each", True)]
)
def test_pictures_that_are_left_out_are_told(source, pictures, mode, honoured):
    """The receipt says which of several pictures is enlarged, unless the caller agreed to that."""
    gateway = Gateway({"embedded": Painter()})
    parsed = gateway.parse(MODEL, {} if mode is None else {"images_mode": mode})
    receipt = gateway.prepare(parsed.job(source, None, "req_1", pictures)).quote().receipt
    (line,) = (line for line in receipt if line.parameter == "image")
    assert line.honoured == honoured
    assert honoured or line.note.startswith("Only the first of 3 pictures")
