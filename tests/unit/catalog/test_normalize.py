"""The interpreter of the table: rows in order, two writers agree, defaults last, and a receipt of everything."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fakes.jobs import job
from fluxvision.catalog.models.flux_vision_upscaler import EMBEDDED
from fluxvision.catalog.normalize import normalize, strongest_mode
from fluxvision.catalog.params import PARAMS
from fluxvision.catalog.rules import Converted, Emulated, Passthrough, Price, Renamed
from fluxvision.core.errors import InvalidRequest
from fluxvision.core.types import Fit, PostprocessPlan


def offer(takes_extras=True, **rules):
    """Return an offer with these rules, whose other parameters have no place."""
    unused = (Passthrough("No place for it.", sent=False),)
    filled = {row.name: rules.get(row.name, unused) for row in PARAMS}
    return replace(EMBEDDED, price=Price("image", 1), rules=filled, takes_extras=takes_extras)


def line(receipt, name):
    """Return a parameter's line."""
    return next(found for found in receipt if found.parameter == name)


@pytest.mark.parametrize(
    ("rules", "mode"),
    [
        ((Passthrough(),), "passthrough"),
        ((Passthrough(), Renamed("a")), "renamed"),
        ((Converted("a", lambda value, _: value), Renamed("a")), "converted"),
        ((Converted("a", lambda value, _: value), Emulated("fit")), "emulated"),
    ],
)
def test_the_badge_is_the_strongest_mode(rules, mode):
    """A parameter with several rules shows the mode that changes most."""
    assert strongest_mode(rules) == mode


def test_the_four_modes():
    """Each rule writes where it says, what it says."""
    rules = {
        "prompt": (Passthrough(),),
        "seed": (Renamed("noise_seed"),),
        "scale_factor": (Converted("factor", lambda value, _: value * 10),),
        "n": (Emulated("n"),),
        "output_format": (Emulated("output_format", lambda value, _: value.upper()),),
        "style": (Passthrough("No styles here.", sent=False),),
    }
    given = {"prompt": "snow", "seed": 7, "scale_factor": 3.0, "n": 2, "output_format": "webp", "style": "vivid"}
    call, plan, receipt = normalize(job(**given), offer(**rules))
    assert call.body == {"prompt": "snow", "noise_seed": 7, "factor": 30.0}
    assert (plan.n, plan.output_format) == (2, "WEBP")
    told = {found.parameter: (found.mode, found.sent, found.became, found.honoured) for found in receipt}
    assert {name: told[name] for name in given} == {
        "prompt": ("passthrough", "snow", "snow", True),
        "seed": ("renamed", 7, 7, True),
        "scale_factor": ("converted", 3.0, 30.0, True),
        "n": ("emulated", 2, 2, True),
        "output_format": ("emulated", "webp", "WEBP", True),
        "style": ("passthrough", "vivid", None, False),
    }


def test_two_writers_of_one_slot_must_agree():
    """Equal values are fine; different ones are refused, naming both parameters."""
    rules = {"guidance": (Renamed("strength"),), "creativity": (Renamed("strength"),)}
    call, _, _ = normalize(job(guidance=1.0, creativity=1.0), offer(**rules))
    assert call.body["strength"] == 1.0
    with pytest.raises(InvalidRequest, match=r"creativity.*guidance|guidance.*creativity"):
        normalize(job(guidance=2.0, creativity=1.0), offer(**rules))


def test_defaults_fill_only_free_slots():
    """What the caller said goes before a default, even of a row that comes earlier."""
    rules = {"creativity": (Renamed("strength"),), "guidance": (Renamed("strength"),)}
    call, _, receipt = normalize(job(guidance=2.0), offer(**rules))
    assert call.body["strength"] == 2.0
    assert line(receipt, "creativity").sent is None


def test_the_receipt_has_the_tables_order():
    """Neither the caller's order nor which values are defaults changes the order of the lines."""
    _, _, receipt = normalize(job(user="u", creativity=0.1, style="vivid", size="512x512"), EMBEDDED)
    order = [row.name for row in PARAMS]
    positions = [order.index(found.parameter) for found in receipt]
    assert positions == sorted(positions)


