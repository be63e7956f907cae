"""Whatever a provider does wrong: what the gateway's caller gets and is told, what is paid, and who is blamed."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
from PIL import Image

from fakes import fal as fake_fal
from fakes import openai as fake_openai
from fakes.fal import FakeFal
from fakes.openai import FakeOpenAI
from fakes.painter import Painter
from fakes.reports import run_job
from fluxvision import imaging
from fluxvision.catalog import catalog
from fluxvision.catalog.catalog import CATALOG
from fluxvision.core.callbacks import JobCallbacks
from fluxvision.core.errors import (
    Busy,
    Cancelled,
    DeadlineExceeded,
    Error,
    Exhausted,
    InvalidRequest,
    Misconfigured,
    PolicyRefused,
    UpstreamBusy,
    UpstreamError,
    UpstreamRefused,
    UpstreamUnasked,
    UpstreamUnreachable,
)
from fluxvision.core.load_settings import load_settings
from fluxvision.core.settings import Settings
from fluxvision.core.types import Attempt, JobResult
from fluxvision.gateway.gateway import Gateway
from fluxvision.providers import fal, openai, result_file

MODEL = "flux-vision-upscaler"
PROMPT = "a very private wish"
USER = "somebody@example.org"
PATIENCE = 1.0
"""Seconds for one attempt, and for a byte, as `configured` has them."""
PACE = 0.01
STEADY = {"time_scale": 0.1}
"""For what ends at the time limit: a job that is given up may still say what it costs."""
CALM = {"time_scale": 0.1, "patience": 20.0}
"""For what comes all the same, a little late."""
FAL_PRICE, OTHER_PRICE = 960, 50_000
"""Of 120 by 80 pixels at $0.10 per megapixel; and per picture."""

PAID, FREE, UNKNOWN = True, False, None
WELL, HURT, RESTED = "well", "hurt", "rested"

# fault: the error, None where the picture comes all the same; whether the try is paid; what it does to the breaker
FAL: Mapping[str, tuple[type[Error] | None, bool | None, str]] = {
    "token 500": (UpstreamError, FREE, HURT),
    "token 401": (Misconfigured, FREE, WELL),
    "token 429 retry-after=7": (UpstreamBusy, FREE, RESTED),
    "token hang": (UpstreamError, FREE, HURT),
    "token stall": (UpstreamError, FREE, HURT),
    "token drip": (UpstreamError, FREE, HURT),
    "token cut": (UpstreamUnreachable, FREE, HURT),
    "token late": (None, PAID, WELL),
    "token lost": (UpstreamUnreachable, FREE, HURT),
    "token html": (UpstreamError, FREE, HURT),
    "token garbage": (UpstreamError, FREE, HURT),
    "upload 500": (UpstreamError, FREE, HURT),
    "upload hang": (UpstreamError, FREE, HURT),
    "upload stall": (UpstreamError, FREE, HURT),
    "upload drip": (UpstreamError, FREE, HURT),
    "upload cut": (UpstreamUnreachable, FREE, HURT),
    "upload late": (None, PAID, WELL),
    "upload lost": (UpstreamUnreachable, FREE, HURT),
    "upload html": (UpstreamError, FREE, HURT),
    "upload garbage": (UpstreamError, FREE, HURT),
    "submit 400": (InvalidRequest, FREE, WELL),
    "submit 401": (Misconfigured, FREE, WELL),
    "submit 402": (UpstreamRefused, FREE, WELL),
    "submit 403": (Misconfigured, FREE, WELL),
    "submit 404": (Misconfigured, FREE, WELL),
    "submit 408": (UpstreamError, FREE, HURT),
    "submit 413": (InvalidRequest, FREE, WELL),
    "submit 429": (UpstreamBusy, FREE, WELL),
    "submit 429 retry-after=7": (UpstreamBusy, FREE, RESTED),
    "submit 429 retry-after-ms=7000": (UpstreamBusy, FREE, RESTED),
    "submit 429 retry-after=date:7": (UpstreamBusy, FREE, RESTED),
    "submit 429 retry-after=0": (UpstreamBusy, FREE, WELL),
    "submit 499": (Cancelled, FREE, WELL),
    "submit 500": (UpstreamError, FREE, HURT),
    "submit 502": (UpstreamError, FREE, HURT),
    "submit 503 retry-after=7": (UpstreamError, FREE, HURT),
    "submit 504": (UpstreamError, FREE, HURT),
    "submit 504 content-type=text/html": (UpstreamError, UNKNOWN, HURT),
    "submit hang": (UpstreamError, UNKNOWN, HURT),
    "submit stall": (UpstreamError, UNKNOWN, HURT),
    "submit drip": (UpstreamError, UNKNOWN, HURT),
    "submit cut": (UpstreamUnreachable, UNKNOWN, HURT),
    "submit late": (None, PAID, WELL),
    "submit lost": (UpstreamUnreachable, UNKNOWN, HURT),
    "submit html": (UpstreamError, FREE, HURT),
    "submit garbage": (UpstreamError, FREE, HURT),
    "submit policy": (PolicyRefused, FREE, WELL),
    "submit validation": (UpstreamUnasked, FREE, WELL),
    "submit picture": (InvalidRequest, FREE, WELL),
    "submit balance": (UpstreamRefused, FREE, WELL),
    "submit locked": (UpstreamRefused, FREE, WELL),
    "submit elsewhere": (UpstreamError, UNKNOWN, HURT),
    "submit ticketless": (UpstreamError, UNKNOWN, HURT),
    "status 500": (UpstreamError, PAID, HURT),
    "status 500 x3": (None, PAID, WELL),
    "status hang": (UpstreamError, PAID, HURT),
    "status stall": (UpstreamError, PAID, HURT),
    "status drip": (UpstreamError, PAID, HURT),
    "status cut": (UpstreamError, PAID, HURT),
    "status late": (None, PAID, WELL),
    "status lost": (UpstreamError, PAID, HURT),
    "status html": (UpstreamError, PAID, HURT),
    "status garbage": (UpstreamError, PAID, HURT),
    "status failed": (UpstreamError, FREE, HURT),
    "status policy": (PolicyRefused, UNKNOWN, WELL),
    "status unsaid": (UpstreamError, FREE, HURT),
    "result 404": (UpstreamError, PAID, HURT),
    "result 499": (Cancelled, UNKNOWN, WELL),
    "result 500": (UpstreamError, FREE, HURT),
    "result 503 x3": (None, PAID, WELL),
    "result hang": (UpstreamError, PAID, HURT),
    "result stall": (UpstreamError, PAID, HURT),
    "result drip": (UpstreamError, PAID, HURT),
    "result cut": (UpstreamError, PAID, HURT),
    "result late": (None, PAID, WELL),
    "result lost": (UpstreamError, PAID, HURT),
    "result html": (UpstreamError, PAID, HURT),
    "result garbage": (UpstreamError, PAID, HURT),
    "result none": (UpstreamError, PAID, HURT),
    "result black": (UpstreamRefused, PAID, WELL),
    "result nsfw": (PolicyRefused, PAID, WELL),
    "result small": (UpstreamError, PAID, HURT),
    "result gif": (None, PAID, WELL),
    "result text": (UpstreamError, PAID, HURT),
    "result short": (UpstreamError, PAID, HURT),
    "result data": (None, PAID, WELL),
    "result images": (None, PAID, WELL),
    "result ftp": (UpstreamError, PAID, HURT),
    "result policy": (PolicyRefused, UNKNOWN, WELL),
    "result validation": (UpstreamUnasked, UNKNOWN, WELL),
    "cancel 500": (UpstreamError, UNKNOWN, HURT),
    "cancel hang": (UpstreamError, UNKNOWN, HURT),
    "cancel stall": (UpstreamError, UNKNOWN, HURT),
    "cancel drip": (UpstreamError, UNKNOWN, HURT),
    "cancel cut": (UpstreamError, UNKNOWN, HURT),
    "cancel late": (UpstreamError, UNKNOWN, HURT),
    "cancel lost": (UpstreamError, UNKNOWN, HURT),
    "cancel html": (UpstreamError, UNKNOWN, HURT),
    "cancel garbage": (UpstreamError, UNKNOWN, HURT),
    "file 500": (UpstreamError, PAID, HURT),
    "file hang": (UpstreamError, PAID, HURT),
    "file stall": (UpstreamError, PAID, HURT),
    "file drip": (UpstreamError, PAID, HURT),
    "file cut": (UpstreamError, PAID, HURT),
    "file late": (None, PAID, WELL),
    "file lost": (UpstreamError, PAID, HURT),
    "file html": (UpstreamError, PAID, HURT),
    "file garbage": (UpstreamError, PAID, HURT),
    "file private": (UpstreamError, PAID, HURT),
    "file missing": (UpstreamError, PAID, HURT),
    "file expired": (UpstreamError, PAID, HURT),
}
OTHER: Mapping[str, tuple[type[Error] | None, bool | None, str]] = {
    "hang": (UpstreamError, UNKNOWN, HURT),
    "hang_after_headers": (UpstreamError, PAID, HURT),
    "hang_midway": (UpstreamError, PAID, HURT),
    "drip": (None, PAID, WELL),
    "disconnect": (UpstreamUnreachable, UNKNOWN, HURT),
    "disconnect_midway": (UpstreamError, PAID, HURT),
    "busy_seconds": (UpstreamBusy, FREE, RESTED),
    "busy_date": (UpstreamBusy, FREE, RESTED),
    "busy_ms": (UpstreamBusy, FREE, RESTED),
    "busy": (UpstreamBusy, FREE, WELL),
    "quota": (UpstreamRefused, FREE, WELL),
    "billing": (UpstreamRefused, FREE, WELL),
    "billing_limit": (UpstreamRefused, FREE, WELL),
    "invalid": (UpstreamUnasked, FREE, WELL),
    "invalid_words": (UpstreamUnasked, FREE, WELL),
    "unprocessable": (InvalidRequest, FREE, WELL),
    "too_large": (InvalidRequest, FREE, WELL),
    "policy": (PolicyRefused, FREE, WELL),
    "moderation": (PolicyRefused, FREE, WELL),
    "unauthorized": (Misconfigured, FREE, WELL),
    "forbidden": (Misconfigured, FREE, WELL),
    "unknown_model": (Misconfigured, FREE, WELL),
    "forbidden_html": (UpstreamRefused, FREE, WELL),
    "unknown_route": (Misconfigured, FREE, WELL),
    "unknown_html": (UpstreamError, FREE, HURT),
    "method_html": (UpstreamError, FREE, HURT),
    "413_html": (UpstreamRefused, FREE, WELL),
    "unknown_file": (InvalidRequest, FREE, WELL),
    "408": (UpstreamError, FREE, HURT),
    "409": (UpstreamError, FREE, HURT),
    "499": (Cancelled, FREE, WELL),
    "500": (UpstreamError, FREE, HURT),
    "500_html": (UpstreamError, FREE, HURT),
    "502": (UpstreamError, FREE, HURT),
    "502_html": (UpstreamError, UNKNOWN, HURT),
    "503": (UpstreamError, FREE, HURT),
    "503_html": (UpstreamError, FREE, HURT),
    "504": (UpstreamError, FREE, HURT),
    "504_html": (UpstreamError, UNKNOWN, HURT),
    "504_message": (UpstreamError, UNKNOWN, HURT),
    "524": (UpstreamError, UNKNOWN, HURT),
    "529": (UpstreamError, FREE, HURT),
    "redirect": (UpstreamError, FREE, HURT),
    "html": (UpstreamError, FREE, HURT),
    "empty": (UpstreamError, FREE, HURT),
    "garbage": (UpstreamError, FREE, HURT),
    "error_200": (UpstreamError, FREE, HURT),
    "no_image": (UpstreamError, PAID, HURT),
    "no_data": (UpstreamError, PAID, HURT),
    "bad_base64": (UpstreamError, PAID, HURT),
    "not_a_picture": (UpstreamError, PAID, HURT),
    "truncated": (UpstreamError, PAID, HURT),
    "url_404": (UpstreamError, PAID, HURT),
    "url_500": (UpstreamError, PAID, HURT),
    "url_private": (UpstreamError, PAID, HURT),
    "url_html": (UpstreamError, PAID, HURT),
    "url_truncated": (UpstreamError, PAID, HURT),
    "url_data": (None, PAID, WELL),
    "wrong_size": (UpstreamError, PAID, HURT),
    "wrong_format": (None, PAID, WELL),
    "black": (None, PAID, WELL),
}
ENDLESS = {
    *(fault for fault in FAL if fault.split()[1] in {"hang", "stall", "drip"} or fault.startswith("cancel")),
    *("status 500", "status cut", "status lost", "result cut", "result lost"),
    *("hang", "hang_after_headers", "hang_midway"),
}
"""What only the attempt's time limit ends; all others have time."""


