"""What a try at fal.ai has cost, as far as anybody can know it: the truth, or that it is not known."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from PIL import Image

from fakes.fal import FakeFal
from fakes.painter import Painter
from fakes.reports import run_job
from fakes.together import together
from fluxvision import imaging
from fluxvision.core.callbacks import JobCallbacks
from fluxvision.core.errors import DeadlineExceeded, Error
from fluxvision.core.types import JobResult
from fluxvision.gateway.gateway import Gateway
from fluxvision.providers import fal, result_file

BY_SIZE, BY_SECOND = "flux-vision-upscaler", "esrgan"
SIZE = 960
"""Micro-dollars of 120 by 80 pixels at $0.10 per megapixel."""
TIME = 1_388
"""Of 1.25 seconds at $0.00111."""
PATIENCE = 1.0
"""Seconds of one attempt that has no end of its own."""
ENDLESS = ("hang", "lost", "status 500", "result 429")
LONG = 30.0

# fault, seconds in the queue and at work, the bill by size, the bill by the second
BILLS = [
    # Given up: what fal.ai answers to that, or says of the job then, tells.
    ("status hang", 0, 0, SIZE, None),
    ("status hang x1", 0, 0, SIZE, TIME),
    ("status lost", 0, 0, SIZE, None),
    ("status 500", 0, 0, SIZE, None),
    ("status 404", 0, 0, SIZE, None),
    ("status 401", 0, 0, SIZE, None),
    ("status html", 0, 0, SIZE, None),
    ("status 404, cancel 404", 0, 0, None, None),
    ("status hang, cancel 404", 0, 0, None, None),
    ("status hang, cancel 500", 0, 0, None, None),
    ("status hang, cancel html", 0, 0, None, None),
    ("status hang, cancel lost", 0, 0, None, None),
    ("status hang, cancel hang", 0, 0, None, None),
    ("", 0, LONG, None, None),
    ("cancel 500", 0, LONG, None, None),
    ("cancel hang", 0, LONG, None, None),
    ("status hang", 0, LONG, None, None),
    ("", LONG, 0, 0, 0),
    ("cancel 500", LONG, 0, None, None),
    ("status hang", LONG, 0, None, None),
    # Completed without an error: it is paid, and how long it took is known.
    ("result 400", 0, 0, SIZE, TIME),
    ("result 401", 0, 0, SIZE, TIME),
    ("result 402", 0, 0, SIZE, TIME),
    ("result 403", 0, 0, SIZE, TIME),
    ("result 404", 0, 0, SIZE, TIME),
    ("result hang", 0, 0, SIZE, TIME),
    ("result lost", 0, 0, SIZE, TIME),
    ("result 429", 0, 0, SIZE, TIME),
    ("result html", 0, 0, SIZE, TIME),
    ("result none", 0, 0, SIZE, TIME),
    ("result nsfw", 0, 0, SIZE, TIME),
    ("result black", 0, 0, SIZE, TIME),
    ("result text", 0, 0, SIZE, TIME),
    ("file missing", 0, 0, SIZE, TIME),
    ("file hang", 0, 0, SIZE, TIME),
    # Failed at fal.ai: it does not charge for its own failures; for refusals it may.
    ("status failed", 0, 0, 0, 0),
    ("status unsaid", 0, 0, 0, 0),
    ("status failed, result hang", 0, 0, 0, 0),
    ("result 500 x-fal-error-type=internal_error", 0, 0, 0, 0),
    ("status policy", 0, 0, None, None),
    ("result policy", 0, 0, None, None),
    ("result validation", 0, 0, None, None),
    ("result 499", 0, 0, None, None),
    # Never taken.
    ("submit 500", 0, 0, 0, 0),
    ("submit validation", 0, 0, 0, 0),
    ("submit lost", 0, 0, None, None),
    # Nobody knows whether it was taken: a server between has not waited for the answer.
    ("submit 502 content-type=text/html", 0, 0, None, None),
    ("submit 504 content-type=text/html", 0, 0, None, None),
    ("submit 524 content-type=text/html", 0, 0, None, None),
]


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "in.png"
    Image.radial_gradient("L").resize((60, 40)).convert("RGB").save(path)
    return imaging.probe(path, imaging.Limits())


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Pictures that cannot be had are asked for again soon."""
    monkeypatch.setitem(result_file.fetch_result.__kwdefaults__, "pause", 0.01)


@contextlib.asynccontextmanager
async def opened(upstream: FakeFal, time_scale: float = 0.2, **facts: Any) -> AsyncIterator[Gateway]:
    provider = fal.Provider(
        upstream.key, upstream.queue_url, upstream.storage_url, time_scale=time_scale, patience=PATIENCE
    )
    gateway = Gateway({"fal": provider, "embedded": Painter()}, **{"attempt_timeout": PATIENCE, **facts})
    try:
        yield gateway
    finally:
        await gateway.aclose()


async def ask(gateway: Gateway, source, folder, name: str) -> JobResult | Error:
    """Return what the caller gets."""
    try:
        return await run_job(gateway, gateway.admit(name, {}, source, None, "req_1"), JobCallbacks(), folder)
    except Error as error:
        return error


