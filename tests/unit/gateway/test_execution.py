"""One try at one provider: what it is sent and told, what its pictures cost, and what its failures leave."""

from __future__ import annotations

import asyncio
import contextlib
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from PIL import Image

from fakes.painter import Painter, model, offer
from fakes.reports import run_job
from fluxvision import imaging
from fluxvision.catalog.rules import InputFormats, Passthrough, Price
from fluxvision.core.callbacks import JobCallbacks
from fluxvision.core.concurrency import run_in_pool
from fluxvision.core.errors import (
    Cancelled,
    InvalidRequest,
    Misconfigured,
    PolicyRefused,
    Unavailable,
    UpstreamBroke,
    UpstreamError,
)
from fluxvision.core.types import ProviderResult
from fluxvision.gateway.gateway import Gateway

MODEL = "flux-vision-upscaler"
PRICE = 100


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "in.png"
    exif = Image.Exif()
    exif[0x010E] = "a meadow"
    Image.new("RGBA", (40, 30), (1, 2, 3, 100)).save(path, exif=exif)
    return imaging.probe(path, imaging.Limits())


@contextlib.asynccontextmanager
async def opened(painter, **facts):
    gateway = Gateway({"first": painter}, models=(model(offer("first", **{"price": PRICE, **facts})),))
    try:
        yield gateway
    finally:
        await gateway.aclose()


async def run(gateway, source, folder, callbacks=None, **fields):
    job = gateway.admit(f"first/{MODEL}", fields, source, None, "req_1")
    return await run_job(gateway, job, callbacks or JobCallbacks(), folder)


@pytest.mark.parametrize("kind", [PolicyRefused, UpstreamError, Unavailable, InvalidRequest, Misconfigured, Cancelled])
@pytest.mark.parametrize("billed", [True, False])
async def test_what_a_provider_charges_for_is_told_whatever_the_error(source, folder, kind, billed):
    """A refusal that was paid has its cost and its name at the provider, as a failure has."""
    painter = Painter("First")
    painter.fault = kind("It did not work.", upstream_id="job-1", billed=billed)
    async with opened(painter) as gateway:
        with pytest.raises(kind) as caught:
            await run(gateway, source, folder)
    [attempt] = caught.value.attempts
    assert (attempt.outcome, attempt.cost, attempt.upstream_id) == (kind.code, PRICE if billed else 0, "job-1")


async def test_the_prepared_picture_is_the_one_that_is_sent(source, folder):
    """All versions get one file in the job's folder without alpha and metadata; the caller's own stays as it is."""
    painter, before = Painter("First"), source.path.read_bytes()
    async with opened(painter, accepts=InputFormats()) as gateway:
        await run(gateway, source, folder, n=3, seed=1)
    sent = {call.image for call in painter.calls}
    assert len(sent) == 1
    image = sent.pop()
    assert (image.path.parent, image.alpha, image.width, image.height) == (folder, False, 40, 30)
    assert imaging.read_metadata(image).exif is None
    assert source.path.read_bytes() == before


async def test_who_reads_everything_gets_the_picture_itself(source, folder):
    """Without `accepts` nothing is copied."""
    painter = Painter("First")
    async with opened(painter, accepts=None) as gateway:
        await run(gateway, source, folder)
    assert painter.calls[0].image is source


@pytest.mark.parametrize("n", [1, 3])
async def test_each_version_has_a_key_of_its_own(source, folder, n):
    """The key names request, provider and version, so that the same work asked for again is known."""
    painter = Painter("First")
    async with opened(painter) as gateway:
        await run(gateway, source, folder, n=n)
    assert sorted(call.key for call in painter.calls) == [f"req_1-first-{number}" for number in range(n)]


