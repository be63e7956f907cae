"""The catalogue of one server: offers of configured servers, and the megapixel of a bill."""

from __future__ import annotations

import json

import pytest

from fluxvision.catalog.catalog import CATALOG, configure_offers, find_model
from fluxvision.catalog.rules import Price
from fluxvision.core.errors import ConfigError, ModelNotFound
from fluxvision.core.load_settings import load_settings

MODEL = "flux-vision-upscaler"
NODE = {"name": "node", "base_url": "https://node.example/v1", "models": {MODEL: "theirs"}, "price": "0.04"}


def catalogue(*upstreams, **environment):
    return configure_offers(CATALOG, load_settings({"FLUXVISION_OPENAI": json.dumps(upstreams), **environment}))


def test_every_configured_server_has_its_own_offer():
    """Name, upstream's model, price and title are those of the configuration; each can be pinned."""
    models = catalogue(NODE, {**NODE, "name": "other", "per": "output_megapixel", "title": "The other one"})
    offers = {offer.provider: offer for offer in models[0].offers}
    assert list(offers) == ["flux", "fal", "node", "other", "embedded"]
    assert (offers["node"].upstream, offers["node"].price) == ("theirs", Price("image", 40_000))
    assert (offers["other"].price, offers["other"].note) == (Price("output_megapixel", 40_000), "The other one")
    assert find_model(f"NODE/{MODEL}", models)[1] == "node"


def test_a_server_of_another_name_is_named():
    """Where the operator's server has a name of its own, openai is none, and the error says which one is."""
    with pytest.raises(ModelNotFound) as caught:
        find_model(f"openai/{MODEL}", catalogue(NODE))
    has = "it can be had from flux, fal, node, embedded"
    assert caught.value.message == f"openai is no provider of {MODEL}; {has}."


def test_a_server_without_a_price_is_not_free():
    """Nobody knows what it costs; one that is free says so."""
    silent = {name: value for name, value in NODE.items() if name != "price"}
    offers = {offer.provider: offer for offer in catalogue(silent, {**NODE, "name": "own", "price": "0"})[0].offers}
    assert offers["node"].price == Price("image", None)
    assert offers["own"].price == Price("image", 0)


def test_without_a_server_the_offer_stands_for_all():
    """The catalogue shows that other servers can be used, and how."""
    assert [offer.provider for offer in catalogue()[0].offers] == ["flux", "fal", "openai", "embedded"]


@pytest.mark.parametrize("models", [{"nonsense": "x"}, {}, {MODEL: "x", "aura-sr": "y"}])
def test_models_that_cannot_be_had_from_elsewhere_are_refused(models):
    """A configuration that would never serve anything is told before the server starts."""
    with pytest.raises(ConfigError, match="node") as caught:
        catalogue({**NODE, "models": models})
    assert caught.value.param == "openai"


@pytest.mark.parametrize(("pixels", "unit"), [("1000000", 1_000_000), ("1048576", 1_048_576)])
def test_the_operator_knows_fals_megapixel(pixels, unit):
    """All of fal's prices by the megapixel follow the setting, others do not."""
    for model in catalogue(FLUXVISION_FAL_MEGAPIXEL=pixels):
        for offer in model.offers:
            counted = offer.provider == "fal" and offer.price.metric.endswith("megapixel")
            assert offer.price.unit == (unit if counted else 1_000_000)
