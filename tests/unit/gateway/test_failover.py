"""From one provider to the next: who is tried, who is blamed, what is told and what is paid."""

from __future__ import annotations

import asyncio
import inspect
import itertools
from dataclasses import replace

import pytest
from PIL import Image

from fakes.painter import Painter, model, offer
from fakes.reports import run_job
from fluxvision import imaging
from fluxvision.catalog.rules import Emulated, Price
from fluxvision.core import errors
from fluxvision.core.callbacks import JobCallbacks
from fluxvision.core.errors import (
    Busy,
    Cancelled,
    DeadlineExceeded,
    Error,
    Exhausted,
    InvalidRequest,
    UpstreamBusy,
    UpstreamError,
    UpstreamUnreachable,
)
from fluxvision.core.types import Caller
from fluxvision.gateway.circuit_breaker import FIRST_PAUSE, THRESHOLD, CircuitBreakers
from fluxvision.gateway.gateway import Gateway
from fluxvision.gateway.routing import DEGRADES, RESTS, SPENT

MODEL = "flux-vision-upscaler"
KINDS = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, Error)]


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "in.png"
    Image.new("RGB", (40, 30), (1, 2, 3)).save(path)
    return imaging.probe(path, imaging.Limits())


@pytest.fixture
def house():
    """A paid provider that invents detail, another one, and the machine's own."""
    return {"first": Painter("First"), "second": Painter("Second"), "own": Painter("Own")}


def opened(house, **facts):
    offers = (offer("first", price=100), offer("second", price=30), offer("own", generative=False))
    return Gateway(house, models=(model(*offers),), **facts)


async def run(gateway, source, folder, name=MODEL, **fields):
    job = gateway.admit(name, fields, source, None, "req_1")
    return await run_job(gateway, job, JobCallbacks(), folder)


async def streamed(gateway, source, folder):
    """Run a job that shows a preview first."""
    job = gateway.admit(MODEL, {"stream": True, "partial_images": 1}, source, None, "req_1")
    return await run_job(gateway, job, JobCallbacks(preview=lambda _path: None), folder)


def told(delivery_or_error):
    return [(attempt.provider, attempt.outcome, attempt.cost) for attempt in delivery_or_error.attempts]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
async def test_only_a_providers_or_the_networks_failure_goes_on(house, source, tmp_path, kind):
    """Every other error ends the job at once, as it is, and costs nobody a place in the order."""
    house["first"].fault = kind("It did not work.")
    gateway = opened(house)
    if kind.blame in {"provider", "network"}:
        delivery = await run(gateway, source, tmp_path)
        assert told(delivery) == [("first", kind.code, 0), ("second", "ok", 30)]
        assert (delivery.provider, delivery.cost, delivery.degraded) == ("second", 30, False)
    else:
        for _ in range(THRESHOLD + 2):
            with pytest.raises(kind, match="It did not work"):
                await run(gateway, source, tmp_path)
        assert len(house["first"].calls) == THRESHOLD + 2
        assert house["second"].calls == []
        assert not gateway.health.snapshot()["first"].breaker_open


async def test_the_last_resort_is_reported_as_a_step_down(house, source, tmp_path):
    """When all that invent detail failed, the own engine delivers, and the delivery says so."""
    house["first"].fault, house["second"].fault = UpstreamUnreachable("a"), UpstreamError("b", billed=True)
    delivery = await run(opened(house), source, tmp_path)
    assert told(delivery) == [("first", "UPSTREAM_UNREACHABLE", 0), ("second", "UPSTREAM_ERROR", 30), ("own", "ok", 0)]
    assert (delivery.provider, delivery.cost, delivery.degraded) == ("own", 30, True)


@pytest.mark.parametrize(("facts", "fields"), [({"allow_degraded": False}, {}), ({}, {"strict": True})])
async def test_a_step_down_can_be_refused(house, source, tmp_path, facts, fields):
    """By the server's setting or the caller's `strict` the own engine is no substitute."""
    house["first"].fault = house["second"].fault = UpstreamError("It broke.")
    with pytest.raises(Exhausted, match="Second, said: It broke") as caught:
        await run(opened(house, **facts), source, tmp_path, **fields)
    assert [name for name, _, _ in told(caught.value)] == ["first", "second"]
    assert not caught.value.retryable
    assert house["own"].calls == []


def unable(painter, message="engine: it has none."):
    """Let a provider refuse every job before it is asked."""

    def check(_call):
        raise InvalidRequest(message, param="engine")

    painter.check = check


