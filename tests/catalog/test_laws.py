"""The three laws of the table, its receipt and strict, for every offer of the catalogue."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as some

from catalog.asked import normalized, values_of
from fakes.jobs import job
from fluxvision.catalog import catalog
from fluxvision.catalog.catalog import CATALOG
from fluxvision.catalog.geometry import solve_geometry
from fluxvision.catalog.normalize import normalize, strongest_mode
from fluxvision.catalog.params import PARAMS, narrow
from fluxvision.catalog.rules import Converted, Emulated, Passthrough, Renamed
from fluxvision.core.errors import InvalidRequest
from fluxvision.core.types import PostprocessPlan

OFFERS = [(model, offer) for model in CATALOG for offer in model.offers]
EACH = pytest.mark.parametrize(
    ("model", "offer"), [pytest.param(*pair, id=f"{pair[1].provider}-{pair[0].id}") for pair in OFFERS]
)
ORDER = [row.name for row in PARAMS]
sides = some.integers(1, 3000)
extras = some.dictionaries(
    some.sampled_from(["loras", "tile", "face", "noise_scale"]),
    some.integers() | some.booleans() | some.text(max_size=3) | some.lists(some.integers(), max_size=2),
    max_size=2,
)

ANY = given(some.data(), some.sampled_from(OFFERS), sides, sides)


def fal(model):
    """Return a model's offer at fal."""
    return next(offer for offer in model.offers if offer.provider == "fal")


def slots(offer, name):
    """Return the names under which a parameter is sent."""
    return {
        getattr(rule, "to", name)
        for rule in offer.rules[name]
        if isinstance(rule, Converted | Renamed) or (isinstance(rule, Passthrough) and rule.sent)
    }


def answer(asked, model, offer):
    """Return the translation, or the words of the refusal."""
    try:
        return normalized(asked, model, offer)
    except InvalidRequest as error:
        return error.message, error.param


@ANY
def test_the_order_of_a_request_does_not_count(data, pair, width, height):
    """Rows apply in the table's order: the same words in another order have the same answer and receipt."""
    model, offer = pair
    values = data.draw(values_of(model))
    shuffled = {name: values[name] for name in data.draw(some.permutations(list(values)))}
    first = answer(job(width, height, model=model.id, **values), model, offer)
    assert first == answer(job(width, height, model=model.id, **shuffled), model, offer)
    if len(first) == 3:
        positions = [ORDER.index(line.parameter) for line in first[2]]
        assert positions == sorted(positions)


@ANY
def test_two_writers_agree_or_both_are_named(data, pair, width, height):
    """A request is refused only for words that contradict each other, and names two that the caller has sent."""
    model, offer = pair
    values = data.draw(values_of(model))
    found = answer(job(width, height, model=model.id, **values), model, offer)
    if len(found) == 2:
        message, param = found
        assert param in values
        assert len(set(values) & set(message.replace(",", " ").split())) >= 2


@ANY
def test_defaults_fill_only_free_slots(data, pair, width, height):
    """What the caller said is sent and planned the same with the rows' defaults and without any."""
    model, offer = pair
    asked = job(width, height, model=model.id, **data.draw(values_of(model)))
    undecided = narrow(catalog.model_params(model), {row.name: {"default": None} for row in PARAMS})
    try:
        call, plan, _ = normalized(asked, model, offer)
        bare_call, bare_plan, _ = normalize(asked, offer, undecided)
    except InvalidRequest:
        return
    assert bare_call.body.items() <= call.body.items()
    for row in fields(PostprocessPlan):
        said = getattr(bare_plan, row.name)
        if said != getattr(PostprocessPlan(), row.name):
            assert getattr(plan, row.name) == said, row.name


