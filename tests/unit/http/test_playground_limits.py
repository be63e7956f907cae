"""The page without a key: what it reaches, how often it may ask, and that it never spends more than it was given."""

from __future__ import annotations

import asyncio
import io
from dataclasses import replace

import pytest
from PIL import Image

from fakes.asgi import Client
from fakes.gateway import png
from fakes.painter import Painter, model, offer
from fakes.server import form
from fluxvision.accounts.budget import DAY
from fluxvision.catalog.rules import Emulated, Price
from fluxvision.core.errors import UpstreamError
from fluxvision.gateway import execution
from fluxvision.gateway import gateway as gateway_module
from fluxvision.gateway.gateway import Gateway

PAGE = {"x-fluxvision-client": "page"}
BODY = (("model", "flux-vision-upscaler"), ("image", png(32, 24), "a"))
KEYED = {"api_keys": "secret"}
CENT = 10_000


@pytest.fixture
def house():
    """A provider that asks for two cents, one that asks for one, one whose price is not known, and a free one."""
    return {name: Painter(name.title()) for name in ("dear", "cheap", "unknown", "own")}


@pytest.fixture
def opened(edge, house):
    """The real gateway, with paid providers before the free one."""

    def make(*, free=True, **settings):
        offers = [offer("dear", price=2 * CENT), offer("cheap", price=CENT)]
        offers += [replace(offer("unknown"), price=Price("second", 5))]
        offers += [offer("own", generative=False)] if free else []
        gateway = Gateway(house, models=(model(*offers),))
        return edge(gateway=gateway, **settings)

    return make


def asked(house):
    return {name: len(painter.calls) for name, painter in house.items() if painter.calls}


def code(answer):
    return answer.json()["error"]["code"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/models", 200),
        ("HEAD", "/v1/models", 200),
        ("GET", "/v1/models/flux-vision-upscaler?schema=true", 200),
        ("GET", "/v1/models/flux-vision-upscaler/llms.txt", 200),
        ("GET", "/v1/page", 200),
        ("GET", "/openai/v1/models", 401),
        ("GET", "/metrics", 401),
        ("POST", "/openai/v1/images/edits", 401),
        ("POST", "/v1/models", 401),
        ("DELETE", "/v1/models/flux-vision-upscaler", 401),
        ("GET", "/v1/images/edits", 401),
        ("GET", "/v1/nothing", 401),
    ],
)
async def test_a_keyed_server_opens_only_what_the_page_needs(edge, method, path, status):
    """Without a key the page reaches the models, the facts and the edits, and nothing else."""
    assert (await edge(**KEYED).get(path, method, **PAGE)).status == status


async def test_without_the_header_a_key_is_needed(edge):
    """Only the facts are for everybody; a wrong key is wrong with the header, too."""
    served = edge(**KEYED)
    assert (await served.get("/v1/models")).status == 401
    assert (await served.get("/v1/page")).status == 200
    assert (await served.get("/v1/models", **PAGE, Authorization="Bearer wrong")).status == 401
    assert (await served.get("/v1/models", **{"x-fluxvision-client": "other"})).status == 401


@pytest.mark.parametrize("settings", [{}, KEYED], ids=["keyless", "keyed"])
async def test_the_operator_can_close_it(edge, settings):
    """With playground off the page needs a key as well."""
    served = edge(playground="off", **settings)
    assert (await served.edit(*BODY, **PAGE)).status == 401
    assert (await served.edit(*BODY, **PAGE, Authorization="Bearer secret")).status == 200
    facts = (await served.get("/v1/page")).json()
    assert (facts["playground"], facts["budget"]["spends"]) == (False, False)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": "http://localhost:8000", "sec-fetch-site": "same-origin"}, 200),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://localhost:9000"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"host": "evil.example", "origin": "http://evil.example"}, 403),
    ],
)
@pytest.mark.parametrize("settings", [{}, KEYED], ids=["keyless", "keyed"])
async def test_other_websites_are_no_page(edge, settings, headers, status):
    """Origin, Sec-Fetch-Site and Host have to be this server's own."""
    assert (await edge(**settings).edit(*BODY, **PAGE, **headers)).status == status


async def test_the_public_address_is_ours(edge):
    """Behind a proxy the page comes from public_url."""
    served = edge(public_url="https://up.example", **KEYED)
    headers = {"host": "up.example", "origin": "https://up.example"}
    assert (await served.edit(*BODY, **PAGE, **headers)).status == 200


