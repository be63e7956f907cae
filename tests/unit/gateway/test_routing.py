"""Which offers may serve a job, best first."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fakes.jobs import job
from fakes.painter import offer
from fluxvision.catalog import catalog
from fluxvision.catalog.catalog import CATALOG
from fluxvision.catalog.models.flux_vision_upscaler import EMBEDDED, MODEL
from fluxvision.catalog.rules import Offer, Price
from fluxvision.core.errors import InternalError, InvalidRequest, ModelNotFound
from fluxvision.gateway.circuit_breaker import ProviderHealth
from fluxvision.gateway.routing import (
    DEGRADES,
    RESTS,
    SPENT,
    JobLimits,
    decide,
    find_offers,
    order_offers,
    translate_offers,
)

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
    offers = [offer.provider for offer in find_offers(job(engine="realsr"), MODEL, {"fal", "embedded"})]
    assert offers == ["embedded"]
    assert [offer.provider for offer in find_offers(job(engine="realsr"), MODEL, {"fal"})] == ["fal"]


OUT, HALF = ProviderHealth(breaker_open=True), ProviderHealth(reliability=0.5)
FAST, MEDIUM, SLOW = (ProviderHealth(seconds=seconds) for seconds in (3, 5, 9))


def names(offers):
    return [offer.provider for offer in offers]


@pytest.mark.parametrize(
    ("policy", "costs", "health", "wanted"),
    [
        ("quality", {}, {}, ["first", "second", "third"]),
        ("quality", {}, {"first": ProviderHealth(breaker_open=True)}, ["second", "third", "first"]),
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
def test_the_order_follows_the_policy_and_live_health(policy, costs, health, wanted):
    """Worth is divided by reliability; what is out comes last and is still there; ties keep the table's order."""
    assert names(order_offers(THREE.offers, policy, costs, health)) == wanted


CANDIDATES_MODEL = CATALOG[0]
ROWS = catalog.model_params(CANDIDATES_MODEL)
LARGEST = 400_000_000


def fal(model):
    """Return a model's offer at fal."""
    return next(offer for offer in model.offers if offer.provider == "fal")


def at(name: str, micros: int | None = 0, **facts) -> Offer:
    """Return an offer of exact sizes, priced per picture; without a price by the second."""
    price = Price("second", 800) if micros is None else Price("image", micros)
    return replace(CANDIDATES_MODEL.offers[-1], provider=name, price=price, **facts)


def translated(asked, *offers, refused=(), most=LARGEST, model=CANDIDATES_MODEL):
    """Return the candidates; the providers in `refused` refuse every call."""

    def check(call):
        if call.provider in refused:
            message = f"engine: {call.provider} has none."
            raise InvalidRequest(message, param="engine")

    checks = dict.fromkeys([offer.provider for offer in offers], check)
    return every(asked, *offers, checks=checks, most=most, model=model).candidates


def every(asked, *offers, checks=None, most=LARGEST, model=CANDIDATES_MODEL):
    """Return the candidates, and why the others are none."""
    checks = checks or dict.fromkeys([offer.provider for offer in offers], lambda _call: None)
    return translate_offers(asked, offers, catalog.model_params(model), limits=JobLimits(most), checks=checks)


def candidates_names(found):
    return [one.offer.provider for one in found]


def test_candidates_keep_the_offers_order():
    """Nothing is sorted here, and each call is addressed to its own provider."""
    found = translated(job(), at("b", 5), at("a", 1), at("c"))
    assert candidates_names(found) == [one.call.provider for one in found] == ["b", "a", "c"]


@pytest.mark.parametrize(
    ("limit", "n", "wanted"),
    [
        (0, 1, ["free"]),
        (0.000099, 1, ["free"]),
        (0.0001, 1, ["cheap", "free"]),
        (0.0001, 2, ["free"]),
        (0.0002, 2, ["cheap", "free"]),
        (1.0, 1, ["over_budget", "cheap", "free"]),
        (1.0, 3, ["over_budget", "cheap", "free"]),
    ],
)
def test_max_cost_leaves_out_what_is_dearer(limit, n, wanted):
    """The limit is for all pictures together, its own value included; a cost that is not known is over every limit."""
    offers = [at("over_budget", 300_000), at("unknown", None), at("cheap", 100), at("free")]
    assert candidates_names(translated(job(max_cost=limit, n=n), *offers)) == wanted