@given(some.data(), some.sampled_from(OFFERS), extras, some.booleans())
def test_the_receipt_is_complete(data, pair, unknown, masked):
    """Every word given has one line, with its mode, its value and what it became; every slot sent is accounted for."""
    model, offer = pair
    values = data.draw(values_of(model))
    asked = job(model=model.id, extras=unknown, mask=masked, **values)
    try:
        call, plan, receipt = normalized(asked, model, offer)
    except InvalidRequest:
        return
    lines = {line.parameter: line for line in receipt}
    assert len(lines) == len(receipt)
    given_names = {*values, *unknown, "image", *(["mask"] if masked else [])}
    assert given_names <= set(lines)
    for name, line in lines.items():
        assert line.mode == (strongest_mode(offer.rules[name]) if name in offer.rules else "passthrough")
        assert line.sent == {**values, **unknown, "image": "picture", "mask": "picture" if masked else None}.get(name)
        if name in values:
            sent = [call.body[slot] for slot in slots(offer, name) if slot in call.body]
            planned = [
                rule.by for rule in offer.rules[name] if isinstance(rule, Emulated) and getattr(plan, rule.by, None)
            ]
            assert sent or planned or line.became is None or line.became == values[name]
            assert line.became is not None or not sent
        assert line.honoured or line.note.endswith(".")
    accounted = set(unknown).union(*(slots(offer, name) for name in lines if name in offer.rules))
    assert set(call.body) <= accounted


@given(some.data(), some.sampled_from(OFFERS))
def test_nothing_is_dropped_in_silence(data, pair):
    """A word that is neither sent nor planned is not honoured, and its line says why, unless it asked for nothing."""
    model, offer = pair
    values = data.draw(values_of(model))
    try:
        receipt = normalized(job(model=model.id, **values), model, offer)[2]
    except InvalidRequest:
        return
    for line in receipt:
        rules = offer.rules[line.parameter]
        if line.parameter in values and all(isinstance(rule, Passthrough) and not rule.sent for rule in rules):
            assert line.became is None
            assert line.honoured == (values[line.parameter] in {"", "auto"})
            assert line.note


@given(some.data(), some.sampled_from(OFFERS), sides, sides, extras)
def test_strict_refuses_exactly_what_is_not_honoured(data, pair, width, height, unknown):
    """With strict the first dishonoured word is refused by its name; a request without one has the same answer."""
    model, offer = pair
    values = data.draw(values_of(model))
    asked = job(width, height, model=model.id, extras=unknown, **values)
    strict = replace(asked, values={**asked.values, "strict": True})
    try:
        call, plan, receipt = normalized(asked, model, offer)
    except InvalidRequest:
        return
    dishonoured = [line.parameter for line in receipt if not line.honoured]
    if dishonoured:
        with pytest.raises(InvalidRequest) as caught:
            normalized(strict, model, offer)
        assert caught.value.param == dishonoured[0]
    else:
        strictly = normalized(strict, model, offer)
        assert strictly[:2] == (call, plan)
        assert [line for line in strictly[2] if line.parameter != "strict"] == [
            line for line in receipt if line.parameter != "strict"
        ]


@EACH
def test_unknown_names_pass_through(model, offer):
    """A word that no row has is sent unchanged where the provider takes words of its own; else it has no effect."""
    unknown = {"loras": [{"path": "a"}], "checkpoint": "v2"}
    call, _, receipt = normalized(job(model=model.id, extras=unknown), model, offer)
    told = {line.parameter: (line.mode, line.sent, line.became, line.honoured) for line in receipt}
    for name, value in unknown.items():
        assert call.body.get(name) == (value if offer.takes_extras else None)
        became = value if offer.takes_extras else None
        assert told[name] == ("passthrough", value, became, offer.takes_extras)
    assert offer.takes_extras == (offer.provider in {"fal", "openai"})


@pytest.mark.parametrize(("name", "instead"), [("image_url", "send image"), ("sync_mode", "no effect")])
def test_a_name_that_only_this_server_writes(name, instead):
    """It is not sent on, and the receipt says of each what is true of it."""
    for model in CATALOG:
        offer = next(offer for offer in model.offers if offer.provider == "fal")
        call, _, receipt = normalized(job(model=model.id, extras={name: "a"}), model, offer)
        told = {line.parameter: (line.became, line.note, line.honoured) for line in receipt}
        assert told[name] == (None, f"Written by this server alone: {instead}.", False)
        assert name not in call.body


@EACH
def test_a_neutral_request_is_honoured_strictly(model, offer):
    """Who asks for nothing in particular is never refused."""
    asked = job(model=model.id, strict=True, prompt="", quality="auto", size="auto", fit="contain", n=1)
    _, plan, receipt = normalized(asked, model, offer)
    assert all(line.honoured for line in receipt)
    assert plan.n == 1