def left_out(found):
    return {one.provider: one.reason for one in found.excluded}


async def test_who_cannot_do_it_is_a_step_down_too(house, source, tmp_path):
    """Where those that invent detail cannot do a job, the own engine delivers it, and says whom it stands in for."""
    unable(house["first"])
    unable(house["second"])
    delivery = await run(opened(house), source, tmp_path)
    assert (delivery.provider, delivery.degraded) == ("own", True)
    assert left_out(delivery) == dict.fromkeys(["first", "second"], "engine: it has none.")


@pytest.mark.parametrize(("allowed", "fields"), [(False, {}), (True, {"strict": True})])
async def test_a_step_down_for_who_cannot_do_it_can_be_refused(house, source, tmp_path, allowed, fields):
    """Quote and run name the parameter that is in the way, and who would make it without inventing detail."""
    unable(house["first"])
    unable(house["second"])
    gateway = opened(house, allow_degraded=allowed)
    words = r"^engine: it has none\. own/flux-vision-upscaler makes it without inventing detail\.$"
    with pytest.raises(InvalidRequest, match=words) as quoted:
        gateway.prepare(gateway.admit(MODEL, fields, source, None, "req_1")).quote()
    with pytest.raises(InvalidRequest, match=words) as ran:
        await run(gateway, source, tmp_path, **fields)
    assert (quoted.value.param, ran.value.param, house["own"].calls) == ("engine", "engine", [])


@pytest.mark.parametrize("fields", [{"strict": True}, {}], ids=["strict", "by setting"])
async def test_a_limit_of_the_callers_own_is_no_step_down(house, source, tmp_path, fields):
    """Whoever wants to spend nothing has chosen the own engine."""
    delivery = await run(opened(house, allow_degraded=bool(fields)), source, tmp_path, max_cost=0, **fields)
    assert (delivery.provider, delivery.degraded) == ("own", False)
    assert set(left_out(delivery)) == {"first", "second"}


async def test_who_else_can_do_it_exactly_is_asked(house, source, tmp_path):
    """One of two that invent detail cannot do it: the other does, and the own engine is left out."""
    unable(house["first"])
    delivery = await run(opened(house), source, tmp_path, strict=True)
    assert (delivery.provider, delivery.degraded) == ("second", False)
    assert left_out(delivery) == {"first": "engine: it has none.", "own": DEGRADES}


async def test_who_was_asked_for_by_policy_is_no_step_down(house, source, tmp_path):
    """Where the cheapest is wished, the own engine is the first choice, strict or not."""
    delivery = await run(opened(house, policy="price", allow_degraded=False), source, tmp_path, strict=True)
    assert (delivery.provider, delivery.degraded) == ("own", False)


async def test_a_pinned_provider_stands_or_falls_alone(house, source, tmp_path):
    """No other is tried, and its own error goes straight through."""
    house["second"].fault = UpstreamError("It broke.")
    with pytest.raises(UpstreamError, match=r"^It broke\.$") as caught:
        await run(opened(house), source, tmp_path, "second/" + MODEL)
    assert type(caught.value) is UpstreamError
    assert told(caught.value) == [("second", "UPSTREAM_ERROR", 0)]


async def test_all_busy_is_busy(house, source, tmp_path):
    """When everybody has no room the caller is told when there may be some."""
    house["first"].fault = UpstreamBusy("a", retry_after=40.0)
    house["second"].fault = house["own"].fault = UpstreamBusy("b", retry_after=9.0)
    with pytest.raises(Busy) as caught:
        await run(opened(house), source, tmp_path)
    assert (caught.value.retry_after, caught.value.status) == (9.0, 429)


async def test_an_open_breaker_is_passed_over_and_probed_later(house, source, tmp_path):
    """After some failures the provider is not asked; when its pause is over one request brings it back."""
    now = 0.0
    gateway = opened(house, health=CircuitBreakers(house, clock=lambda: now, draw=lambda: 0.5))
    house["first"].fault = UpstreamUnreachable("Down.")
    for _ in range(THRESHOLD + 3):
        assert (await run(gateway, source, tmp_path)).provider == "second"
    assert len(house["first"].calls) == THRESHOLD
    house["first"].fault = None
    assert (await run(gateway, source, tmp_path)).provider == "second"
    now = FIRST_PAUSE + 0.1
    assert (await run(gateway, source, tmp_path)).provider == "first"
    assert len(house["first"].calls) == THRESHOLD + 1


