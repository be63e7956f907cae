"""What fal.ai charges for, by what it says of a job."""

from __future__ import annotations

import pytest

from fakes.fal import FakeFal
from fluxvision import imaging
from fluxvision.core.callbacks import JobCallbacks
from fluxvision.core.errors import UpstreamError
from fluxvision.core.types import Call
from fluxvision.providers.fal import Provider, billing, queue
from fluxvision.providers.fal.billing import Bill
from fluxvision.providers.fal.client import FalClient, FalResponse

PAID, FREE, UNKNOWN = True, False, None
TOLD = {"status": "COMPLETED", "metrics": {"inference_time": 1.5}}


@pytest.mark.parametrize(
    ("metrics", "seconds"),
    [
        ({"inference_time": 1.25}, 1.25),
        ({"inference_time": 3}, 3.0),
        ({"inference_time": 0}, 0.0),
        ({"inference_time": 86_400}, 86_400.0),
        ({"inference_time": 86_401}, None),
        ({"inference_time": 10**400}, None),
        ({"inference_time": float("inf")}, None),
        ({"inference_time": float("nan")}, None),
        ({"inference_time": -1}, None),
        ({"inference_time": True}, None),
        ({"inference_time": False}, None),
        ({"inference_time": "1.25"}, None),
        ({"inference_time": None}, None),
        ({}, None),
        ([1.25], None),
        (None, None),
    ],
    ids=lambda one: repr(one)[:40],
)
def test_the_compute_time(metrics, seconds):
    """Only a number of seconds that a job may have taken is believed."""
    assert billing.reported_seconds({"status": "COMPLETED", "metrics": metrics}) == seconds
    assert billing.reported_seconds({"status": "COMPLETED"}) is None


@pytest.mark.parametrize(
    ("said", "waited", "charged"),
    [
        ({}, False, PAID),
        ({"error": None, "error_type": None}, False, PAID),
        ({"error_type": "runner_server_error"}, False, FREE),
        ({"error_type": "runner_disconnected"}, False, FREE),
        ({"error_type": "internal_error"}, False, FREE),
        ({"error_type": "request_timeout"}, False, FREE),
        ({"error_type": "startup_timeout"}, False, FREE),
        ({"error_type": "bad_request"}, False, UNKNOWN),
        ({"error_type": "content_policy_violation"}, False, UNKNOWN),
        ({"error_type": "something_new"}, False, UNKNOWN),
        ({"error": "It did not work."}, False, UNKNOWN),
        ({"error_type": 7}, False, UNKNOWN),
        ({"error_type": "client_cancelled"}, False, UNKNOWN),
        ({"error_type": "client_cancelled"}, True, UNKNOWN),
        ({"error_type": "client_cancelled", "metrics": {"inference_time": 0}}, True, FREE),
        ({"error_type": "client_cancelled", "metrics": None}, True, FREE),
        ({"error_type": "client_cancelled", "metrics": None}, False, UNKNOWN),
    ],
)
def test_a_completed_job(said, waited, charged):
    """What was made is paid, fal.ai's own failures are not; of refusals, and of jobs stopped at work, nobody knows."""
    status = {**TOLD, **said}
    assert billing.bill_completed(status, waited=waited) == Bill(charged, billing.reported_seconds(status))


@pytest.mark.parametrize(
    ("status", "charged"),
    [(500, FREE), (503, FREE), (504, FREE), (422, UNKNOWN), (499, UNKNOWN),
     (400, PAID), (401, PAID), (402, PAID), (403, PAID), (404, PAID), (200, PAID)],
)  # fmt: skip
def test_a_result_that_is_not_given_out(status, charged):
    """The job was done: who may not have its result has paid it, unless the result is that it failed."""
    assert billing.bill_refused_result(FalResponse(status, {}, None), Bill(PAID, 1.5)) == Bill(charged, 1.5)


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_failure_whose_words_are_not_given_out(status):
    """What the status told of a job that failed stays true."""
    assert billing.bill_refused_result(FalResponse(status, {}, None), Bill(FREE)) == Bill(FREE)


FAILED = {**TOLD, "error_type": "runner_server_error"}


@pytest.mark.parametrize(
    ("word", "after", "found"),
    [
        ("OK", None, Bill(FREE)),
        ("CANCELLATION_REQUESTED", None, Bill(UNKNOWN)),
        ("CANCELLATION_REQUESTED", TOLD, Bill(PAID, 1.5)),
        ("CANCELLATION_REQUESTED", FAILED, Bill(FREE, 1.5)),
        ("ALREADY_COMPLETED", None, Bill(PAID)),
        ("ALREADY_COMPLETED", TOLD, Bill(PAID, 1.5)),
        ("ALREADY_COMPLETED", FAILED, Bill(FREE, 1.5)),
        ("NOT_FOUND", None, Bill(UNKNOWN)),
        (None, None, Bill(UNKNOWN)),
    ],
)
def test_a_job_that_was_given_up(word, after, found):
    """The answer to the cancellation tells what it can, and what the job says of itself afterwards goes before it."""
    assert billing.bill_cancelled({"status": word}, after, waited=False) == found
    if word is None:
        assert billing.bill_cancelled(None, after, waited=False) == found


def call(path):
    source = imaging.probe(path, imaging.Limits())
    return Call("fal", "fal-ai/flux-vision-upscaler", {"upscale_factor": 2.0}, source, None)


async def test_a_result_without_end_is_paid(provider, photo, folder, monkeypatch):
    """An answer that is too long to be read does not make its job cheaper."""
    monkeypatch.setattr(queue, "PICTURE_INSIDE", 10)
    with pytest.raises(UpstreamError, match="too long") as caught:
        await provider.run(call(photo), JobCallbacks(), folder)
    assert (caught.value.billed, caught.value.seconds) == (True, 1.25)


async def test_a_ticket_without_end(fal, provider, photo, folder, monkeypatch):
    """Where the answer to a job is too long to be read, nobody knows whether it was taken."""
    monkeypatch.setitem(FalClient.request.__kwdefaults__, "limit", 10)
    with pytest.raises(UpstreamError, match="too long") as caught:
        await provider.run(call(photo), JobCallbacks(), folder)
    assert caught.value.billed is None
    assert len(fal.submissions) == 1


async def test_what_is_told_meanwhile(photo, folder):
    """Who watches knows at once that nobody knows, then the name of the job, and that it is paid as soon as it is."""
    told = []
    async with FakeFal() as fal:
        provider = Provider(fal.key, fal.queue_url, fal.storage_url, time_scale=0.02)
        await provider.run(call(photo), JobCallbacks(on_submitted=lambda *known: told.append(known)), folder)
        await provider.aclose()
        name = fal.submissions[0].id
    assert told == [(None, None), (name, None), (name, True, 1.25)]