@EACH
def test_a_default_factor_makes_the_models_own_size(model, offer):
    """Without a size the result is as large as the model's default factor says, and the receipt tells the factor."""
    factor = catalog.default_factor(model)
    _, plan, receipt = normalized(job(400, 300, model=model.id), model, offer)
    if plan.fit is not None:
        assert (plan.fit.width, plan.fit.height) == (400 * factor, 300 * factor)
    line = next(line for line in receipt if line.parameter == "scale_factor")
    assert (line.sent, line.honoured) == (None, True)


@pytest.mark.parametrize(
    ("model", "values", "body"),
    [
        ("flux-vision-upscaler", {}, {"upscale_factor": 2.0, "creativity": 0.3}),
        ("flux-vision-upscaler", {"size": "1000x1000"}, {"upscale_factor": 2.5, "creativity": 0.3}),
        (
            "clarity-upscaler",
            {"prompt": "snow", "scale_factor": 3.0, "guidance": 7.0, "steps": 20, "resemblance": 1.0, "seed": 7},
            {
                "prompt": "snow",
                "upscale_factor": 3.0,
                "creativity": 0.35,
                "resemblance": 1.0,
                "guidance_scale": 7.0,
                "num_inference_steps": 20,
                "seed": 7,
            },
        ),
        (
            "clarity-upscaler",
            {},
            {
                "upscale_factor": 2.0,
                "creativity": 0.35,
                "resemblance": 0.6,
                "guidance_scale": 4.0,
                "num_inference_steps": 18,
            },
        ),
        ("esrgan", {"scale_factor": 8.0}, {"scale": 8.0, "model": "RealESRGAN_x4plus", "output_format": "png"}),
        (
            "esrgan",
            {"engine": "RealESRGAN_x4plus_anime_6B", "output_format": "jpeg"},
            {"scale": 2.0, "model": "RealESRGAN_x4plus_anime_6B", "output_format": "png"},
        ),
        ("aura-sr", {"scale_factor": 3.0}, {}),
        ("aura-sr", {"size": "800x600"}, {}),
        (
            "seedvr",
            {"resolution": "4K"},
            {"upscale_mode": "factor", "upscale_factor": 10.0, "output_format": "png"},
        ),
        (
            "seedvr",
            {"size": "1000x1000", "fit": "cover", "seed": 3},
            {"upscale_mode": "factor", "upscale_factor": 3.3334, "output_format": "png", "seed": 3},
        ),
        ("recraft-crisp-upscale", {"scale_factor": 3.0, "prompt": "x"}, {}),
        (
            "topaz-upscale",
            {"engine": "CGI", "aspect_ratio": "1:1", "fit": "stretch"},
            {"model": "CGI", "upscale_factor": 2.6667, "output_format": "png"},
        ),
    ],
)
def test_what_fal_is_sent(model, values, body):
    """The whole body of some requests for a picture of 400 by 300 pixels."""
    found, _ = catalog.find_model(model)
    asked = job(400, 300, model=model, **values)
    assert normalized(asked, found, fal(found))[0].body == body


@pytest.mark.parametrize(
    ("model", "values", "parameter", "words"),
    [
        ("flux-vision-upscaler", {"prompt": "snow"}, "prompt", "guided nothing"),
        ("flux-vision-upscaler", {"size": "4000x4000"}, "size", "More than x4: made at 1600x1200"),
        ("aura-sr", {"size": "4000x4000"}, "size", "More than x4"),
        ("aura-sr", {"n": 2}, "n", "no seed"),
        ("seedvr", {"size": "9000x9000"}, "size", "More than x10"),
        ("seedvr", {"creativity": 0.5}, "creativity", "noise_scale"),
        ("topaz-upscale", {"prompt": "snow"}, "prompt", "guided nothing"),
        ("recraft-crisp-upscale", {"moderation": "low"}, "moderation", "enable_safety_checker"),
        ("esrgan", {"moderation": "low"}, "moderation", "no such word"),
        ("recraft-crisp-upscale", {"aspect_ratio": "1:1"}, "aspect_ratio", "keeps the picture's own shape"),
    ],
)
def test_what_fal_cannot_honour_is_said(model, values, parameter, words):
    """The line of a word without effect, or with less than asked for, says why."""
    found, _ = catalog.find_model(model)
    receipt = normalized(job(400, 300, model=model, **values), found, fal(found))[2]
    line = next(line for line in receipt if line.parameter == parameter)
    assert not line.honoured
    assert words in line.note


