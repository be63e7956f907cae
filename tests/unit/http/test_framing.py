"""Request bodies that count, and answers that are held until they can be sent."""

from __future__ import annotations

import asyncio
import math

import pytest

from fluxvision.core.errors import CallerGone
from fluxvision.http.framing import RequestBody, ResponseSender

START = {"type": "http.response.start", "status": 200, "headers": []}
PIECE = {"type": "http.response.body", "body": b"x" * 10, "more_body": True}


def scope(*headers):
    """Return a POST with some headers."""
    return {"type": "http", "method": "POST", "headers": list(headers)}


async def nothing_more():
    """Return the end of a body."""
    return {"type": "http.request", "body": b"abc", "more_body": False}


@pytest.mark.parametrize(
    ("headers", "left"),
    [
        ([], 0),
        ([(b"content-length", b"0")], 0),
        ([(b"content-length", b"7")], 7),
        ([(b"content-length", b"x")], math.inf),
        ([(b"transfer-encoding", b"chunked")], math.inf),
    ],
)
async def test_what_is_left_of_a_body(headers, left):
    """The headers announce it; behind the last message nothing is left."""
    body = RequestBody(scope(*headers), nothing_more)
    assert (body.left, body.lingers) == (left, left > 0)
    await body()
    assert (body.left, body.lingers) == (0, False)


async def test_a_client_that_waits_for_leave_to_send_is_not_drained():
    """It sends nothing before `100 Continue`."""
    assert not RequestBody(scope((b"expect", b"100-continue"), (b"content-length", b"7")), nothing_more).lingers


async def test_a_slow_reader_is_given_up():
    """Taking something now and then is not enough: the whole answer has to be as fast as an upload."""
    sent = []

    async def send(message):
        sent.append(message)
        await asyncio.sleep(0.04)

    sender = ResponseSender(scope(), send, 0.2, lambda _headers: [])
    await sender({**START})
    assert (sent, sender.status) == ([], 0)
    with pytest.raises(CallerGone):  # noqa: PT012, each message may be the last one
        for _ in range(20):
            await sender({**PIECE})
    assert 3 <= len(sent) <= 8
    assert sender.status == 200


async def test_an_answer_that_takes_its_time_is_no_slow_reader():
    """Only the time counts in which the client does not take what is there."""

    async def send(_message):
        await asyncio.sleep(0)

    sender = ResponseSender(scope(), send, 0.05, lambda _headers: [])
    await sender({**START})
    for _ in range(4):
        await sender({**PIECE})
        await asyncio.sleep(0.04)
