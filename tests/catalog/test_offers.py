"""The catalogue's rows: complete, in agreement with the code, and every worked example true."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from fakes.jobs import job
from fluxvision.catalog import catalog
from fluxvision.catalog.catalog import CATALOG
from fluxvision.catalog.coerce import coerce
from fluxvision.catalog.normalize import normalize, strongest_mode
from fluxvision.catalog.params import PARAMS, describe_param
from fluxvision.catalog.rules import Converted, Emulated, Implied, Passthrough, Price, Tier
from fluxvision.core.errors import ModelNotFound
from fluxvision.core.receipt_schemas import STRENGTH
from fluxvision.core.types import PostprocessPlan
from fluxvision.providers.registry import PROVIDERS

OFFERS = [pytest.param(model, offer, id=f"{offer.provider}-{model.id}") for model in CATALOG for offer in model.offers]
RULES = [
    pytest.param(rule, id=f"{offer.provider}-{model.id}-{name}-{rule.mode}-{number}")
    for model in CATALOG
    for offer in model.offers
    for name, rules in offer.rules.items()
    for number, rule in enumerate(rules)
]
EXAMPLES = [
    pytest.param(model, offer, name, rule, example, id=f"{offer.provider}-{model.id}-{name}-{rule.mode}-{number}")
    for model in CATALOG
    for offer in model.offers
    for name, rules in offer.rules.items()
    for rule in rules
    for number, example in enumerate(getattr(rule, "examples", ()))
]
NARROWED = [
    pytest.param(model, row, id=f"{model.id}-{row.name}") for model in CATALOG for row in catalog.model_params(model)
]
GATEWAYS_OWN = {"strict", "max_cost"}
"""What is emulated by the routing or by the receipt itself and needs no field of the plan."""
ON_PICTURES = {"apply_mask"}
"""What is planned for a picture, of which there is no example in a table of values."""
FAL = next(offer for offer in CATALOG[0].offers if offer.provider == "fal")


@pytest.mark.parametrize(("model", "offer"), OFFERS)
def test_every_parameter_has_a_rule(model, offer):
    """No public word is without a rule, and no rule is for a word that does not exist."""
    assert set(offer.rules) == {row.name for row in PARAMS}, model.id
    assert all(strongest_mode(rules) in STRENGTH for rules in offer.rules.values())


def test_what_an_offer_leaves_out_is_not_sent():
    """A parameter without a rule has the table's own: it is not sent, and the receipt gives the reason."""
    bare = replace(FAL, rules={"image": FAL.rules["image"]})
    assert set(bare.rules) == {"image", *(row.name for row in PARAMS if row.unsupported)}
    for row in PARAMS:
        if row.unsupported:
            assert bare.rules[row.name] == (Passthrough(row.unsupported, sent=False),)


@pytest.mark.parametrize(("model", "offer", "name", "rule", "example"), EXAMPLES)
def test_an_example_holds(model, offer, name, rule, example):
    """The rule's function gives exactly what its example says, for values that a caller of the model may send."""
    rows = {row.name: row for row in catalog.model_params(model)}
    assert {word: coerce(rows[word], value) for word, value in example.given.items()} == dict(example.given)
    given = job(*example.source, model=model.id, **example.given)
    value = example.given.get(name)
    assert (value if rule.using is None else rule.using(value, given)) == example.gives, offer.provider


@pytest.mark.parametrize(("model", "offer", "name", "rule", "example"), EXAMPLES)
def test_an_example_reaches_its_slot(model, offer, name, rule, example):
    """What the example gives is what the call or the plan holds after the whole translation."""
    given = job(*example.source, model=model.id, **example.given)
    call, plan, _ = normalize(given, offer, catalog.model_params(model))
    if isinstance(rule, Converted):
        assert call.body[rule.to] == example.gives, name
    elif rule.by not in GATEWAYS_OWN:
        assert getattr(plan, rule.by) == example.gives, name


@pytest.mark.parametrize("rule", RULES)
def test_what_is_emulated_is_a_field_of_the_plan(rule):
    """No rule plans something that nobody does, and each conversion of a value has an example."""
    if isinstance(rule, Emulated):
        assert rule.by in {field.name for field in fields(PostprocessPlan)} | GATEWAYS_OWN
    if isinstance(rule, Converted | Emulated) and getattr(rule, "by", "") not in ON_PICTURES:
        assert rule.examples


@pytest.mark.parametrize("rule", RULES)
def test_what_is_not_sent_says_why(rule):
    """A parameter without a place has a sentence for the receipt, and every note is a sentence."""
    note = getattr(rule, "note", "")
    assert note.endswith(".") or (getattr(rule, "sent", True) and not note)


@pytest.mark.parametrize(("model", "offer"), OFFERS)
def test_a_providers_row_exists(model, offer):
    """An offer names a provider of the table."""
    assert offer.provider in {row.name for row in PROVIDERS}, model.id