def test_a_picture_of_sixteen_bits_is_told():
    """A provider that works in 8 bits does not honour a picture of 16; the engines on this machine do."""
    for model, offer in OFFERS:
        asked = job(model=model.id)
        deep = replace(asked, image=replace(asked.image, bits=16))
        line = next(line for line in normalized(deep, model, offer)[2] if line.parameter == "image")
        assert line.honoured == (offer.provider in {"embedded", "flux"})


def test_an_upstream_word_may_not_contradict_the_size():
    """A mode of enlarging that would make another size than the one quoted is refused, naming what was sent."""
    model, _ = catalog.find_model("seedvr")
    with pytest.raises(InvalidRequest, match="upscale_mode speaks of another size") as caught:
        normalized(job(model="seedvr", extras={"upscale_mode": "other"}), model, model.offers[0])
    assert caught.value.param == "upscale_mode"
    assert "scale_factor and" not in caught.value.message
    call, _, _ = normalized(job(model="seedvr", extras={"upscale_mode": "factor"}), model, model.offers[0])
    assert call.body["upscale_mode"] == "factor"


FRAMED = {"upscale_mode": "target", "output_format": "png"}


@pytest.mark.parametrize(
    ("values", "extras", "body"),
    [
        ({"resolution": "1080p"}, {}, {**FRAMED, "target_resolution": "1080p"}),
        ({"resolution": "1080p"}, {"upscale_mode": "target"}, {**FRAMED, "target_resolution": "1080p"}),
        ({"resolution": "2160p", "size": "auto"}, {}, {**FRAMED, "target_resolution": "2160p"}),
        ({"resolution": "1080p", "aspect_ratio": "4:3"}, {}, {**FRAMED, "target_resolution": "1080p"}),
        (
            {"resolution": "1080p"},
            {"upscale_mode": "factor"},
            {**FRAMED, "upscale_mode": "factor", "upscale_factor": 4.1575},
        ),
        (
            {"resolution": "1080p", "aspect_ratio": "1:1", "fit": "cover"},
            {},
            {**FRAMED, "upscale_mode": "factor", "upscale_factor": 4.8},
        ),
    ],
)
def test_a_target_goes_without_a_factor(values, extras, body):
    """A frame of video is told as such where the picture is to have it, and by a factor in any other case."""
    model, _ = catalog.find_model("seedvr")
    call, plan, receipt = normalized(job(400, 300, model="seedvr", extras=extras, **values), model, model.offers[0])
    assert call.body == body
    assert all(line.honoured for line in receipt)
    assert "scale_factor" not in {line.parameter for line in receipt}
    if "fit" not in values:
        assert plan.fit.width * plan.fit.height == pytest.approx(
            {"1080p": 2_073_600, "2160p": 8_294_400}[values["resolution"]], rel=2e-3
        )


@pytest.mark.parametrize(
    ("values", "first"),
    [({"scale_factor": 3.0}, "scale_factor"), ({"size": "800x600"}, "size"), ({"resolution": "1K"}, "resolution")],
)
def test_a_target_and_another_size_contradict(values, first):
    """Two words that the caller did send are both named."""
    model, _ = catalog.find_model("seedvr")
    with pytest.raises(InvalidRequest, match=f"{first} and upscale_mode ask for different things"):
        normalized(job(400, 300, model="seedvr", extras={"upscale_mode": "target"}, **values), model, model.offers[0])


@pytest.mark.parametrize("sides", [(96, 64), (4000, 3000)])
def test_a_target_out_of_reach_is_made_by_a_factor(sides):
    """Who insists on the target is refused; else it is made as near as can be, and the receipt tells a shortfall."""
    model, _ = catalog.find_model("seedvr")
    call, _, receipt = normalized(job(*sides, model="seedvr", resolution="1080p"), model, model.offers[0])
    assert call.body["upscale_mode"] == "factor"
    assert call.body["upscale_factor"] == (10.0 if sides == (96, 64) else 1.0)
    assert next(line for line in receipt if line.parameter == "resolution").honoured == (sides != (96, 64))
    asked = job(*sides, model="seedvr", resolution="1080p", extras={"upscale_mode": "target"})
    with pytest.raises(InvalidRequest) as caught:
        normalized(asked, model, model.offers[0])
    assert caught.value.param == "upscale_mode"


