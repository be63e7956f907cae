"""Who does a job: the order, who is left out and why, and when nobody may stand in."""

from __future__ import annotations

import pytest

from fakes.jobs import job
from fakes.painter import offer
from fluxvision.catalog import catalog
from fluxvision.core.errors import InvalidRequest
from fluxvision.gateway.circuit_breaker import ProviderHealth
from fluxvision.gateway.routing import DEGRADES, RESTS, SPENT, JobLimits, decide, translate_offers

ROWS = catalog.model_params(catalog.CATALOG[0])
OFFERS = (offer("first", price=100), offer("second", price=30), offer("own", generative=False))
WELL = {one.provider: ProviderHealth() for one in OFFERS}
OUT = {**WELL, "first": ProviderHealth(out=True), "second": ProviderHealth(out=True)}


def choice(*unable, standings=WELL, policy="quality", whole=False, offers=OFFERS, **fields):
    """Return who does a job that some are not able to do."""

    def check(call):
        if call.provider in unable:
            message = f"engine: {call.provider} has none."
            raise InvalidRequest(message, param="engine")

    asked = job(**fields)
    checks = {one.provider: check for one in offers}
    able = translate_offers(asked, offers, ROWS, limits=JobLimits(10**9), checks=checks)
    return decide(asked, offers, able, policy, standings, whole=whole)


def order(found):
    return [one.offer.provider for one in found.order]


def reasons(excluded):
    return {one.provider: one.reason for one in excluded}


@pytest.mark.parametrize(
    ("facts", "wanted", "best"),
    [
        ({}, ["first", "second", "own"], "first"),
        ({"standings": OUT}, ["own", "first", "second"], "first"),
        ({"standings": OUT, "whole": True}, ["first", "second"], "first"),
        ({"strict": True}, ["first", "second"], "first"),
        ({"policy": "price"}, ["own", "second", "first"], "own"),
        ({"policy": "price", "whole": True}, ["own", "second", "first"], "own"),
        ({"max_cost": 0.00005}, ["second", "own"], "second"),
        ({"max_cost": 0, "strict": True}, ["own"], "own"),
        ({"offers": OFFERS[2:], "strict": True}, ["own"], "own"),
    ],
)
def test_the_order_and_who_would_be_the_best(facts, wanted, best):
    """Failures change the order, not who would be the best; the caller's own limit changes both."""
    found = choice(**facts)
    assert (order(found), found.best.provider) == (wanted, best)


@pytest.mark.parametrize("fields", [{"strict": True}, {"whole": True}])
def test_nobody_stands_in_where_that_is_forbidden(fields):
    """Who invents no detail is left out, and where nobody else can do it the best one's reason is the answer."""
    assert reasons(choice("first", **fields).excluded) == {"first": "engine: first has none.", "own": DEGRADES}
    with pytest.raises(InvalidRequest, match=r"^engine: first has none\. own/flux-vision-upscaler makes it") as caught:
        choice("first", "second", **fields)
    assert caught.value.param == "engine"


def test_who_stands_in_says_for_whom():
    """Those that cannot and those that rest are told; who is merely behind in the order is not."""
    assert choice().unasked(OFFERS[0], {"first"}) == ()
    rested = choice(standings=OUT)
    assert rested.degraded(OFFERS[2])
    assert reasons(rested.unasked(OFFERS[2], {"own"})) == {"first": RESTS, "second": RESTS}
    assert reasons(rested.unasked(OFFERS[2], {"first", "own"})) == {"second": RESTS}
    unable = choice("first", "second")
    assert unable.degraded(OFFERS[2])
    assert set(reasons(unable.unasked(OFFERS[2], {"own"}))) == {"first", "second"}
    assert not choice(max_cost=0).degraded(OFFERS[2])


def test_who_would_cost_too_much_after_a_failure_is_told():
    """A provider that is passed over for the money is not said to rest."""
    found = choice().without("second")
    assert reasons(found.unasked(OFFERS[2], {"first", "own"})) == {"second": SPENT}