async def test_who_rests_is_named(house, source, tmp_path):
    """Whom a degraded delivery passed over because of earlier failures is told."""
    gateway = opened(house)
    house["first"].fault = house["second"].fault = UpstreamUnreachable("Down.")
    assert left_out(await run(gateway, source, tmp_path)) == {}
    while len(told(delivery := await run(gateway, source, tmp_path))) > 1:
        assert "first" not in left_out(delivery)
    assert told(delivery) == [("own", "ok", 0)]
    assert (delivery.degraded, left_out(delivery)) == (True, {"first": RESTS, "second": RESTS})


async def test_one_probe_of_many_streams(house, source, tmp_path):
    """Requests that come at once, each with a preview to make first, send one probe; others serve the rest."""
    now = 0.0
    house["first"].workers = house["second"].workers = 9
    gateway = opened(house, health=CircuitBreakers(house, clock=lambda: now, draw=lambda: 0.5))
    house["first"].fault = UpstreamUnreachable("Down.")
    for _ in range(THRESHOLD):
        await run(gateway, source, tmp_path)
    now, asked = FIRST_PAUSE + 0.1, len(house["first"].calls)
    house["first"].fault, house["first"].hold = None, asyncio.Event()
    tasks = [asyncio.ensure_future(streamed(gateway, source, _folder(tmp_path, number))) for number in range(5)]
    for served in itertools.islice(asyncio.as_completed(tasks, timeout=30), 4):
        assert (await served).provider == "second"
    assert len(house["first"].calls) == asked + 1
    house["first"].hold.set()
    assert "first" in [(await task).provider for task in tasks]


async def test_a_caller_who_insists_frees_no_second_probe(house, source, tmp_path):
    """While a probe is under way a pinned request fails by its own fault; the next ordinary one goes elsewhere."""
    now = 0.0
    house["first"].workers = 3
    gateway = opened(house, health=CircuitBreakers(house, clock=lambda: now, draw=lambda: 0.5))
    house["first"].fault = UpstreamUnreachable("Down.")
    for _ in range(THRESHOLD):
        await run(gateway, source, tmp_path)
    now = FIRST_PAUSE + 0.1
    house["first"].fault, house["first"].hold = None, asyncio.Event()
    probe = asyncio.ensure_future(run(gateway, source, _folder(tmp_path, 0)))
    await asyncio.sleep(0.05)
    held, house["first"].hold = house["first"].hold, None
    house["first"].fault = InvalidRequest("No.")
    with pytest.raises(InvalidRequest):
        await run(gateway, source, _folder(tmp_path, 1), "first/" + MODEL)
    house["first"].fault = None
    assert (await run(gateway, source, _folder(tmp_path, 2))).provider == "second"
    held.set()
    assert (await probe).provider == "first"


async def test_everybody_out_is_tried_all_the_same(house, source, tmp_path):
    """With every breaker open a request still goes to each, the best first."""
    gateway = opened(house)
    for painter in house.values():
        painter.fault = UpstreamError("Down.")
    for _ in range(THRESHOLD):
        with pytest.raises(Exhausted):
            await run(gateway, source, tmp_path)
    assert all(standing.breaker_open for standing in gateway.health.snapshot().values())
    for painter in house.values():
        painter.fault = None
    assert (await run(gateway, source, tmp_path)).provider == "first"


async def test_a_slow_remote_provider_loses_its_turn(house, source, tmp_path):
    """One attempt has its own limit, so that there is time left for the next provider."""
    house["first"].remote, house["first"].seconds = True, 30.0
    delivery = await run(opened(house, attempt_timeout=0.05), source, tmp_path)
    assert [name for name, _, _ in told(delivery)] == ["first", "second"]
    assert house["first"].cancelled == 1


async def test_one_deadline_for_all_attempts(house, source, tmp_path):
    """However many providers are tried, the request ends in time, and what was spent is told."""
    house["first"].fault = UpstreamError("Paid for nothing.", billed=True)
    house["second"].seconds = 30.0
    with pytest.raises(DeadlineExceeded) as caught:
        await run(opened(house, deadline=0.2), source, tmp_path)
    assert told(caught.value) == [("first", "UPSTREAM_ERROR", 100), ("second", "CANCELLED", 0)]
    assert house["second"].cancelled == 1


