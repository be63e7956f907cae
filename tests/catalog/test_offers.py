"""The catalogue's rows: complete, in agreement with the code, and every worked example true."""

from __future__ import annotations

from dataclasses import fields

import pytest

from fakes.jobs import job
from fluxvision import catalog
from fluxvision.catalog import CATALOG
from fluxvision.errors import ModelNotFound
from fluxvision.normalize import STRENGTH, badge, normalize
from fluxvision.params import BY_NAME, PARAMS, coerce
from fluxvision.providers import PROVIDERS
from fluxvision.rules import Converted, Emulated
from fluxvision.types import Plan

OFFERS = [(model, offer) for model in CATALOG for offer in model.offers]
RULES = [
    pytest.param(rule, id=f"{offer.provider}-{name}-{rule.mode}")
    for _, offer in OFFERS
    for name, rules in offer.rules.items()
    for rule in rules
]
EXAMPLES = [
    (offer, name, rule, example)
    for _, offer in OFFERS
    for name, rules in offer.rules.items()
    for rule in rules
    for example in getattr(rule, "examples", ())
]
GATEWAYS_OWN = {"strict"}
"""What is emulated by the receipt itself and needs no field of the plan."""


@pytest.mark.parametrize(("model", "offer"), OFFERS)
def test_every_parameter_has_a_rule(model, offer):
    """No public word is without a rule, and no rule is for a word that does not exist."""
    assert set(offer.rules) == {row.name for row in PARAMS}, model.id
    assert all(badge(rules) in STRENGTH for rules in offer.rules.values())


@pytest.mark.parametrize(("name", "rule", "example"), [example[1:] for example in EXAMPLES])
def test_an_example_holds(name, rule, example):
    """The rule's function gives exactly what its example says, for values that a caller may send."""
    assert {word: coerce(BY_NAME[word], value) for word, value in example.given.items()} == dict(example.given)
    given = job(*example.source, **example.given)
    value = example.given.get(name)
    assert (value if rule.using is None else rule.using(value, given)) == example.gives


@pytest.mark.parametrize(("offer", "rule", "example"), [(offer, *rest) for offer, _, *rest in EXAMPLES])
def test_an_example_reaches_its_slot(offer, rule, example):
    """What the example gives is what the call or the plan holds after the whole translation."""
    call, plan, _ = normalize(job(*example.source, **example.given), offer)
    if isinstance(rule, Converted):
        assert call.body[rule.to] == example.gives
    elif rule.by not in GATEWAYS_OWN:
        assert getattr(plan, rule.by) == example.gives


@pytest.mark.parametrize("rule", RULES)
def test_what_is_emulated_is_a_field_of_the_plan(rule):
    """No rule plans something that nobody does, and each conversion has an example."""
    if isinstance(rule, Emulated):
        assert rule.by in {field.name for field in fields(Plan)} | GATEWAYS_OWN
    if isinstance(rule, Converted | Emulated):
        assert rule.examples


@pytest.mark.parametrize("rule", RULES)
def test_what_is_not_sent_says_why(rule):
    """A parameter without a place has a sentence for the receipt."""
    if not getattr(rule, "sent", True):
        assert rule.note.endswith(".")


@pytest.mark.parametrize(("model", "offer"), OFFERS)
def test_a_providers_row_exists(model, offer):
    """An offer names a provider of the table."""
    assert offer.provider in {row.name for row in PROVIDERS}, model.id


def test_names_are_unique():
    """No name, in any case, is given twice, within a model or among models."""
    names = [name.lower() for model in CATALOG for name in (model.id, *model.aliases, *model.b64_aliases)]
    assert len(set(names)) == len(names)
    catalog.check(CATALOG)


@pytest.mark.parametrize(
    ("name", "pin"),
    [
        ("flux-vision-upscaler", None),
        (" FLUX-Vision-Upscaler ", None),
        ("fal-ai/flux-vision-upscaler", None),
        ("Flux Vision Upscaler", None),
        ("gpt-image-1", None),
        ("embedded/flux-vision-upscaler", "embedded"),
        ("EMBEDDED/gpt-image-1", "embedded"),
    ],
)
def test_names_are_forgiving(name, pin):
    """Case, other providers' ids and display names lead to the model; a provider's name in front pins it."""
    model, found = catalog.find(name)
    assert (model.id, found) == ("flux-vision-upscaler", pin)


@pytest.mark.parametrize(
    "name", ["flux-vision-upscale", "", "../../etc/passwd", "x" * 100_000, "fal/../../admin", "a\x1b[2J"]
)
def test_a_wrong_name_is_not_found(name):
    """The message is short and safe to show, whatever was asked for."""
    with pytest.raises(ModelNotFound) as caught:
        catalog.find(name)
    assert len(caught.value.message) < 200
    assert caught.value.message.isprintable()


def test_a_near_name_is_suggested():
    """A slip of the pen gets the right name."""
    with pytest.raises(ModelNotFound, match="Did you mean flux-vision-upscaler"):
        catalog.find("flux-vision-upscale")


def test_a_table_with_a_gap_is_refused():
    """A colliding name or a missing rule ends the import."""
    model = CATALOG[0]
    with pytest.raises(ValueError, match="no rule"):
        catalog.check([_without(model, "size")])
    with pytest.raises(ValueError, match="share the name"):
        catalog.check([model, _renamed(model, "other", aliases=("FluxVision",))])


def _without(model, name):
    offer = model.offers[0]
    rules = {word: rules for word, rules in offer.rules.items() if word != name}
    return _renamed(model, model.id, offers=(_replaced(offer, rules=rules),))


def _renamed(model, name, **facts):
    return _replaced(model, id=name, **{"aliases": (), "b64_aliases": (), **facts})


def _replaced(row, **facts):
    return type(row)(**{field.name: facts.get(field.name, getattr(row, field.name)) for field in fields(row)})