def test_every_given_parameter_has_a_line():
    """Nothing is dropped in silence."""
    given = {"prompt": "snow", "quality": "high", "user": "someone", "seed": 1, "guidance": 2.0, "steps": 4}
    _, _, receipt = normalize(job(**given, mask=True, extras={"sync_mode": "1"}), EMBEDDED)
    assert {*given, "image", "mask", "sync_mode"} <= {found.parameter for found in receipt}


@pytest.mark.parametrize("takes", [True, False])
def test_unknown_names_go_to_a_provider_that_takes_them(takes):
    """Where the provider has parameters of its own they are sent unchanged; elsewhere the receipt says: no effect."""
    call, _, receipt = normalize(job(extras={"loras": ["a"]}), offer(takes_extras=takes))
    found = line(receipt, "loras")
    assert call.body.get("loras") == (["a"] if takes else None)
    assert (found.mode, found.sent, found.honoured) == ("passthrough", ["a"], takes)


def test_an_unknown_name_may_not_contradict_a_parameter():
    """A provider's own word and the public one for the same thing must agree."""
    rules = {"scale_factor": (Renamed("upscale_factor"),)}
    with pytest.raises(InvalidRequest, match="upscale_factor"):
        normalize(job(scale_factor=2.0, extras={"upscale_factor": 4}), offer(**rules))


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"prompt": "snow"}, "prompt"),
        ({"quality": "high"}, "quality"),
        ({"steps": 20}, "steps"),
        ({"size": "16000x16000"}, "size"),
    ],
)
def test_strict_refuses_what_cannot_be_honoured(values, name):
    """The same request without strict is served, and its line says that it was not honoured."""
    _, _, receipt = normalize(job(**values), EMBEDDED)
    assert not line(receipt, name).honoured
    with pytest.raises(InvalidRequest) as caught:
        normalize(job(**values, strict=True), EMBEDDED)
    assert caught.value.param == name


@pytest.mark.parametrize("values", [{}, {"quality": "auto"}, {"prompt": ""}, {"size": "320x214"}, {"seed": 3}])
def test_strict_takes_what_is_honoured(values):
    """Words that ask for nothing in particular, and sizes made exactly, pass."""
    normalize(job(**values, strict=True), EMBEDDED)


@pytest.mark.parametrize(
    ("values", "size", "fit"),
    [
        ({}, (1280, 854), None),
        ({"scale_factor": 4.0}, (2560, 1708), None),
        ({"size": "320x214"}, (640, 427), Fit(320, 214, "contain")),
        ({"size": "1024x1024", "fit": "pad"}, (1024, 683), Fit(1024, 1024, "pad")),
        ({"resolution": "4K"}, (4096, 2733), None),
        ({"scale_factor": 16.0}, (10240, 6832), None),
        ({"size": "20480x13664"}, (10240, 6832), Fit(20480, 13664, "contain")),
    ],
)
def test_sizes_reach_the_engine_and_the_plan(values, size, fit):
    """The engine is asked for 1 to 16 times the picture; the rest is the gateway's own work."""
    call, plan, _ = normalize(job(640, 427, **values), EMBEDDED)
    assert (call.body["size"], plan.fit) == (size, fit)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({}, True),
        ({"aspect_ratio": "1:1"}, True),
        ({"size": "16:9"}, True),
        ({"size": "auto"}, True),
        ({"size": "1024x1024"}, False),
        ({"resolution": "2K"}, False),
    ],
)
def test_the_default_factor_is_told_where_it_counts(values, told):
    """A receipt holds the default scale factor unless a size took its place."""
    _, _, receipt = normalize(job(**values), EMBEDDED)
    assert ("scale_factor" in {found.parameter for found in receipt}) == told


def test_a_neutral_job_has_a_neutral_plan():
    """Without wishes the gateway has nothing to do around the provider."""
    _, plan, _ = normalize(job(), EMBEDDED)
    assert plan == PostprocessPlan()


def test_base64_for_the_names_of_other_models():
    """Clients of OpenAI's own models read base64 only; a format that was asked for wins."""
    assert normalize(job(prefers_base64=True), EMBEDDED)[1].response_format == "b64_json"
    assert normalize(job(), EMBEDDED)[1].response_format == "url"
    assert normalize(job(prefers_base64=True, response_format="url"), EMBEDDED)[1].response_format == "url"