async def test_a_damaged_picture_is_the_callers_and_nobody_is_asked(source, folder):
    """What cannot be read for sending is refused before the provider hears of it, and moves no breaker."""
    painter = Painter("First")
    content = source.path.read_bytes()
    source.path.write_bytes(content[: len(content) // 3])
    async with opened(painter, accepts=InputFormats()) as gateway:
        with pytest.raises(InvalidRequest) as caught:
            await run(gateway, source, folder)
        assert gateway.health.snapshot()["first"].reliability == 1.0
    assert (caught.value.param, painter.calls) == ("image", [])
    assert caught.value.attempts == []


async def test_no_more_at_once_than_the_provider_takes(source, folder):
    """Of five versions two are asked for at a time, as `parallel` says."""
    painter, most, inside = Painter("First", seconds=0.02), 0, 0
    original = painter.run

    async def counted(*arguments):
        nonlocal most, inside
        inside += 1
        most = max(most, inside)
        try:
            return await original(*arguments)
        finally:
            inside -= 1

    painter.run = counted
    async with opened(painter) as gateway:
        await run(gateway, source, folder, n=5)
    assert (most, painter.parallel) == (2, 2)


async def test_versions_report_one_progress(source, folder):
    """Three versions of one step each are three steps in all, told in order."""
    seen = []
    async with opened(Painter("First")) as gateway:
        await run(gateway, source, folder, JobCallbacks(lambda done, total: seen.append((done, total))), n=3)
    assert seen == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize(
    ("caption", "prompt", "words"),
    [("a red square", "wish", "a red square"), (None, "wish", "wish"), (None, "", None), ("", "wish", "")],
)
async def test_the_revised_prompt_is_what_was_used(source, folder, caption, prompt, words):
    """The provider's caption where it has one, else the caller's own prompt if it was sent, else nothing."""
    painter = Painter("First")
    painter.said = {"caption": caption}
    async with opened(painter, rules={**offer("first").rules, "prompt": (Passthrough(),)}) as gateway:
        delivery = await run(gateway, source, folder, prompt=prompt)
    assert delivery.pictures[0].revised_prompt == words


async def test_a_prompt_that_guided_nothing_is_no_revised_prompt(source, folder):
    """What the receipt says was not used is not told as used."""
    async with opened(Painter("First")) as gateway:
        delivery = await run(gateway, source, folder, prompt="wish")
    assert [line.honoured for line in delivery.receipt if line.parameter == "prompt"] == [False]
    assert delivery.pictures[0].revised_prompt is None


@pytest.mark.parametrize(("seconds", "cost"), [(2.0, 2220), (0.5, 555), (1.0005, 1111), (0.0, 0), (None, None)])
async def test_compute_time_is_billed_as_reported(source, folder, seconds, cost):
    """A price by the second is that of the seconds told, rounded half up; untold, the cost is not known."""
    painter = Painter("First")
    painter.said = {"seconds": seconds}
    by_second = replace(offer("first"), price=Price("second", 1_110))
    gateway = Gateway({"first": painter}, models=(model(by_second),))
    assert gateway.prepare(gateway.admit(MODEL, {}, source, None, "req_1")).quote().total is None
    delivery = await run(gateway, source, folder)
    await gateway.aclose()
    assert delivery.cost == delivery.attempts[0].cost == cost


async def test_a_picture_that_cannot_be_used_is_paid_and_marks_its_provider(source, folder, tmp_path):
    """A file that is no picture is the provider's failure, with its bill and its name for the work."""

    class Writer(Painter):
        async def run(self, call, _watch, _folder):
            self.calls.append(call)
            path = tmp_path / "made.png"
            path.write_bytes(b"I am sorry")
            return ProviderResult(path, upstream_id="job-1")

    async with opened(Writer("First")) as gateway:
        with pytest.raises(UpstreamError) as caught:
            await run(gateway, source, folder)
        assert gateway.health.snapshot()["first"].reliability < 1.0
    [attempt] = caught.value.attempts
    assert (attempt.outcome, attempt.cost, attempt.upstream_id) == ("UPSTREAM_ERROR", PRICE, "job-1")


async def test_a_cancelled_job_cancels_all_versions(source, folder):
    """Every call under way is told, those that wait for their turn are never made, and no breaker has moved."""
    painter = Painter("First", seconds=30.0)
    async with opened(painter) as gateway:
        task = asyncio.ensure_future(run(gateway, source, folder, n=5))
        async with asyncio.timeout(5):
            while len(painter.calls) < 2:  # noqa: ASYNC110, of the painter
                await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (len(painter.calls), painter.cancelled) == (2, 2)
        assert gateway.health.snapshot()["first"].reliability == 1.0


async def test_a_mistake_of_ours_is_no_providers(source, folder):
    """An exception that is no error of ours blames nobody; its picture is not made, and somebody is told of it."""
    painter, seen = Painter("First"), []
    painter.faults = {0: ZeroDivisionError("secret words")}
    async with opened(painter) as gateway:
        job = gateway.admit(MODEL, {"n": 4}, source, None, "req_1")
        delivery = await run_job(gateway, job, JobCallbacks(on_unexpected_error=seen.append), folder)
        assert [(one.index, one.code, one.message) for one in delivery.failures] == [
            (0, "INTERNAL_ERROR", "First broke: ZeroDivisionError.")
        ]
        assert [type(error) for error in seen] == [ZeroDivisionError]
        assert gateway.health.snapshot()["first"].reliability == 1.0
        painter.faults, painter.fault = {}, KeyError("x")
        with pytest.raises(UpstreamBroke) as caught:
            await run(gateway, source, folder)
        assert [one.outcome for one in caught.value.attempts] == ["INTERNAL_ERROR"]
        assert gateway.queues["first"].running == 0


async def test_a_time_limit_stops_its_own_try_only(source, folder):
    """Where the limit strikes a provider's thread, the next provider works on the same job."""
    slow = Painter("First", remote=True)
    pool = ThreadPoolExecutor(1)

    async def stuck(_call, callbacks, _folder):
        await run_in_pool(pool, callbacks, lambda: time.sleep(0.3))

    slow.run = stuck
    models = (model(offer("first"), offer("second")),)
    gateway = Gateway({"first": slow, "second": Painter("Second")}, models=models, attempt_timeout=0.1)
    callbacks = JobCallbacks()
    job = gateway.admit(MODEL, {}, source, None, "req_1")
    delivery = await run_job(gateway, job, callbacks, folder)
    assert ([one.outcome for one in delivery.attempts], callbacks.cancel.is_set()) == (["UPSTREAM_ERROR", "ok"], False)
    pool.shutdown()


@pytest.mark.parametrize("fault", [OSError(28, "full"), MemoryError(), RuntimeError("can't start new thread")])
@pytest.mark.parametrize("paid", [True, None, False])
async def test_a_shortage_after_the_work_was_taken_is_this_servers_and_billed(source, folder, fault, paid):
    """What this machine runs out of ends the job with 503, moves no breaker, and its bill is what was told before."""
    painter = Painter("First", remote=True)
    original = painter.run

    async def taken(call, callbacks, folder):
        callbacks.on_submitted("job-1", paid, None)
        return await original(call, callbacks, folder)

    painter.run, painter.fault = taken, fault
    async with opened(painter) as gateway:
        with pytest.raises(Unavailable) as caught:
            await run(gateway, source, folder)
        assert gateway.health.snapshot()["first"].reliability == 1.0
    [attempt] = caught.value.attempts
    told = (attempt.cost, attempt.cost_at_most, attempt.upstream_id)
    assert told == ({True: PRICE, None: None, False: 0}[paid], 0 if paid is False else PRICE, "job-1")


async def test_a_shortage_while_a_picture_is_finished_is_told_with_its_cost(source, folder, monkeypatch):
    """A picture that was made and cannot be finished here has been paid."""

    def full(_work):
        raise OSError(28, "full")

    monkeypatch.setattr("fluxvision.gateway.attempt.finish", full)
    async with opened(Painter("First")) as gateway:
        with pytest.raises(Unavailable) as caught:
            await run(gateway, source, folder)
    assert [(each.cost, each.outcome) for each in caught.value.attempts] == [(PRICE, "UNAVAILABLE")]


async def test_the_room_of_a_job_is_reserved_while_it_runs(source, folder):
    """The reservation is as large as its formula says, and goes with the job, however that ends."""
    painter, seen = Painter("First"), []
    async with opened(painter) as gateway:
        budget = gateway._context.disk
        original = painter.run

        async def looked(call, callbacks, folder):
            seen.extend(each.size for each in budget.held)
            return await original(call, callbacks, folder)

        painter.run = looked
        await run(gateway, source, folder)
        painter.fault = UpstreamError("No.")
        with pytest.raises(UpstreamError):
            await run(gateway, source, folder)
        assert (len(seen), budget.held) == (2, set())
    assert seen[0] == 80 * 60 * 4 * 2 + 1_000_000


async def test_a_shortage_that_a_provider_noticed_itself_keeps_its_bill(source, folder):
    """One that could not even connect for want of open files has sent nothing, whatever it told before."""
    painter = Painter("First", remote=True)

    async def unsent(_call, callbacks, _folder):
        callbacks.on_submitted(None, None)
        raise Unavailable("Too many files.", billed=False)

    painter.run = unsent
    async with opened(painter) as gateway:
        with pytest.raises(Unavailable) as caught:
            await run(gateway, source, folder)
    assert [each.cost for each in caught.value.attempts] == [0]