async def test_who_was_left_little_time_is_not_to_blame(house, source, tmp_path):
    """A provider that gets what another left over of the deadline ends the request, and its health stays as it was."""
    house["first"].remote = house["second"].remote = True
    house["first"].seconds = house["second"].seconds = 30.0
    gateway = opened(house, deadline=2.0, attempt_timeout=1.2)
    with pytest.raises(DeadlineExceeded, match=r"what was left of this server's limit of 2") as caught:
        await run(gateway, source, tmp_path)
    assert [outcome for _, outcome, _ in told(caught.value)] == ["UPSTREAM_ERROR", "DEADLINE_EXCEEDED"]
    standings = gateway.health.snapshot()
    assert (standings["first"].reliability < 1, standings["second"].reliability) == (True, 1)


async def test_who_had_most_of_the_time_is_to_blame(house, source, tmp_path):
    """A deadline below the time of one try is no excuse for the provider that had all of it."""
    house["first"].remote, house["first"].seconds = True, 30.0
    gateway = opened(house, deadline=8.0, attempt_timeout=300)
    delivery = await run(gateway, source, tmp_path)
    assert [outcome for _, outcome, _ in told(delivery)] == ["UPSTREAM_ERROR", "ok"]
    assert gateway.health.snapshot()["first"].reliability < 1


async def test_a_caller_that_goes_away_moves_no_breaker(house, source, tmp_path):
    """Cancelled calls are forgotten, however many, and free the provider's place."""
    gateway = opened(house)
    house["first"].hold = asyncio.Event()
    for _ in range(THRESHOLD + 2):
        task = asyncio.ensure_future(run(gateway, source, tmp_path))
        await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert gateway.health.snapshot()["first"].reliability == 1.0
    assert gateway.queues["first"].running == 0


async def test_a_full_queue_sends_on_to_the_next_provider(house, source, tmp_path):
    """Who has no room is passed over at once; when nobody has any, the request is refused at once."""
    gateway = opened(house, queue=0)
    for painter in house.values():
        painter.hold = asyncio.Event()
    tasks = []
    for number in range(3):
        assert gateway.full(Caller()) is None
        tasks.append(asyncio.ensure_future(run(gateway, source, _folder(tmp_path, number))))
        await asyncio.sleep(0.02)
    assert gateway.full(Caller()) is not None
    with pytest.raises(Busy):
        await run(gateway, source, _folder(tmp_path, 3))
    for painter in house.values():
        painter.hold.set()
    assert [(await task).provider for task in tasks] == ["first", "second", "own"]


@pytest.mark.parametrize(("billed", "kind"), [(False, Busy), (True, Exhausted)])
async def test_a_full_queue_behind_a_failure_is_worth_a_retry(house, source, tmp_path, billed, kind):
    """Where one provider failed for nothing and the others have no room, the caller is told to come again."""
    gateway = opened(house, queue=0)
    for name in ("second", "own"):
        house[name].hold = asyncio.Event()
    tasks = [
        asyncio.ensure_future(run(gateway, source, _folder(tmp_path, number), f"{name}/{MODEL}"))
        for number, name in enumerate(("second", "own"))
    ]
    await asyncio.sleep(0.02)
    house["first"].fault = UpstreamError("Broken.", billed=billed)
    with pytest.raises(kind) as caught:
        await run(gateway, source, _folder(tmp_path, 2))
    assert caught.value.retryable is (kind is Busy)
    for name in ("second", "own"):
        house[name].hold.set()
    await asyncio.gather(*tasks)


async def test_who_works_on_the_job_already_is_asked_in_any_case(house, source, tmp_path):
    """A job that a provider has accepted goes there first, though it rests, and waits in its full queue."""
    gateway = opened(house, queue=0)
    house["second"].fault = UpstreamUnreachable("Down.")
    for _ in range(THRESHOLD):
        with pytest.raises(Error):
            await run(gateway, source, tmp_path, f"second/{MODEL}")
    house["second"].fault, house["second"].hold = None, asyncio.Event()
    tasks = []
    for number in range(2):
        prepared = gateway.prepare(gateway.admit(MODEL, {}, source, None, f"req_{number}"))
        prepared.prefer(["second"], waits=True)
        tasks.append(asyncio.ensure_future(prepared.run(JobCallbacks(), _folder(tmp_path, number))))
        await asyncio.sleep(0.02)
    house["second"].hold.set()
    assert [(await task).unwrap().provider for task in tasks] == ["second", "second"]