@pytest.mark.parametrize(
    ("values", "parameter", "words"),
    [
        ({"prompt": "stars"}, "prompt", "guided nothing"),
        ({"size": "64000x42700"}, "size", "More than x16"),
        ({"size": "100x16000", "fit": "stretch"}, "size", "More than x16"),
        ({"size": "1:1"}, "size", "keeps the picture's own shape"),
        ({"aspect_ratio": "16:9"}, "aspect_ratio", "keeps the picture's own shape"),
        ({"fit": "cover"}, "fit", "no box"),
        ({"output_compression": 10}, "output_compression", "PNG is lossless"),
        ({"output_compression": 10, "output_format": "tiff"}, "output_compression", "TIFF is lossless"),
        ({"partial_images": 1}, "partial_images", "Only a stream"),
        ({"partial_images": 3, "stream": True}, "partial_images", "One preview"),
        ({"n": 2, "creativity": 0.0}, "n", "the same"),
        ({"n": 9}, "n", "eight"),
        ({"steps": 20}, "steps", "no steps"),
    ],
)
def test_what_has_no_effect_is_said_and_refused_under_strict(values, parameter, words):
    """The receipt says why; strict refuses, naming the parameter."""
    small = job(320, 200, **values) if parameter == "resolution" else job(**values)
    line = next(line for line in normalize(small, EMBEDDED)[2] if line.parameter == parameter)
    assert not line.honoured
    assert words in line.note
    with pytest.raises(InvalidRequest) as caught:
        normalize(replace(small, values={**small.values, "strict": True}), EMBEDDED)
    assert caught.value.param == parameter


FULL = {"alpha": True, "bits": 16}


@pytest.mark.parametrize(
    ("name", "facts", "words"),
    [
        ("jpeg", {"alpha": True}, ["JPEG has no transparency: the picture is laid on white."]),
        ("jpeg", {"bits": 16}, ["JPEG has at most 8 bits a sample; this picture has 16."]),
        ("jpeg", FULL, ["no transparency", "at most 8 bits"]),
        ("webp", {"bits": 16}, ["WebP has at most 8 bits"]),
        ("avif", {"bits": 16}, ["AVIF has at most 12 bits"]),
        ("gif", {"metadata_free": True}, ["GIF has at most 256 colours: the others become the nearest of them."]),
        ("gif", {}, ["256 colours", "no colour profile", "no metadata"]),
        ("gif", FULL, ["no half transparency", "at most 8 bits", "256 colours", "no colour profile", "no metadata"]),
        ("jpeg", {}, []),
        ("webp", {"alpha": True}, []),
        ("avif", {"alpha": True}, []),
        ("png", FULL, []),
        ("tiff", FULL, []),
    ],
)
def test_what_a_format_cannot_hold_is_said(name, facts, words):
    """The line of output_format tells what of this picture is lost, and strict refuses by that name."""
    asked = job(output_format=name)
    asked = replace(asked, image=replace(asked.image, **facts))
    found = line(normalize(asked, EMBEDDED)[2], "output_format")
    assert found.honoured == (not words)
    assert [word for word in words if word not in found.note] == []
    assert found.note.count(".") == len(words)
    strict = replace(asked, values={**asked.values, "strict": True})
    if words:
        with pytest.raises(InvalidRequest) as caught:
            normalize(strict, EMBEDDED)
        assert caught.value.param == "output_format"
    else:
        assert normalize(strict, EMBEDDED)[1].output_format == name


@pytest.mark.parametrize(
    "values",
    [
        {"size": "1280x854"},
        {"size": "1000x1000"},
        {"size": "1:1", "fit": "cover"},
        {"size": "320x200"},
        {"output_compression": 10, "output_format": "webp"},
        {"partial_images": 1, "stream": True},
        {"n": 8, "seed": 3},
        {"prompt": "", "quality": "auto", "fit": "contain"},
    ],
)
def test_what_has_its_effect_passes_strict(values):
    """A request whose every word counts is not refused."""
    _, _, receipt = normalize(job(strict=True, **values), EMBEDDED)
    assert all(line.honoured for line in receipt)