async def test_nothing_is_spent_by_default(opened, house):
    """Without a budget only what is free is asked, whatever the page says of max_cost."""
    served = opened()
    for words in ((), (("max_cost", "5"),), (("n", "3"),), (("stream", "true"),)):
        assert (await served.edit(*BODY, *words, **PAGE)).status == 200
    assert asked(house) == {"own": 6}


@pytest.mark.parametrize("name", ["dear/flux-vision-upscaler", "unknown/flux-vision-upscaler"])
async def test_what_is_not_free_is_refused(opened, house, name):
    """A pinned provider that costs something, or nobody knows how much, is refused in words for people."""
    answer = await opened(playground_budget=0).edit(("model", name), BODY[1], **PAGE)
    assert (answer.status, answer.json()["error"]["param"]) == (400, "max_cost")
    assert "enter a key" in answer.json()["error"]["message"]
    assert asked(house) == {}


async def test_a_key_lifts_the_bounds(opened, house):
    """With a key, or without the page's header on a server without keys, the best provider is asked."""
    assert (await opened(**KEYED).edit(*BODY, **PAGE, Authorization="Bearer secret")).status == 200
    assert (await opened().edit(*BODY)).status == 200
    assert asked(house) == {"dear": 2}


async def test_the_budget_is_spent_and_no_more(opened, house):
    """Each picture takes what it costs; when too little is left the cheaper and then the free one are asked."""
    served = opened(playground_budget=0.05)
    for _ in range(5):
        assert (await served.edit(*BODY, **PAGE)).status == 200
    assert asked(house) == {"dear": 2, "cheap": 1, "own": 2}
    assert (await served.get("/v1/page")).json()["budget"] == {"spends": True, "per_request": 0.0, "per_day": 0.05}
    served.clock.now += DAY
    assert (await served.get("/v1/page")).json()["budget"]["per_request"] == 0.05


async def test_requests_at_once_share_the_budget(opened, house):
    """What one request may still spend is not there for another one."""
    served = opened(playground_budget=0.02)
    for painter in house.values():
        painter.seconds = 0.05
    answers = await asyncio.gather(*(served.edit(*BODY, **PAGE) for _ in range(4)))
    assert [answer.status for answer in answers] == [200] * 4
    assert asked(house) == {"dear": 1, "own": 3}


async def test_failed_attempts_that_are_billed_count(opened, house):
    """A provider that fails and bills all the same takes from the budget; one that fails and does not takes nothing."""
    served = opened(playground_budget=0.03)
    house["dear"].fault = UpstreamError("No.", billed=True)
    house["cheap"].fault = UpstreamError("No.")
    assert (await served.edit(*BODY, **PAGE)).status == 200
    assert asked(house) == {"dear": 1, "cheap": 1, "own": 1}
    assert (await served.get("/v1/page")).json()["budget"]["per_request"] == 0.01


async def test_when_all_fail_only_what_was_billed_counts(opened, house):
    """An error answer settles as well."""
    served = opened(free=False, playground_budget=0.03)
    house["dear"].fault, house["cheap"].fault = UpstreamError("No.", billed=True), UpstreamError("No.")
    assert (await served.edit(*BODY, **PAGE)).status == 502
    assert (await served.get("/v1/page")).json()["budget"]["per_request"] == 0.01


async def test_a_caller_that_goes_away_gives_nothing_back(opened, house):
    """Work that is broken off may have been taken a moment before: all that was reserved counts."""
    served = opened(free=False, playground_budget=0.03)
    house["dear"].hold = asyncio.Event()
    headers, body = form(*BODY)
    client = Client("POST", "/v1/images/edits", {**headers, **PAGE}, [body])
    task = asyncio.create_task(client.ask(served.app))
    while not house["dear"].calls:  # noqa: ASYNC110, it has no event for that
        await asyncio.sleep(0.01)
    client.gone.set()
    await task
    assert (await served.get("/v1/page")).json()["budget"]["per_request"] == 0.0


async def test_names_that_nobody_knows_spend_nothing(opened, house):
    """Extras go on as they are and may change a bill, so with them only what is free is asked."""
    assert (await opened(playground_budget=1).edit(*BODY, ("turbo", "9"), **PAGE)).status == 200
    assert asked(house) == {"own": 1}


async def test_the_caller_may_spend_less(opened, house):
    """The smaller of the budget and max_cost holds."""
    assert (await opened(playground_budget=1).edit(*BODY, ("max_cost", "0.01"), **PAGE)).status == 200
    assert asked(house) == {"cheap": 1}