def rows(table):
    return [pytest.param(fault, row, id=fault) for fault, row in table.items()]


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "in.png"
    Image.radial_gradient("L").resize((60, 40)).convert("RGB").save(path)
    return imaging.probe(path, imaging.Limits())


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Pictures that cannot be had are asked for again soon."""
    monkeypatch.setitem(result_file.fetch_result.__kwdefaults__, "pause", 0.01)


def at_fal(upstream: FakeFal, **facts: Any) -> fal.Provider:
    return fal.Provider(
        upstream.key, upstream.queue_url, upstream.storage_url, **{"time_scale": PACE, "patience": PATIENCE, **facts}
    )


def configured(upstream: FakeOpenAI) -> Settings:
    table = {"name": "other", "base_url": upstream.base_url, "key": upstream.key, "models": {MODEL: "theirs"}}
    return load_settings({"FLUXVISION_OPENAI": json.dumps([table | {"price": "0.05"}])})


def at_other(upstream: FakeOpenAI, patience: float = PATIENCE) -> openai.Provider:
    return openai.Provider(configured(upstream).openai[0], patience=patience)


@contextlib.asynccontextmanager
async def opened(providers: Mapping[str, Any], **facts: Any) -> AsyncIterator[Gateway]:
    gateway = Gateway(providers, **{"attempt_timeout": PATIENCE, **facts})
    try:
        yield gateway
    finally:
        await gateway.aclose()


async def ask(gateway: Gateway, source, folder, name: str = MODEL, **fields: Any) -> JobResult | Error:
    """Return what the caller gets."""
    folder.mkdir()
    try:
        job = gateway.admit(name, {"prompt": PROMPT, "user": USER, **fields}, source, None, f"req_{folder.name}")
        return await run_job(gateway, job, JobCallbacks(), folder)
    except Error as error:
        return error


def tries(found: JobResult | Error, name: str) -> list[Attempt]:
    return [attempt for attempt in found.attempts if attempt.provider == name]


def mood(gateway: Gateway, name: str) -> str:
    standing = gateway.health.snapshot()[name]
    return HURT if standing.reliability < 1 else RESTED if standing.breaker_open else WELL


def judge(name: str, price: int, expected: Any, open_house: JobResult | Error, alone: JobResult | Error) -> None:
    """Compare what came of a request that others may serve, and of one that insists on the provider."""
    kind, paid, _ = expected
    bill = {PAID: price, FREE: 0, UNKNOWN: None}[paid]
    outcome = "ok" if kind is None else kind.code
    for found in (open_house, alone):
        assert [(one.outcome, one.cost) for one in tries(found, name)] == [(outcome, bill)]
    if kind is None:
        for found in (open_house, alone):
            assert isinstance(found, JobResult)
            assert (found.provider, found.cost, found.degraded) == (name, price, False)
            assert [(picture.width, picture.height) for picture in found.pictures] == [(120, 80)]
        return
    assert type(alone) is kind
    assert [one.provider for one in alone.attempts] == [name]
    if kind.blame in {"provider", "network"}:
        assert isinstance(open_house, JobResult)
        assert (open_house.provider, open_house.degraded) == ("embedded", True)
        assert open_house.cost == bill
        assert [one.provider for one in open_house.attempts] == [name, "embedded"]
    else:
        assert type(open_house) is kind
        assert open_house.message == alone.message


def untold(found: JobResult | Error, *secrets: str) -> None:
    """Assert that nothing secret is in what a caller gets."""
    said = repr(found.attempts)
    if isinstance(found, Error):
        said += found.message + repr(found.args)
        assert found.message.endswith(".")
    else:
        said += repr((found.failures, found.details, found.timings, found.upstream, found.provider_name))
    hidden = (*secrets, PROMPT, USER, "127.0.0.1", "169.254", "base64,", "iVBOR")
    assert [word for word in hidden if word in said] == []


def test_the_tables_are_whole():
    """Every fault that a fake knows has its meaning here."""
    known = {f"{stage} {kind}" for stage, kinds in fake_fal.FAULTS.items() for kind in kinds}
    assert known <= {" ".join(fault.split()[:2]) for fault in FAL}
    assert set(OTHER) == set(fake_openai.FAULTS)
    assert set(FAL) | set(OTHER) >= ENDLESS


@pytest.mark.parametrize(("fault", "row"), rows(FAL))
async def test_what_fal_does_wrong(source, tmp_path, fault, row):
    """The next provider or the right error; the truth about outcome and cost; the right blame; one job, no secret."""
    stage, (kind, _, health) = fault.split()[0], row
    facts = STEADY if fault in ENDLESS else CALM

    async def one(folder: str, name: str) -> JobResult | Error:
        async with FakeFal(fault=fault, work=30.0 if stage == "cancel" else 0.0) as upstream:
            provider = at_fal(upstream, inline=0 if stage in {"token", "upload"} else 10**6, **facts)
            limit = PATIENCE if fault in ENDLESS else CALM["patience"]
            async with opened({"fal": provider, "embedded": Painter()}, attempt_timeout=limit) as gateway:
                found = await ask(gateway, source, tmp_path / folder, name)
                assert mood(gateway, "fal") == health
                assert gateway.queues["fal"].running == 0
            assert len(upstream.submissions) <= 1
            assert upstream.paid <= 1
            untold(found, *upstream.key.split(":"), f":{upstream.port}", str(tmp_path))
            if stage in {"cancel", "status"} and kind is not None and upstream.submissions:
                asked = [where for where, _ in upstream.asked if where == "cancel"]
                assert bool(asked) is (health is HURT and fault not in {"status failed", "status unsaid"})
            return found

    found = await asyncio.gather(one("open", MODEL), one("pin", f"fal/{MODEL}"))
    judge("fal", FAL_PRICE, row, *found)


@pytest.mark.parametrize(("fault", "row"), rows(OTHER))
async def test_what_another_server_does_wrong(source, tmp_path, fault, row):
    """The same of any server that speaks OpenAI's API; it is asked once, and its bill is told."""
    _, paid, health = row
    limit = PATIENCE if fault in ENDLESS else CALM["patience"]

    async def one(folder: str, name: str) -> JobResult | Error:
        async with FakeOpenAI() as upstream:
            upstream.behave(fault)
            models = catalog.configure_offers(CATALOG, configured(upstream))
            house = {"other": at_other(upstream, limit), "embedded": Painter()}
            async with opened(house, models=models, attempt_timeout=limit) as gateway:
                found = await ask(gateway, source, tmp_path / folder, name)
                assert mood(gateway, "other") == health
                assert gateway.queues["other"].running == 0
            assert len(upstream.requests) == 1
            assert upstream.paid == bool(paid)
            untold(found, upstream.key, f":{upstream.port}", str(tmp_path))
            return found

    found = await asyncio.gather(one("open", MODEL), one("pin", f"other/{MODEL}"))
    judge("other", OTHER_PRICE, row, *found)