@pytest.mark.parametrize(("model", "offer"), OFFERS)
def test_a_provider_that_invents_takes_a_seed(model, offer):
    """Versions of invented detail differ by their seeds; without a seed, several versions are not honoured."""
    takes_seed = any(getattr(rule, "sent", True) for rule in offer.rules["seed"])
    assert takes_seed or not offer.generative
    _, _, receipt = normalize(job(model=model.id, n=2), offer, catalog.model_params(model))
    line = next(line for line in receipt if line.parameter == "n")
    assert line.honoured == takes_seed


@pytest.mark.parametrize(("model", "offer"), OFFERS)
def test_a_mask_is_kept_by_someone(model, offer):
    """A mask goes to a provider that knows it, or is planned here; without one nothing is planned or told."""
    rows = catalog.model_params(model)
    call, plan, receipt = normalize(job(model=model.id, mask=True), offer, rows)
    assert plan.apply_mask == (call.mask is None)
    assert next(line for line in receipt if line.parameter == "mask").honoured
    _, plan, receipt = normalize(job(model=model.id), offer, rows)
    assert not plan.apply_mask
    assert "mask" not in {line.parameter for line in receipt}


@pytest.mark.parametrize(("model", "row"), NARROWED)
def test_a_row_is_complete_as_the_model_has_it(model, row):
    """A model's rows have words, whole ranges, and defaults that they would themselves take."""
    assert describe_param(row), model.id
    assert (row.low is None) == (row.high is None)
    assert bool(row.choices) == (row.kind == "choice")
    if row.default is not None:
        assert coerce(row, row.default) == row.default


@pytest.mark.parametrize(("model", "offer"), OFFERS)
def test_a_factor_is_within_a_providers_reach(model, offer):
    """Every factor that the caller may ask for is made by an offer of the model, and the default by each."""
    row = next(row for row in catalog.model_params(model) if row.name == "scale_factor")
    reach = [one.factors for one in model.offers if one.factors is not None]
    if offer.factors is not None:
        assert row.high <= max(max(one.only) if one.only else one.high for one in reach)
        assert catalog.default_factor(model) in offer.factors.only or not offer.factors.only


def test_names_are_unique():
    """No name, in any case, is given twice, within a model or among models, or looks like a pinned one."""
    names = [name.lower() for model in CATALOG for name in (model.id, *model.aliases, *model.b64_aliases)]
    assert len(set(names)) == len(names)
    assert not {name.partition("/")[0] for name in names if "/" in name} & {row.name for row in PROVIDERS}
    catalog.check_models(CATALOG)


@pytest.mark.parametrize("model", CATALOG, ids=lambda model: model.id)
def test_every_name_finds_its_model(model):
    """The id, every alias and the display name lead to the model, in any case, pinned or not."""
    for name in (model.id, model.name, *model.aliases, *model.b64_aliases):
        assert catalog.find_model(f" {name.upper()} ") == (model, None)
        for offer in model.offers:
            assert catalog.find_model(f"{offer.provider}/{name}") == (model, offer.provider)
    for offer in model.offers:
        if offer.provider == "fal":
            assert catalog.find_model(offer.upstream) == (model, None)


@pytest.mark.parametrize("model", CATALOG, ids=lambda model: model.id)
def test_a_model_has_words(model):
    """A model has a name, a maker, a sentence that describes it, and tags; its offers' notes are sentences."""
    assert model.name
    assert model.creator == model.creator.lower()
    assert model.description.endswith(".")
    assert "upscale" in model.tags
    assert "upscale" in model.capabilities
    assert all(offer.note.endswith(".") or not offer.note for offer in model.offers)


@pytest.mark.parametrize(
    ("name", "model", "pin"),
    [
        ("flux-vision-upscaler", "flux-vision-upscaler", None),
        ("Flux Vision Upscaler", "flux-vision-upscaler", None),
        ("gpt-image-1", "flux-vision-upscaler", None),
        ("gpt-image-2-2026-04-21", "flux-vision-upscaler", None),
        ("GPT-Image-2.5-mini", "flux-vision-upscaler", None),
        ("chatgpt-image-2027", "flux-vision-upscaler", None),
        ("dall-e-4", "flux-vision-upscaler", None),
        ("embedded/gpt-image-9", "flux-vision-upscaler", "embedded"),
        ("embedded/flux-vision-upscaler", "flux-vision-upscaler", "embedded"),
        ("EMBEDDED/gpt-image-1", "flux-vision-upscaler", "embedded"),
        ("fal/fal-ai/seedvr/upscale/image", "seedvr", "fal"),
        ("Real-ESRGAN", "esrgan", None),
        ("topaz-image-upscale", "topaz-upscale", None),
        ("fal-ai/recraft/upscale/crisp", "recraft-crisp-upscale", None),
    ],
)
def test_names_are_forgiving(name, model, pin):
    """Case, other providers' ids and display names lead to the model; a provider's name in front pins it."""
    found, pinned = catalog.find_model(name)
    assert (found.id, pinned) == (model, pin)


@pytest.mark.parametrize(
    "name",
    [
        *("flux-vision-upscale", "", "../../etc/passwd", "x" * 100_000, "fal/../../admin", "a\x1b[2J", "gpt-image-"),
        *("gpt-image", "gpt-image-../x", "gpt-image-a b", "my-gpt-image-1", "gpt-image-" + "1" * 100, "dall-e-2/other"),
    ],
)
def test_a_wrong_name_is_not_found(name):
    """The message is short and safe to show, whatever was asked for."""
    with pytest.raises(ModelNotFound) as caught:
        catalog.find_model(name)
    assert len(caught.value.message) < 200
    assert caught.value.message.isprintable()