@pytest.mark.parametrize(("words", "said"), [((), None), ((("max_cost", "0.5"),), 0.5)])
async def test_the_receipt_has_the_callers_words(opened, words, said):
    """What the page may spend is not taken for the caller's word, in the dry run, the answer or a stream."""
    served = opened(playground_budget=0.01)
    bodies = [(await served.edit(*BODY, *words, query="?dryRun=true", **PAGE)).json()]
    bodies += [(await served.edit(*BODY, *words, **PAGE)).json()["metadata"]]
    bodies += [(await served.edit(*BODY, *words, ("stream", "true"), **PAGE)).events()[-1][1]["metadata"]]
    lines = [line for body in bodies for line in body["normalization"] if line["parameter"] == "max_cost"]
    assert [line["from"] for line in lines] == [said] * 3
    assert all("without a key" in line["note"].lower() for line in lines)


async def test_a_dry_run_says_what_a_key_would_open(opened, house):
    """The quote is that of the run; who else would make it is told beside it, and nothing is reserved."""
    served = opened(playground_budget=0.01)
    quote = (await served.edit(*BODY, query="?dryRun=true", **PAGE)).json()
    assert (quote["provider"], quote["total_cost_micros"]) == ("cheap", CENT)
    assert quote["alternatives"] == [{"provider": "own", "total_cost_micros": 0}]
    assert {row["provider"]: row["total_cost_micros"] for row in quote["with_key"]} == {
        "dear": 2 * CENT,
        "unknown": None,
    }
    assert "with_key" not in (await served.edit(*BODY, query="?dryRun=true")).json()
    assert (await served.get("/v1/page")).json()["budget"]["per_request"] == 0.01
    assert asked(house) == {}


async def test_too_many_are_told_to_wait(edge):
    """Beyond the rate the answer is 429 with the seconds to wait; dry runs weigh a sixth, other callers nothing."""
    served = edge(playground_rate=2)
    for _ in range(6):
        assert (await served.edit(*BODY, query="?dryRun=true", **PAGE)).status == 200
    assert (await served.edit(*BODY, **PAGE)).status == 200
    refused = await served.edit(*BODY, **PAGE)
    assert (refused.status, code(refused), refused.answered["retry-after"]) == (429, "RATE_LIMIT_EXCEEDED", "30")
    assert refused.json()["error"]["type"] == "rate_limit_error"
    assert (await served.edit(*BODY)).status == 200
    served.clock.now += 30
    assert (await served.edit(*BODY, **PAGE)).status == 200


@pytest.mark.parametrize(
    ("first", "second", "shared"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8::1", "2001:db8::2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
    ],
)
async def test_who_is_one_caller(edge, first, second, shared):
    """An address counts by itself, an IPv6 one with its network of 64 bits; what a header says does not count."""
    served = edge(playground_rate=1)
    app, caller = served.app, [first]

    async def from_somewhere(scope, receive, send):
        await app({**scope, "client": (caller[0], 5000)}, receive, send)

    statuses = []
    for address in (first, second):
        caller[0] = address
        headers, body = form(*BODY)
        headers |= {**PAGE, "x-forwarded-for": f"198.51.100.{len(statuses)}"}
        statuses.append((await Client("POST", "/v1/images/edits", headers, [body]).ask(from_somewhere)).status)
    assert statuses == [200, 429 if shared else 200]


async def test_a_streamed_request_with_a_mask_is_decided_once(edge, monkeypatch):
    """One choice of providers and one look into the mask serve the bound, the checks before the stream, and the job."""
    calls = []

    def counted(module, name):
        really = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *given, **named: (calls.append(name), really(*given, **named))[1])

    counted(gateway_module, "decide")
    counted(execution, "decode_mask")
    house = {name: Painter(name.title()) for name in ("own", "other")}
    rules = {**offer("own").rules, "mask": (Emulated("apply_mask"),)}
    gateway = Gateway(house, models=(model(offer("own", rules=rules), offer("other", rules=rules)),))
    buffer = io.BytesIO()
    Image.new("RGBA", (32, 24), (0, 0, 0, 0)).save(buffer, "PNG")
    parts = (*BODY, ("mask", buffer.getvalue(), "m"), ("stream", "true"))
    answer = await edge(gateway=gateway, **KEYED).edit(*parts, **PAGE)
    assert (answer.status, answer.events()[-1][0]) == (200, "image_edit.completed")
    assert sorted(calls) == ["decide", "decode_mask"]