def test_without_a_limit_an_unknown_cost_is_no_obstacle():
    """Who says nothing of money gets every offer."""
    assert candidates_names(translated(job(), at("unknown", None), at("free"))) == ["unknown", "free"]


@pytest.mark.parametrize(
    ("offers", "words"),
    [
        ([at("over_budget", 300_000), at("cheap", 100)], r"for \$0.00005; the least is \$0.0001\."),
        ([at("unknown", None), at("cheap", 100)], r"the least is \$0.0001\."),
        ([at("unknown", None)], r"not known beforehand\."),
    ],
)
def test_a_limit_below_every_price_is_refused(offers, words):
    """The message names the least that is asked, as far as it is known."""
    with pytest.raises(InvalidRequest, match=words) as caught:
        translated(job(max_cost=0.00005), *offers)
    assert caught.value.param == "max_cost"


def test_the_first_offers_refusal_is_told():
    """When nobody can do the job, the preferred provider's reason counts."""
    with pytest.raises(InvalidRequest, match="best has none"):
        translated(job(), at("best"), at("other"), refused={"best", "other"})


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({}, ["other"]),
        ({"max_cost": 0.00001}, ["other"]),
    ],
)
def test_who_refuses_is_passed_over(fields, wanted):
    """One offer that cannot do the job is no obstacle for the rest."""
    assert candidates_names(translated(job(**fields), at("best"), at("other", 10), refused={"best"})) == wanted


def test_who_cannot_is_named_with_the_reason():
    """A refusal in its own words, and a price that is over the limit or not known, are told with the provider."""

    def check(_call):
        raise InvalidRequest("engine: there is none.", param="engine")

    checks = {"best": check, **dict.fromkeys(["over_budget", "unknown", "free"], lambda _call: None)}
    offers = at("best"), at("over_budget", 7_000), at("unknown", None), at("free")
    eligible = every(job(max_cost=0.001), *offers, checks=checks)
    assert (candidates_names(eligible.candidates), set(eligible.refused), set(eligible.over_budget)) == (
        ["free"],
        {"best"},
        {"over_budget", "unknown"},
    )
    assert [(one.provider, one.reason) for one in eligible.excluded] == [
        ("best", "engine: there is none."),
        ("over_budget", "It costs $0.007, and max_cost allows less."),
        ("unknown", "What it costs is not known beforehand, and max_cost allows less."),
    ]


def test_a_refusal_comes_before_the_price():
    """A job that nobody can do is refused for that, whatever it may cost."""
    with pytest.raises(InvalidRequest) as caught:
        translated(job(max_cost=0), at("best", 100), refused={"best"})
    assert caught.value.param == "engine"


def test_only_refusals_are_passed_over():
    """A mistake of ours in a check is no reason to ask another provider."""

    def check(_call):
        raise InternalError("It broke.")

    with pytest.raises(InternalError):
        translate_offers(job(), [at("a")], ROWS, limits=JobLimits(LARGEST), checks={"a": check})