async def test_some_of_n_fail_and_the_rest_is_delivered_and_paid(house, source, tmp_path):
    """Pictures that were made are delivered by the provider that made them; the failures have their own costs."""
    house["first"].faults = {1: UpstreamError("Broken.", billed=True), 2: UpstreamError("Lost.")}
    delivery = await run(opened(house), source, tmp_path, n=4, seed=5)
    assert sorted(cost for _, _, cost in told(delivery)) == [0, 100, 100, 100]
    assert (len(delivery.pictures), delivery.cost) == (2, 300)
    assert [(one.index, one.seed, one.message) for one in delivery.failures] == [(1, 6, "Broken."), (2, 7, "Lost.")]
    assert [one.message for one in delivery.attempts if one.outcome != "ok"] == ["Broken.", "Lost."]


async def test_a_bill_that_nobody_knows_is_told_so(house, source, tmp_path):
    """Work that was handed over without an answer may have its whole price: that much of a limit counts as spent."""
    house["first"].fault = UpstreamUnreachable("Lost.", billed=None)
    house["own"].fault = UpstreamUnreachable("Lost.", billed=None)  # it asks nothing, so it costs nothing
    delivery = await run(opened(house), source, tmp_path)
    assert told(delivery) == [("first", "UPSTREAM_UNREACHABLE", None), ("second", "ok", 30)]
    assert (delivery.cost, [one.cost_bound for one in delivery.attempts]) == (None, [100, 30])
    assert told(await run(opened(house), source, tmp_path, max_cost=0.00013)) == told(delivery)
    with pytest.raises(Exhausted) as caught:
        await run(opened(house), source, tmp_path, max_cost=0.00012)
    assert told(caught.value) == [("first", "UPSTREAM_UNREACHABLE", None), ("own", "UPSTREAM_UNREACHABLE", 0)]


async def test_lost_work_by_the_second_has_no_bound(house, source, tmp_path):
    """Nobody knows what it can have cost."""
    house["first"].fault = UpstreamUnreachable("Lost.", billed=None)
    timed = replace(offer("first"), price=Price("second", 100))
    gateway = Gateway(house, models=(model(timed, offer("second", price=30)),))
    delivery = await run(gateway, source, tmp_path)
    assert [(one.cost, one.cost_bound) for one in delivery.attempts] == [(None, None), (30, 30)]


async def test_one_picture_probes_for_all(house, source, tmp_path):
    """A provider that may be back gets one of several pictures; the others wait for what becomes of it."""
    now = 0.0
    gateway = opened(house, health=CircuitBreakers(house, clock=lambda: now, draw=lambda: 0.5))
    house["first"].fault = UpstreamUnreachable("Down.")
    for _ in range(THRESHOLD):
        await run(gateway, source, tmp_path)
    now, asked = FIRST_PAUSE + 0.1, len(house["first"].calls)
    assert (await run(gateway, source, tmp_path, n=3)).provider == "second"
    assert len(house["first"].calls) == asked + 1
    house["first"].fault, now = None, now + 3 * FIRST_PAUSE
    assert len((await run(gateway, source, tmp_path, n=3)).pictures) == 3
    assert len(house["first"].calls) == asked + 4


async def test_a_mask_without_a_hole_buys_nothing(house, source, tmp_path):
    """Where nothing may change, no picture is ordered that would be thrown away."""
    path = tmp_path / "mask.png"
    Image.new("RGBA", (40, 30), (0, 0, 0, 255)).save(path)
    masked = offer("first", price=100, rules={**offer("first").rules, "mask": (Emulated("apply_mask"),)})
    gateway = Gateway(house, models=(model(masked),))
    job = gateway.admit(MODEL, {}, source, imaging.probe(path, imaging.Limits()), "req_1")
    gateway.prepare(job).quote()
    with pytest.raises(InvalidRequest, match="nothing may change"):
        await gateway.prepare(job).check_mask()
    with pytest.raises(InvalidRequest, match="nothing may change") as caught:
        await run_job(gateway, job, JobCallbacks(), tmp_path)
    assert (caught.value.param, house["first"].calls, told(caught.value)) == ("mask", [], [])


