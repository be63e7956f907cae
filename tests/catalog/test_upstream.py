"""What the table sends to fal, against the recorded schema of each endpoint."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as some

from catalog.asked import normalized, values_of
from catalog.upstream import SCHEMAS, TYPES, faults, fits
from fakes.jobs import job
from fluxvision.catalog import catalog
from fluxvision.catalog.catalog import CATALOG
from fluxvision.catalog.normalize import normalize
from fluxvision.catalog.rules import Converted, Passthrough, Renamed
from fluxvision.core.errors import InvalidRequest

OFFERS = [(model, offer) for model in CATALOG for offer in model.offers if offer.provider == "fal"]
SENT = [
    pytest.param(model, offer, row, rule, id=f"{model.id}-{row.name}-{number}")
    for model, offer in OFFERS
    for row in catalog.model_params(model)
    for number, rule in enumerate(offer.rules[row.name])
    if isinstance(rule, Converted | Renamed) or (isinstance(rule, Passthrough) and rule.sent)
    if row.kind != "picture"
]
EXAMPLES = [
    pytest.param(model, offer, example, id=f"{model.id}-{name}-{number}")
    for model, offer in OFFERS
    for name, rules in offer.rules.items()
    for number, example in enumerate(one for rule in rules for one in getattr(rule, "examples", ()))
]
SOURCES = [(640, 427), (1, 1), (3, 1000), (1000, 3), (4096, 4096)]


def edges(row):
    """Return the ends of a row's range, its default and its whole set."""
    texts = {"size": ["auto", "640x427", "16:9", "3000x3000", "100x900"], "aspect_ratio": ["1:1", "16:9"]}
    found = [*row.choices, *texts.get(row.name, []), row.default]
    if row.kind == "boolean":
        found += [True, False]
    elif row.kind == "string" and not row.pattern:
        found += ["", "snow", "x" * int(row.high)]
    elif row.low is not None:
        found += [row.low, row.high, (row.low + row.high) / 2 if row.kind == "number" else (row.low + row.high) // 2]
    return [value for value in found if value is not None]


CASES = [
    pytest.param(model, offer, row, id=f"{model.id}-{row.name}")
    for model, offer in OFFERS
    for row in catalog.model_params(model)
    if row.kind != "picture" and row.name != "strict"
]


@pytest.mark.parametrize("model", [model for model, _ in OFFERS], ids=lambda model: model.id)
def test_every_endpoint_is_recorded(model):
    """Each offer's endpoint has a schema with its public sources, known types and a picture in its answer."""
    schema = SCHEMAS[next(offer.upstream for offer in model.offers if offer.provider == "fal")]
    assert all({"repository", "file", "commit"} <= set(source) for source in schema["sources"])
    assert schema["input"]["image_url"]["required"]
    assert {row["type"] for name, row in schema["input"].items() if name != "image_url"} <= set(TYPES)
    assert all(fits(row["default"], row) for row in schema["input"].values() if "default" in row)
    assert "url" in schema["output"]["image"]


def test_no_schema_is_left_over():
    """Nothing is recorded of an endpoint that is not offered."""
    assert set(SCHEMAS) == {offer.upstream for _, offer in OFFERS}


@pytest.mark.parametrize(("model", "offer", "row", "rule"), SENT)
def test_a_sent_name_is_one_of_the_endpoints(model, offer, row, rule):
    """Every name that a rule can send exists upstream."""
    assert getattr(rule, "to", row.name) in SCHEMAS[offer.upstream]["input"], model.id


@pytest.mark.parametrize(("model", "offer", "row", "rule"), SENT)
def test_a_default_is_the_endpoints(model, offer, row, rule):
    """A row's default that is sent as it is changes nothing: the endpoint has the same one."""
    there = SCHEMAS[offer.upstream]["input"][getattr(rule, "to", row.name)].get("default")
    if row.default is not None and not isinstance(rule, Converted):
        assert row.default == there, model.id


@pytest.mark.parametrize(("model", "offer", "row", "rule"), SENT)
def test_a_range_is_the_endpoints(model, offer, row, rule):
    """A number that is sent as it is may be whatever the endpoint takes, and nothing else."""
    there = SCHEMAS[offer.upstream]["input"][getattr(rule, "to", row.name)]
    if "minimum" in there and not isinstance(rule, Converted):
        assert (row.low, row.high) == (there["minimum"], there["maximum"]), model.id


@pytest.mark.parametrize(("model", "offer"), OFFERS, ids=lambda row: getattr(row, "id", ""))
def test_the_default_factor_is_the_endpoints(model, offer):
    """Who says nothing gets the factor that the endpoint would have chosen itself."""
    there = {row["default"] for name, row in SCHEMAS[offer.upstream]["input"].items() if name in FACTOR_NAMES}
    assert there in ({catalog.default_factor(model)}, set())


FACTOR_NAMES = {"upscale_factor", "scale"}


@pytest.mark.parametrize(("model", "offer"), OFFERS, ids=lambda row: getattr(row, "id", ""))
def test_the_reach_is_the_endpoints(model, offer):
    """The factors of an offer are the range or the set that the endpoint has."""
    there = [row for name, row in SCHEMAS[offer.upstream]["input"].items() if name in FACTOR_NAMES]
    if not there:
        assert offer.factors is None, model.id
    elif "enum" in there[0]:
        assert list(offer.factors.only) == there[0]["enum"]
    else:
        assert (offer.factors.low, offer.factors.high) == (there[0]["minimum"], there[0]["maximum"])
        assert not offer.factors.only


@pytest.mark.parametrize(("model", "offer", "row"), CASES)
def test_every_value_of_a_row_is_taken(model, offer, row):
    """Both ends of each range, every choice and every default become a body that the endpoint takes."""
    for value in edges(row):
        for source in SOURCES:
            asked = job(*source, model=model.id, **{row.name: value})
            call, _, _ = normalize(asked, offer, catalog.model_params(model))
            assert faults(call.body, offer.upstream) == [], (source, value)


@pytest.mark.parametrize(("model", "offer", "example"), EXAMPLES)
def test_every_example_is_taken(model, offer, example):
    """A worked example shows a body that the endpoint takes."""
    asked = job(*example.source, model=model.id, **example.given)
    assert faults(normalize(asked, offer, catalog.model_params(model))[0].body, offer.upstream) == []


@given(some.data(), some.sampled_from(OFFERS))
def test_any_request_is_taken_or_refused(data, pair):
    """Whatever values come together, the endpoint gets a body of its own schema, or the caller a refusal."""
    model, offer = pair
    asked = job(*data.draw(some.sampled_from(SOURCES)), model=model.id, **data.draw(values_of(model)))
    try:
        call = normalized(asked, model, offer)[0]
    except InvalidRequest:
        return
    assert faults(call.body, offer.upstream) == []


@pytest.mark.parametrize(
    ("value", "row", "right"),
    [
        (2, {"type": "number", "minimum": 1, "maximum": 4}, True),
        (4.1, {"type": "number", "minimum": 1, "maximum": 4}, False),
        (True, {"type": "integer"}, False),
        (1.0, {"type": "integer"}, False),
        ("png", {"type": "string", "enum": ["jpeg"]}, False),
        ("ab", {"type": "string", "maxLength": 1}, False),
        (True, {"type": "boolean"}, True),
    ],
)
def test_the_comparison_sees_a_fault(value, row, right):
    """A wrong type, a value out of range, a stranger to the set and a text too long are seen."""
    assert fits(value, row) == right


def test_the_comparison_sees_strangers_and_gaps():
    """A name that the endpoint lacks is a fault."""
    assert faults({"zoom": 2, "scale": 9}, "fal-ai/esrgan") == ["zoom", "scale=9"]