@pytest.mark.parametrize(
    "row",
    [
        # fault of the first and of the second, error, bill, seconds to wait
        ("submit 500", "500", Exhausted, 0, None),
        ("result none", "no_image", Exhausted, FAL_PRICE + OTHER_PRICE, None),
        ("submit balance", "quota", Exhausted, 0, None),
        ("submit 429 retry-after=9", "busy_seconds", Busy, 0, 7),
        ("submit 429 retry-after=3", "busy", Busy, 0, 3),
        ("submit 429", "500", Exhausted, 0, None),
        ("submit 500", "policy", PolicyRefused, 0, None),
        ("result text", "unauthorized", Misconfigured, FAL_PRICE, None),
        ("submit 500", "drip", None, OTHER_PRICE, None),
        ("result none", None, None, FAL_PRICE + OTHER_PRICE, None),
    ],
    ids=lambda row: f"{row[0]}, {row[1]}",
)
async def test_one_after_the_other(source, tmp_path, row):
    """With two paid providers each is asked once in order, and every bill is told; no own engine: nobody is left."""
    at_one, at_two, kind, cost, wait = row
    async with FakeFal(fault=at_one) as first, FakeOpenAI() as second:
        second.behave(at_two)
        models = catalog.configure_offers(CATALOG, configured(second))
        house = {"fal": at_fal(first, **CALM), "other": at_other(second, CALM["patience"])}
        async with opened(house, models=models, attempt_timeout=CALM["patience"]) as gateway:
            found = await ask(gateway, source, tmp_path / "work")
        assert [one.provider for one in found.attempts] == ["fal", "other"]
        assert sum(one.cost for one in found.attempts) == cost
        assert (len(first.submissions) <= 1, len(second.requests)) == (True, 1)
        untold(found, *first.key.split(":"), second.key, f":{first.port}", f":{second.port}")
    assert type(found) is (kind or JobResult)
    if isinstance(found, Error):
        assert found.retryable is (kind is Busy)
        assert found.retry_after == (wait and pytest.approx(wait, abs=1.1))
    else:
        assert (found.provider, found.cost, found.degraded) == ("other", cost, False)