@pytest.mark.parametrize(
    ("model", "asked", "most", "param"),
    [
        (CANDIDATES_MODEL.id, {}, 4 * 640 * 427, None),
        (CANDIDATES_MODEL.id, {}, 4 * 640 * 427 - 1, "scale_factor"),
        (CANDIDATES_MODEL.id, {"size": "3000x3000"}, 1_000_000, "size"),
        # Delivered small, made large: the provider knows nothing but four times.
        ("aura-sr", {"size": "640x427"}, 16 * 640 * 427 - 1, "size"),
        ("aura-sr", {"size": "640x427"}, 16 * 640 * 427, None),
        # Delivered small, cropped from an enlargement that is 20,000 pixels high.
        (CANDIDATES_MODEL.id, {"size": "10x20000", "fit": "cover"}, 20_000 * 29_977 - 1, "size"),
        (CANDIDATES_MODEL.id, {"resolution": "4K", "aspect_ratio": "1:2", "fit": "cover"}, 10_000_000, "resolution"),
        (CANDIDATES_MODEL.id, {"aspect_ratio": "1:1", "fit": "cover"}, 4 * 640 * 427 - 1, "scale_factor"),
    ],
)
def test_a_limit_of_pixels_counts_what_is_made(model, asked, most, param):
    """The largest of what is made, cropped and delivered is what this server has to hold."""
    found = catalog.find_model(model)[0]
    wanted = job(model=model, **asked)
    if param is None:
        [one] = translated(wanted, fal(found), most=most, model=found)
        assert one.geometry.engine_width * one.geometry.engine_height == most
        return
    with pytest.raises(InvalidRequest, match="this server makes at most") as caught:
        translated(wanted, fal(found), most=most, model=found)
    assert caught.value.param == param


def test_a_format_that_cannot_hold_the_result_is_refused():
    """A WebP file has no side over 16,383 pixels: nobody is asked for one."""
    with pytest.raises(InvalidRequest) as caught:
        translated(job(5000, 20, scale_factor=4, output_format="webp"), at("a"))
    assert caught.value.param == "output_format"


@pytest.mark.parametrize("model", CATALOG, ids=lambda model: model.id)
def test_the_bill_of_each_picture_adds_up_to_the_quote(model):
    """What is quoted for n pictures is n times what one is billed; by the second, or without a price, nothing is."""
    for n in (1, 3, 10):
        asked = job(model=model.id, n=n)
        for one in translated(asked, *model.offers, model=model):
            quote = one.quote(asked)
            if one.offer.price.metric == "second":
                assert (one.cost, quote.total, one.bill(asked, None)) == (None, None, None)
                assert one.bill(asked, 2.0) == 2 * one.offer.price.unit_price
            elif one.offer.price.unit_price is None:
                assert (one.cost, quote.total, one.bill(asked, 2.0)) == (None, None, None)
            else:
                assert one.cost == quote.total == n * one.bill(asked, None)
                assert sum(line.total_cost for line in quote.components) == quote.total
            assert (quote.width, quote.height) == (one.geometry.width, one.geometry.height)


def test_a_quote_carries_the_others():
    """The quotes of what would be tried next come along, as they are."""
    asked = job()
    first, second = translated(asked, at("a", 7), at("b", 3))
    quote = first.quote(asked, [second.quote(asked)])
    assert [(one.provider, one.total) for one in (quote, *quote.others)] == [("a", 7), ("b", 3)]


def test_a_nameless_word_changes_no_check():
    """Of an offer without a target of its own every result is checked, whatever the caller sent."""
    [one] = translated(replace(job(), extras={"": 1}), fal(CANDIDATES_MODEL))
    assert one.requested_size == (1280, 854)


@pytest.mark.parametrize(
    ("model", "values", "made"),
    [
        (CANDIDATES_MODEL.id, {}, (1280, 854)),
        ("aura-sr", {}, (2560, 1708)),
        ("recraft-crisp-upscale", {}, None),
        ("seedvr", {"resolution": "2K"}, (2048, 1366)),
        ("seedvr", {"resolution": "1080p"}, None),
    ],
)
def test_what_a_provider_is_asked_to_make(model, values, made):
    """Its own factor's pixels, or nothing known where it decides by itself."""
    found = catalog.find_model(model)[0]
    [one] = translated(job(model=model, **values), fal(found), model=found)
    assert one.requested_size == made