async def test_none_of_n_goes_on_to_the_next(house, source, tmp_path):
    """All versions failing is one failure of the job: the next provider makes all of them."""
    house["first"].fault = UpstreamError("Broken.")
    delivery = await run(opened(house), source, tmp_path, n=2)
    assert [name for name, _, _ in told(delivery)] == ["first", "first", "second", "second"]
    assert delivery.cost == 60


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
async def test_who_paid_is_not_told_to_try_again(house, source, tmp_path, order):
    """Whichever version failed first: the failure that counts decides, and with money spent nothing was merely busy."""
    faults = (UpstreamBusy("No room.", retry_after=2), UpstreamError("Broken.", billed=True))
    house["first"].faults = dict(zip(order, faults, strict=True))
    house["second"].fault = house["own"].fault = UpstreamBusy("No room.", retry_after=2)
    gateway = opened(house)
    with pytest.raises(Exhausted) as caught:
        await run(gateway, source, tmp_path, n=2)
    assert sum(cost for _, _, cost in told(caught.value)) == 100
    assert gateway.health.snapshot()["first"].reliability < 1


async def test_versions_without_a_seed_begin_anywhere(house, source, tmp_path):
    """A provider that invents detail gets a drawn seed for the first of several versions, and its successors."""
    await run(opened(house, draw=lambda _below: 77), source, tmp_path, n=3)
    assert [call.body["seed"] for call in house["first"].calls] == [77, 78, 79]


@pytest.mark.parametrize(
    ("limit", "provider"), [(0, "own"), (0.00002, "own"), (0.00003, "second"), (0.0001, "first"), (5, "first")]
)
async def test_nobody_spends_more_than_allowed(house, source, tmp_path, limit, provider):
    """Offers over max_cost are never asked, whatever happens to the others."""
    delivery = await run(opened(house), source, tmp_path, max_cost=limit)
    assert delivery.provider == provider


async def test_a_limit_that_nobody_meets_is_refused(house, source, tmp_path):
    """The message names what the cheapest asks."""
    with pytest.raises(InvalidRequest, match=r"the least is \$0.00006") as caught:
        await run(opened(house), source, tmp_path, "second/" + MODEL, n=2, max_cost=0.00001)
    assert caught.value.param == "max_cost"
    assert house["second"].calls == []


async def test_a_quote_is_the_bill_and_names_the_others(house, source, tmp_path):
    """The first of the order is quoted, with the price of those that would follow."""
    gateway = opened(house)
    quote = gateway.prepare(gateway.admit(MODEL, {"n": 3}, source, None, "req_1")).quote()
    assert (quote.provider, quote.total) == ("first", 300)
    assert [(one.provider, one.total) for one in quote.others] == [("second", 90), ("own", 0)]
    assert (await run(gateway, source, tmp_path, n=3)).cost == quote.total


async def test_a_cancelled_provider_is_not_a_failed_one(house, source, tmp_path):
    """A provider that was told to stop by somebody else ends the job as cancelled."""
    house["first"].fault = Cancelled("Stopped.")
    with pytest.raises(Cancelled):
        await run(opened(house), source, tmp_path)


def _folder(tmp_path, number):
    path = tmp_path / str(number)
    path.mkdir()
    return path


async def test_what_a_failed_try_cost_counts_against_the_limit(house, source, tmp_path):
    """A paid failure leaves less to spend: a dearer substitute is passed over, a free one is not."""
    house["first"].fault = UpstreamError("Broken.", billed=True)
    delivery = await run(opened(house), source, tmp_path, max_cost=0.00012)
    assert told(delivery) == [("first", "UPSTREAM_ERROR", 100), ("own", "ok", 0)]
    assert left_out(delivery) == {"second": SPENT}


async def test_a_cancelled_request_tells_what_it_cost(house, source, tmp_path):
    """Whoever goes away while work is paid leaves that in the attempts."""
    house["second"].hold = asyncio.Event()
    house["first"].fault = UpstreamError("Broken.", billed=True)
    gateway = opened(house)
    job = gateway.admit(MODEL, {}, source, None, "req_1")
    task = asyncio.ensure_future(gateway.prepare(job).run(JobCallbacks(), tmp_path))
    await asyncio.sleep(0.05)
    task.cancel()
    report = await task
    with pytest.raises(asyncio.CancelledError):
        report.unwrap()
    assert [(one.provider, one.outcome, one.cost) for one in report.attempts] == [
        ("first", "UPSTREAM_ERROR", 100),
        ("second", "CANCELLED", 0),
    ]


async def test_all_pictures_of_a_job_are_one_call_for_health(house, source, tmp_path):
    """A burst of failures in one request is one failure."""
    house["first"].fault = UpstreamError("Broken.")
    gateway = opened(house)
    await run(gateway, source, tmp_path, n=10)
    assert not gateway.health.snapshot()["first"].breaker_open
    assert len(house["first"].calls) == 10
