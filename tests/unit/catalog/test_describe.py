"""What the catalogue says of itself, in JSON and in words."""

from __future__ import annotations

import msgspec
import pytest
from jsonschema import Draft202012Validator

from fluxvision.catalog import catalog, describe, listing
from fluxvision.catalog.catalog import CATALOG
from fluxvision.catalog.params import PARAMS
from fluxvision.catalog.rules import Price, Tier

TIERS = Price("output_megapixel", 50_000, tiers=(Tier(4, 50_000), Tier(None, 90_000)))


@pytest.mark.parametrize(
    ("price", "words", "estimate"),
    [
        (Price("image", 0), "$0", 0),
        (Price("image", 4_000), "$0.004 per picture", 4_000),
        (Price("image", None), "not known", None),
        (Price("output_megapixel", 100_000), "$0.10 per output megapixel", 100_000),
        (
            Price("output_megapixel", 100_000, unit=1_048_576, rounding="up"),
            "$0.10 per output megapixel, rounded up",
            100_000,
        ),
        (Price("output_megapixel", 80_000, rounding="up", block=24), "$0.08 per started 24 output megapixels", 80_000),
        (Price("second", 1_110), "$0.00111 per compute second, known only afterwards", None),
        (TIERS, "$0.05 up to 4, $0.09 above output megapixels", 50_000),
    ],
)  # fmt: skip
def test_a_price_in_words(price, words, estimate):
    """A person reads what is charged for what; the estimate is what one megapixel costs."""
    assert (describe.describe_price(price), describe.estimate_megapixel(price)) == (words, estimate)


@pytest.mark.parametrize("model", CATALOG, ids=lambda model: model.id)
def test_the_schema_is_one_and_has_every_mode(model):
    """The JSON Schema is valid, has the model's own ranges, and each parameter has a mode per provider."""
    rows = catalog.model_params(model)
    schema = describe.request_schema(model, rows)
    Draft202012Validator.check_schema(schema)
    for row in rows:
        told = schema["properties"][row.name]
        assert told.get("default") == row.default
        assert told.get("enum", []) == list(row.choices)
        assert list(told["x-modes"]) == [offer.provider for offer in model.offers]


@pytest.mark.parametrize("model", CATALOG, ids=lambda model: model.id)
def test_a_model_tells_its_offers(model):
    """Every offer has a price, an estimate where there can be one, and the modes of all parameters."""
    told = msgspec.to_builtins(listing.describe_model(model, ["embedded"]))
    assert {"id", "title", "description", "tags", "aliases", "modalities", "capabilities", "offers"} <= set(told)
    assert told["available"] == any(offer.provider == "embedded" for offer in model.offers)
    for offer, facts in zip(model.offers, told["offers"], strict=True):
        assert facts["price"]["text"] == describe.format_offer_price(offer)
        unknown = offer.price.metric == "second" or offer.provider == "openai"
        assert (facts["estimate_per_megapixel"] is None) == unknown
        assert set(listing.offer_modes(offer).parameters) == {row.name for row in PARAMS}


BASE = "http://127.0.0.1:8000/openai/v1"


def test_the_index_links_every_model():
    """Each model has its line with its address and description."""
    text = describe.markdown_index(CATALOG, BASE)
    for model in CATALOG:
        assert f"- [{model.name}]({BASE}/models/{model.id}/llms.txt): {model.description}\n" in text


@pytest.mark.parametrize("model", CATALOG, ids=lambda model: model.id)
def test_a_page_has_all_rows(model):
    """Names, providers with prices, parameters with modes and the call are there."""
    text = describe.markdown_page(model, catalog.model_params(model), BASE)
    assert all(f"`{name}`" in text for name in (model.id, *model.aliases, *model.b64_aliases))
    assert all(f"`{offer.provider}/{model.id}`" in text for offer in model.offers)
    assert all(describe.format_offer_price(offer) in text for offer in model.offers)
    assert all(f"- `{row.name}` (" in text for row in catalog.model_params(model))
    assert f'-F "model={model.id}"' in text


def test_what_goes_nowhere_is_said():
    """A word that a provider has no place for is not promised to reach it."""
    seedvr, _ = catalog.find_model("seedvr")
    line = next(
        line
        for line in describe.markdown_page(seedvr, catalog.model_params(seedvr), BASE).splitlines()
        if "`prompt`" in line
    )
    assert "fal: passthrough (not sent)" in line