@pytest.mark.parametrize("by", [BY_SIZE, BY_SECOND])
async def test_what_a_failed_try_has_cost(source, tmp_path, by):
    """What is known is told, by every kind of price; what nobody knows is not told, in the attempt and in the sum."""

    async def check(row, folder):
        fault, queue, work, by_size, by_second = row
        cost = by_size if by == BY_SIZE else by_second
        endless = queue or work or any(word in fault for word in ENDLESS)
        time_scale = 1.0 if (queue and not fault) or fault in {"status 401", "status hang x1"} else 0.2
        limit = PATIENCE if endless else LONG
        async with (
            FakeFal(fault=fault, queue=queue, work=work) as upstream,
            opened(upstream, time_scale, attempt_timeout=limit) as gateway,
        ):
            found = await ask(gateway, source, folder, by)
            first = found.attempts[0]
            assert (first.provider, first.outcome != "ok", first.cost) == ("fal", True, cost)
            assert (first.upstream_id is None) is fault.startswith("submit")
            if cost == by_size:  # what is told for sure agrees with fal.ai's own ledger, which bills what it has made
                assert cost is None or bool(cost) is bool(upstream.paid) or fault.startswith(("status", "result"))
        if isinstance(found, JobResult):
            assert (found.provider, found.cost) == ("embedded", cost)

    await together(BILLS, check, tmp_path)


LEAVING = [
    # fault, seconds in the queue and at work, the bill
    ("status hang", 0, 0, SIZE),
    ("result hang", 0, 0, SIZE),
    ("file hang", 0, 0, SIZE),
    ("", 0, LONG, None),
    ("", LONG, 0, 0),
    ("cancel 500", LONG, 0, None),
    ("submit late", LONG, 0, None),
    ("submit late", 0, 0, SIZE),
    ("submit hang", 0, 0, None),
]


async def test_what_a_caller_who_leaves_has_spent(source, tmp_path):
    """The attempt is told all the same, with the job's name and its bill as far as it is known."""

    async def check(row, folder):
        fault, queue, work, cost = row
        async with FakeFal(fault=fault, queue=queue, work=work) as upstream:
            async with opened(upstream, 0.2 if "hang" in fault else 1.0, attempt_timeout=LONG) as gateway:
                job = gateway.admit(BY_SIZE, {}, source, None, "req_1")
                task = asyncio.create_task(gateway.prepare(job).run(JobCallbacks(), folder))
                while not (upstream.submissions or "submit" in fault):  # noqa: ASYNC110, the fake has no event
                    await asyncio.sleep(0.01)
                await asyncio.sleep(0.3)
                task.cancel()
                report = await task
                with pytest.raises(asyncio.CancelledError):
                    report.unwrap()
            names = [one.id for one in upstream.submissions] or [None]
        told = [(one.outcome, one.cost, one.upstream_id) for one in report.attempts]
        assert told == [("CANCELLED", cost, names[0])]

    await together(LEAVING, check, tmp_path)


async def test_the_deadline_does_not_wait_for_a_bill(source, folder):
    """Where time is over before fal.ai has said what became of the job, its cost is not known."""
    async with FakeFal(fault="status hang, cancel hang") as upstream:
        async with opened(upstream, time_scale=0.3, attempt_timeout=LONG, deadline=0.5) as gateway:
            found = await ask(gateway, source, folder, BY_SIZE)
        assert type(found) is DeadlineExceeded
        name = upstream.submissions[0].id
    assert [(one.outcome, one.cost, one.upstream_id) for one in found.attempts] == [("CANCELLED", None, name)]


async def test_fal_dies_in_the_middle_of_a_job(source, folder):
    """The job goes on over there, and nobody knows of it: the next provider delivers, and the sum is not known."""
    async with FakeFal(work=0.3) as upstream, opened(upstream) as gateway:
        task = asyncio.create_task(ask(gateway, source, folder, BY_SIZE))
        await asyncio.sleep(0.15)
        await upstream.stop()
        found = await task
        await asyncio.sleep(0.2)
        assert upstream.paid == 1
    assert isinstance(found, JobResult)
    assert [(one.provider, one.cost) for one in found.attempts] == [("fal", None), ("embedded", 0)]
    assert found.cost is None


SENSELESS = [-1, -1e-9, 1e300, 10**400, "1.25", True, False, None, [1.25]]


@pytest.mark.parametrize("fault", ["", "result none"])
async def test_seconds_that_make_no_sense(source, tmp_path, fault):
    """A compute time that is not a number of seconds is not known, and neither is the cost of the picture."""

    async def check(spent, folder):
        async with FakeFal(fault=fault, spent=spent) as upstream, opened(upstream, attempt_timeout=LONG) as gateway:
            found = await ask(gateway, source, folder, BY_SECOND)
        assert [one.cost for one in found.attempts] == [None]
        assert isinstance(found, Error if fault else JobResult)

    await together(SENSELESS, check, tmp_path)


@pytest.mark.parametrize(("spent", "cost"), [(0, 0), (0.0, 0), (2, 2_220), (1.25, TIME)])
async def test_seconds_are_billed(source, folder, spent, cost):
    """A picture that was made and one that was not cost the same."""
    for fault in ("", "result none"):
        async with FakeFal(fault=fault, spent=spent) as upstream, opened(upstream, attempt_timeout=LONG) as gateway:
            found = await ask(gateway, source, folder, BY_SECOND)
        assert [one.cost for one in found.attempts] == [cost]