@pytest.mark.parametrize(
    ("values", "extras", "means"),
    [
        ({}, {"upscale_mode": "target"}, {"resolution": "1080p"}),
        ({"size": "auto"}, {"upscale_mode": "target"}, {"resolution": "1080p"}),
        ({"resolution": "720p"}, {"upscale_mode": "target"}, {}),
        ({"scale_factor": 2.0}, {"upscale_mode": "target"}, {}),
        ({"size": "80x60"}, {"upscale_mode": "target"}, {}),
        ({}, {"upscale_mode": "factor"}, {}),
        ({}, {}, {}),
    ],
)
def test_a_providers_word_may_imply_a_size(values, extras, means):
    """SeedVR's target without a size is 1080p, as at the provider; a size that was given counts."""
    assert catalog.implied_values(catalog.find_model("seedvr")[0], values, extras) == means
    assert catalog.implied_values(CATALOG[0], values, extras) == {}


@given(some.data(), sides, sides)
def test_sizes_for_another_server_agree(data, width, height):
    """A server of our own kind is never sent a factor and pixels that contradict each other, and nothing unasked."""
    model, _ = catalog.find_model("flux-vision-upscaler")
    offer = next(offer for offer in model.offers if offer.provider == "openai")
    found = answer(job(width, height, **data.draw(values_of(model))), model, offer)
    if len(found) == 3:
        words = {name: value for name, value in found[0].body.items() if name in {"scale_factor", "size"}}
        geometry = solve_geometry(job(width, height, **words))
        assert geometry.width <= 4 * width
        assert geometry.height <= 4 * height
        assert found[0].sets_size == bool(words)
        assert set(found[0].parameter_names) == set(found[0].body)


def test_another_server_is_told_no_default():
    """A bare request says nothing but the picture: what is left out is decided there, and finished here."""
    model, _ = catalog.find_model("flux-vision-upscaler")
    offer = next(offer for offer in model.offers if offer.provider == "openai")
    call, plan, receipt = normalized(job(400, 300, size="auto"), model, offer)
    assert (call.body, call.sets_size) == ({}, False)
    assert (plan.fit.width, plan.fit.height) == (800, 600)
    lines = {line.parameter: line for line in receipt}
    assert lines["scale_factor"].became == "contain 800x600"
    assert "Not sent" in lines["scale_factor"].note
    assert "creativity" not in lines
    assert all(line.honoured for line in receipt)


@pytest.mark.parametrize(
    ("values", "asked"),
    [
        ({}, {}),
        ({"resolution": "1K"}, {"size": "resolution"}),
        ({"scale_factor": 3.0, "prompt": "snow"}, {"scale_factor": "scale_factor", "prompt": "prompt"}),
        ({"n": 2, "output_format": "webp"}, {}),
    ],
)
def test_a_call_tells_what_was_asked(values, asked):
    """Each name of the body leads to the caller's own parameter; a default leads to none."""
    for model, offer in OFFERS:
        if offer.provider == "openai":
            assert dict(normalized(job(400, 300, **values, extras={}), model, offer)[0].parameter_names) == asked
    found, _ = catalog.find_model("clarity-upscaler")
    asked_fal = normalized(job(400, 300, model=found.id, steps=9), found, fal(found))[0]
    assert asked_fal.parameter_names == {"num_inference_steps": "steps"}
    assert asked_fal.sets_size


@pytest.mark.parametrize(
    ("values", "body"),
    [
        ({}, {}),
        ({"size": "auto"}, {}),
        ({"scale_factor": 3.0}, {"scale_factor": 3.0}),
        ({"size": "1000x1000"}, {"size": "1000x750"}),
        ({"aspect_ratio": "1:1", "fit": "stretch"}, {"size": "800x800"}),
        ({"aspect_ratio": "1:1", "fit": "cover", "scale_factor": 3.0}, {"size": "1200x900"}),
        ({"size": "1:1", "fit": "pad"}, {"size": "800x600"}),
        ({"resolution": "1K"}, {"size": "1024x768"}),
    ],
)
def test_what_another_server_is_sent(values, body):
    """A factor goes as it is, any box as the pixels of the picture in it."""
    model, _ = catalog.find_model("flux-vision-upscaler")
    offer = next(offer for offer in model.offers if offer.provider == "openai")
    call = normalized(job(400, 300, **values), model, offer)[0]
    assert {name: value for name, value in call.body.items() if name in {"scale_factor", "size", "fit"}} == body