@pytest.mark.parametrize(
    ("name", "pin", "model", "providers"),
    [
        ("nobody/flux-vision-upscaler", "nobody", "flux-vision-upscaler", "flux, fal, openai, embedded"),
        (" Nobody/GPT-image-9", "Nobody", "flux-vision-upscaler", "flux, fal, openai, embedded"),
        ("embedded/fal-ai/topaz/upscale/image", "embedded", "topaz-upscale", "fal"),
        ("a\x1b/topaz", "What stands before the slash", "topaz-upscale", "fal"),
        ("x" * 100_000 + "/topaz", "What stands before the slash", "topaz-upscale", "fal"),
        ("/topaz", "What stands before the slash", "topaz-upscale", "fal"),
    ],
)
def test_a_wrong_provider_before_a_model_is_told(name, pin, model, providers):
    """The model exists: what is wrong is the word before it, and which words would do is said."""
    with pytest.raises(ModelNotFound) as caught:
        catalog.find_model(name)
    assert caught.value.message == f"{pin} is no provider of {model}; it can be had from {providers}."


@pytest.mark.parametrize(
    ("name", "near"), [("flux-vision-upscale", "flux-vision-upscaler"), ("clarity-upscale", "clarity-upscaler")]
)
def test_a_near_name_is_suggested(name, near):
    """A slip of the pen gets the right name."""
    with pytest.raises(ModelNotFound, match=f"Did you mean {near}"):
        catalog.find_model(name)


def test_base64_is_for_the_names_of_other_apis():
    """Only the names that OpenAI's clients know are answered in base64 by themselves, those of new versions too."""
    for name in ("fal/GPT-image-1", "gpt-image-2-2026-04-21", "embedded/dall-e-4", "chatgpt-image-latest"):
        assert catalog.prefers_base64(name, CATALOG[0])
    assert not any(catalog.prefers_base64(model.id, model) for model in CATALOG)


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"narrows": {"zoom": {"high": 8}}}, "narrows what does not exist: .'zoom'"),
        ({"narrows": {"seed": {"maximum": 8}}}, "narrows what does not exist: .'maximum'"),
        ({"narrows": {"seed": {"name": "noise"}}}, "narrows what does not exist: .'name'"),
        ({"narrows": {"scale_factor": {"default": 17.0}}}, "default out of range for scale_factor"),
        ({"narrows": {"scale_factor": {"high": 1.5}}}, "default out of range for scale_factor"),
        ({"narrows": {"steps": {"default": 18.5}}}, "default out of range for steps"),
        ({"narrows": {"engine": {"kind": "choice", "choices": ("a",), "default": "A"}}}, "default out of range"),
        ({"implied": (Implied("mode", "target", "zoom", 2),)}, "implies what zoom does not take"),
        ({"implied": (Implied("mode", "target", "resolution", "9K"),)}, "implies what resolution does not take"),
        ({"aliases": ("FluxVision",), "id": "other"}, "share the name"),
        ({"aliases": ("DALL-E-9",), "id": "other"}, "another model's family"),
        ({"aliases": ("",)}, "share the name"),
        ({"offers": (replace(FAL, rules={**FAL.rules, "size": ()}),)}, "no rule"),
        ({"offers": (replace(FAL, rules={**FAL.rules, "zoom": FAL.rules["size"]}),)}, "needless"),
        ({"offers": (replace(FAL, rules={"size": FAL.rules["size"]}),)}, "no rule"),
        ({"offers": (replace(FAL, price=Price("pixel", 1)),)}, "cannot be computed"),
        ({"offers": (replace(FAL, price=Price("image", -1)),)}, "cannot be computed"),
        ({"offers": (replace(FAL, price=Price("output_megapixel", 1, unit=0)),)}, "cannot be computed"),
        ({"offers": (replace(FAL, price=Price("image", 1, block=0)),)}, "cannot be computed"),
        ({"offers": (replace(FAL, price=Price("image", 1, rounding="down")),)}, "cannot be computed"),
        ({"offers": (replace(FAL, price=Price("image", 1, tiers=(Tier(4, 1),))),)}, "cannot be computed"),
        ({"offers": (replace(FAL, price=Price("image", 2, tiers=(Tier(None, 1),))),)}, "cannot be computed"),
        (
            {"offers": (replace(FAL, price=Price("image", 1, tiers=(Tier(8, 1), Tier(4, 2), Tier(None, 3)))),)},
            "cannot be computed",
        ),
    ],
)
def test_a_table_that_contradicts_itself_is_refused(facts, words):
    """A colliding name, a missing rule, a needless narrowing or a price without meaning ends the import."""
    wrong = replace(CATALOG[0], **{"b64_aliases": (), "b64_families": (), **facts})
    with pytest.raises(ValueError, match=words):
        catalog.check_models([CATALOG[0], wrong])