@pytest.mark.parametrize(
    ("size", "factor", "local", "wanted"),
    [
        ((1000, 1000), 2, False, 4.0),
        ((1000, 1000), 2, True, 4.19),
        ((1000, 1000), 1, True, 4.19),
        ((1000, 1000), 4, True, 16.0),
        ((24, 24), 2, True, 0.01),
        ((60_000, 1), 2, True, 6.0),
    ],
)
def test_work_is_what_an_engine_looks_at(size, factor, local, wanted):
    """At factor 1 a local engine does the work of factor 2, and of a line of pixels it works on the halo."""
    offer = at("a")
    source = replace(job().image, width=size[0], height=size[1])
    asked = replace(job(scale_factor=factor), image=source)
    limits = JobLimits(LARGEST, local=["a"] if local else [])
    (found,) = translate_offers(asked, [offer], ROWS, limits=limits, checks={"a": lambda _call: None}).candidates
    assert found.megapixels == pytest.approx(wanted, abs=0.01)


CHOICE_ROWS = catalog.model_params(catalog.CATALOG[0])
OFFERS = (offer("first", price=100), offer("second", price=30), offer("own", generative=False))
WELL = {one.provider: ProviderHealth() for one in OFFERS}
CHOICE_OUT = {**WELL, "first": ProviderHealth(breaker_open=True), "second": ProviderHealth(breaker_open=True)}


def choice(*unable, health=WELL, policy="quality", whole=False, offers=OFFERS, **fields):
    """Return who does a job that some are not able to do."""

    def check(call):
        if call.provider in unable:
            message = f"engine: {call.provider} has none."
            raise InvalidRequest(message, param="engine")

    asked = job(**fields)
    checks = {one.provider: check for one in offers}
    eligible = translate_offers(asked, offers, CHOICE_ROWS, limits=JobLimits(10**9), checks=checks)
    return decide(asked, offers, eligible, policy, health, allow_degraded=not whole)


def order(found):
    return [one.offer.provider for one in found.candidates]


def reasons(excluded):
    return {one.provider: one.reason for one in excluded}


@pytest.mark.parametrize(
    ("facts", "wanted", "best"),
    [
        ({}, ["first", "second", "own"], "first"),
        ({"health": CHOICE_OUT}, ["own", "first", "second"], "first"),
        ({"health": CHOICE_OUT, "whole": True}, ["first", "second"], "first"),
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
    assert choice().not_tried(OFFERS[0], {"first"}) == ()
    rested = choice(health=CHOICE_OUT)
    assert rested.degraded(OFFERS[2])
    assert reasons(rested.not_tried(OFFERS[2], {"own"})) == {"first": RESTS, "second": RESTS}
    assert reasons(rested.not_tried(OFFERS[2], {"first", "own"})) == {"second": RESTS}
    unable = choice("first", "second")
    assert unable.degraded(OFFERS[2])
    assert set(reasons(unable.not_tried(OFFERS[2], {"own"}))) == {"first", "second"}
    assert not choice(max_cost=0).degraded(OFFERS[2])


def test_who_would_cost_too_much_after_a_failure_is_told():
    """A provider that is passed over for the money is not said to rest."""
    found = choice().exclude("second")
    assert reasons(found.not_tried(OFFERS[2], {"first", "own"})) == {"second": SPENT}


def test_all_frames_are_for_providers_that_make_them():
    """A provider that makes one frame for each call is passed over with the reason; the work counts every frame."""
    still = job(output_format="webp")
    asked = replace(still, image=replace(still.image, format="gif", frames=3))
    every = replace(asked, values={**asked.values, "frames": "all"})
    checks = {offer.provider: lambda _call: None for offer in MODEL.offers}
    limits = JobLimits(LARGEST, local=("flux", "embedded"))
    one, left_out, all_of_them = (
        translate_offers(each, MODEL.offers, ROWS, limits=limits, checks=checks) for each in (still, asked, every)
    )
    assert [found.offer.provider for found in left_out.candidates] == ["flux", "fal", "openai", "embedded"]
    assert [found.plan.frames for found in left_out.candidates] == [3, 1, 1, 3]
    assert [found.offer.provider for found in all_of_them.candidates] == ["flux", "embedded"]
    assert {row.reason for row in all_of_them.excluded} == {
        "frames: this provider makes one frame for each call; send frames=first."
    }
    assert all_of_them.candidates[1].megapixels == pytest.approx(3 * one.candidates[3].megapixels)