@pytest.mark.parametrize("fields", [{"strict": True}, {}], ids=["strict", "by setting"])
async def test_no_step_down_where_it_is_refused(source, tmp_path, fields):
    """The own engine stands by and is not asked: the last report is told, without a secret."""
    painter = Painter()
    async with FakeFal(fault="submit 502") as upstream:
        facts = {} if fields else {"allow_degraded": False}
        async with opened({"fal": at_fal(upstream), "embedded": painter}, **facts) as gateway:
            found = await ask(gateway, source, tmp_path / "work", user="", prompt="", **fields)
        untold(found, *upstream.key.split(":"))
    assert (type(found), found.code) == (Exhausted, "ALL_PROVIDERS_EXHAUSTED")
    assert "fal.ai, said: fal.ai failed with 502" in found.message
    assert painter.calls == []


async def test_one_deadline_for_all(source, tmp_path):
    """When the request's own time is over it ends, whoever is being asked, and the job at fal is cancelled."""
    async with FakeFal(work=30.0) as upstream:
        house = {"fal": at_fal(upstream), "embedded": Painter(seconds=30.0)}
        async with opened(house, attempt_timeout=0.2, deadline=0.4) as gateway:
            found = await ask(gateway, source, tmp_path / "work")
            assert mood(gateway, "embedded") == WELL
        assert upstream.cancelled == [upstream.submissions[0].id]
    assert type(found) is DeadlineExceeded
    outcomes = [(one.provider, one.outcome) for one in found.attempts]
    assert outcomes == [("fal", "UPSTREAM_ERROR"), ("embedded", "CANCELLED")]
    assert house["embedded"].cancelled == 1


