"""Which offers may serve a job, best first."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fakes.jobs import job
from fluxvision.catalog.models.flux_vision_upscaler import EMBEDDED, MODEL
from fluxvision.core.errors import ModelNotFound
from fluxvision.gateway.circuit_breaker import ProviderHealth
from fluxvision.gateway.routing import find_offers, order_offers

THREE = replace(MODEL, offers=tuple(replace(EMBEDDED, provider=name) for name in ("first", "second", "third")))


@pytest.mark.parametrize(
    ("configured", "pin", "wanted"),
    [
        ({"first", "second", "third"}, None, ["first", "second", "third"]),
        ({"third", "first"}, None, ["first", "third"]),
        ({"third", "first"}, "third", ["third"]),
        ({"other", "second"}, None, ["second"]),
    ],
)
def test_configured_offers_in_the_tables_order(configured, pin, wanted):
    """The table's order counts, not that of the configuration; a pinned provider stands alone."""
    assert [offer.provider for offer in find_offers(job(pin=pin), THREE, configured)] == wanted


def test_a_pinned_provider_that_is_not_configured_is_not_found():
    """Insisting on a provider gives up the others."""
    with pytest.raises(ModelNotFound, match="second"):
        find_offers(job(pin="second"), THREE, {"first"})


def test_a_model_that_nobody_makes_here_is_not_found():
    """To ask again would not help; the message tells who would make it."""
    with pytest.raises(ModelNotFound, match="first, second, third") as caught:
        find_offers(job(), THREE, set())
    assert not caught.value.retryable


def test_a_job_that_names_an_engine_goes_where_engines_are():
    """A provider without engines stands back, unless nobody has any."""
    offers = [offer.provider for offer in find_offers(job(engine="quality"), MODEL, {"fal", "embedded"})]
    assert offers == ["embedded"]
    assert [offer.provider for offer in find_offers(job(engine="quality"), MODEL, {"fal"})] == ["fal"]


OUT, HALF = ProviderHealth(out=True), ProviderHealth(reliability=0.5)
FAST, MEDIUM, SLOW = (ProviderHealth(seconds=seconds) for seconds in (3, 5, 9))


def names(offers):
    return [offer.provider for offer in offers]


@pytest.mark.parametrize(
    ("policy", "costs", "standings", "wanted"),
    [
        ("quality", {}, {}, ["first", "second", "third"]),
        ("quality", {}, {"first": ProviderHealth(out=True)}, ["second", "third", "first"]),
        ("quality", {}, dict.fromkeys(("first", "second", "third"), OUT), ["first", "second", "third"]),
        ("quality", {}, {"first": ProviderHealth(reliability=0.4)}, ["second", "first", "third"]),
        ("quality", {}, {"first": ProviderHealth(reliability=0.6)}, ["first", "second", "third"]),
        ("price", {"first": 9, "second": 0, "third": 5}, {}, ["second", "third", "first"]),
        ("price", {"first": None, "second": 7, "third": 7}, {}, ["second", "third", "first"]),
        ("price", {"first": 8, "second": 7, "third": 5}, {"third": HALF}, ["second", "first", "third"]),
        ("price", {"first": 8, "second": 7, "third": 0}, {"third": OUT}, ["second", "first", "third"]),
        ("latency", {}, {"first": SLOW, "second": FAST, "third": MEDIUM}, ["second", "third", "first"]),
        ("latency", {}, {"first": SLOW, "third": MEDIUM}, ["second", "third", "first"]),
    ],
)  # fmt: skip
def test_the_order_follows_the_policy_and_live_health(policy, costs, standings, wanted):
    """Worth is divided by reliability; what is out comes last and is still there; ties keep the table's order."""
    assert names(order_offers(THREE.offers, policy, costs, standings)) == wanted