async def test_a_gateway_goes_on_after_every_fault(source, tmp_path):
    """One gateway that meets all of fal's quick faults in turn still serves, and fal is asked again when it is well."""
    async with (
        FakeFal() as upstream,
        opened({"fal": at_fal(upstream, **CALM), "embedded": Painter()}, attempt_timeout=CALM["patience"]) as gateway,
    ):
        for number, (fault, (kind, _, health)) in enumerate(FAL.items()):
            if fault.split()[0] != "submit" or health is RESTED or fault.split()[1] in {"hang", "stall", "drip"}:
                continue
            upstream.fail(fault)
            found = await ask(gateway, source, tmp_path / f"{number}", f"fal/{MODEL}")
            assert isinstance(found, JobResult if kind is None else kind)
        upstream.fail("")
        found = await ask(gateway, source, tmp_path / "last", f"fal/{MODEL}")
        assert isinstance(found, JobResult)
        assert not gateway.health.snapshot()["fal"].breaker_open
        assert all(queue.running == queue.waiting == 0 for queue in gateway.queues.values())


@pytest.mark.parametrize(
    "fault",
    [
        *("status failed", "status html", "result none", "result black", "result small", "file missing", "result gif"),
        *("result nsfw", "result policy", "result validation", "status policy", "result 499"),
        *("status hang", "result lost", "file hang"),
    ],
)
async def test_a_job_that_was_taken_has_its_name_in_the_attempt(source, tmp_path, fault):
    """Whatever became of it, the provider's own id is told: it is what its support asks for."""
    async with FakeFal(fault=fault) as upstream, opened({"fal": at_fal(upstream)}) as gateway:
        found = await ask(gateway, source, tmp_path / "work")
        assert [one.upstream_id for one in found.attempts] == [upstream.submissions[0].id]
