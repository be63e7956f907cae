"""Webhooks of stored jobs: claimed once, signed, sent again, given up; the same facts with SQLite and PostgreSQL."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import SimpleNamespace

import pytest
from sqlalchemy import func, insert, select
from standardwebhooks import Webhook, WebhookVerificationError

from fakes.gateway import Gateway
from fakes.receiver import receiving
from fluxvision.core.errors import NotFound
from fluxvision.jobs import deliveries, records
from fluxvision.jobs.deliveries import BACKOFF, CLAIM_SECONDS, list_deliveries
from fluxvision.jobs.request_types import DeliveryFilter, delivery_status
from fluxvision.jobs.service import JobService
from fluxvision.jobs.webhook_secrets import OVERLAP_SECONDS
from fluxvision.jobs.webhooks import WebhookSender
from fluxvision.net.ssrf_guard import OPEN, Guard
from fluxvision.net.webhook_client import WebhookClient
from fluxvision.storage.data_dir import open_data_dir
from fluxvision.storage.tables import DELIVERIES, REQUESTS

CLIENT = WebhookClient(OPEN, allows_http=True)
BASE = "https://here.example"


@pytest.fixture
def receiver():
    """A server that receives webhooks."""
    with receiving() as found:
        yield found


@pytest.fixture
def clock():
    """The time, which tests move."""
    return SimpleNamespace(now=time.time())


@pytest.fixture
def end(database, clock):
    """`end(id, url)` enters a request that has ended, with the delivery of its webhook."""

    def make(request_id, url, key_id="key_a"):
        row = {"id": request_id, "key_id": key_id, "created_at": clock.now, "ended_at": clock.now, "model": "m"}
        row |= {"status": "completed", "webhook": url and {"url": url, "base_url": BASE}}

        def enter(connection):
            connection.execute(insert(REQUESTS).values(row))
            deliveries.enter(connection, request_id, clock.now)

        database.run_blocking(enter)

    return make


@pytest.fixture
def sender(database, clock):
    """A sender whose messages are the request's id and the address of links; `failed` are its unexpected errors."""
    found = make_sender(database, clock)
    yield found
    assert found.failed == []


def make_sender(database, clock, client=CLIENT, describe=None):
    """Return a sender; `send()` makes the attempts that are due."""

    async def message(row, base_url):
        return json.dumps({"id": row.id, "base": base_url}).encode()

    failed = []
    found = WebhookSender(
        database, client, describe or message, lambda request_id, _: failed.append(request_id), lambda: clock.now
    )
    found.failed = failed

    async def send():
        await asyncio.gather(*await found.begin_due())

    found.send = send
    return found


async def states(sender, **wanted):
    """Return status, attempts and last error of the deliveries."""
    rows = await sender.list(DeliveryFilter(key_id=None, **wanted))
    return [(delivery_status(row.next_at, row.delivered_at), row.attempts, row.last_error) for row in rows]


async def test_a_message_is_verified_by_the_librarys_receiver(sender, end, receiver):
    """The message has the row's facts, and its signature is the one of the caller's secret."""
    end("req_1", receiver.url("/hook"))
    await sender.send()
    message = receiver.messages[0]
    secret = (await sender.secrets("key_a")).current
    assert Webhook(secret).verify(message.body, message.headers) == {"id": "req_1", "base": BASE}
    assert message.headers["webhook-id"].startswith("msg_")
    assert message.headers["content-type"] == "application/json"
    with pytest.raises(WebhookVerificationError):
        Webhook((await sender.secrets("key_b")).current).verify(message.body, message.headers)
    assert await states(sender) == [("delivered", 1, None)]


async def test_without_a_webhook_nothing_is_entered(sender, end):
    """A request without `webhook_url` has no delivery."""
    end("req_1", None)
    assert await states(sender) == []


async def test_a_failure_is_tried_again_later(sender, end, receiver, clock):
    """A receiver that fails twice gets the same message after 5 and after 15 seconds, not before."""
    receiver.answers["/hook"] = [500, 404]
    end("req_1", receiver.url("/hook"))
    await sender.send()
    assert await states(sender) == [("pending", 1, "status_500")]
    clock.now += BACKOFF[0] - 0.1
    await sender.send()
    assert len(receiver.messages) == 1
    clock.now += 0.1
    await sender.send()
    assert await states(sender) == [("pending", 2, "status_404")]
    clock.now += BACKOFF[1]
    await sender.send()
    assert await states(sender) == [("delivered", 3, None)]
    assert len({message.headers["webhook-id"] for message in receiver.messages}) == 1
    assert len({message.headers["webhook-timestamp"] for message in receiver.messages}) == 3


async def test_it_is_given_up_after_a_day(sender, end, receiver, clock):
    """After all pauses, 22 hours together, a delivery is dead and is not sent again."""
    receiver.answers["/hook"] = [503] * 20
    end("req_1", receiver.url("/hook"))
    for pause in (0, *BACKOFF):
        clock.now += pause
        await sender.send()
    assert await states(sender, status="dead") == [("dead", len(BACKOFF) + 1, "status_503")]
    clock.now += sum(BACKOFF)
    await sender.send()
    assert len(receiver.messages) == len(BACKOFF) + 1
    assert 22 * 3600 < sum(BACKOFF) < 24 * 3600


async def test_a_redirect_is_not_followed(sender, end, receiver):
    """A redirect is a failure, and nothing is sent to where it leads."""
    receiver.answers["/hook"] = [307]
    end("req_1", receiver.url("/hook"))
    await sender.send()
    assert await states(sender) == [("pending", 1, "status_307")]
    assert receiver.at("/elsewhere") == []


@pytest.mark.parametrize(
    "refusal",
    [
        (WebhookClient(Guard(ports=None), allows_http=True), "http://127.0.0.1:9/", "address_refused"),
        (WebhookClient(Guard(ports=None), allows_http=True), "http://localhost:9/", "address_refused"),
        (WebhookClient(OPEN, allows_http=False), "http://127.0.0.1:9/", "address_refused"),
        (CLIENT, "http://127.0.0.1:9/", "unreachable"),
        (CLIENT, "https://127.0.0.1:{port}/", "unreachable"),
        (WebhookClient(OPEN, allows_http=True, patience=0.1), "http://127.0.0.1:{silent}/", "timeout"),
    ],
)
async def test_an_address_is_checked_at_each_attempt(database, clock, end, receiver, refusal):
    """What the guard forbids, what is not there and what does not answer is a failure, told by its kind alone."""
    client, url, kind = refusal
    sender = make_sender(database, clock, client)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        end("req_1", url.format(port=receiver.port, silent=silent.getsockname()[1]))
        await sender.send()
    assert await states(sender) == [("pending", 1, kind)]
    assert receiver.messages == []


async def test_gateways_share_the_deliveries(database, clock, end, receiver):
    """Four gateways that look at the same time send each of 40 messages once."""
    for number in range(40):
        end(f"req_{number}", receiver.url("/hook"))
    senders = [make_sender(database, clock) for _ in range(4)]
    while await states(senders[0], status="pending"):
        await asyncio.gather(*(sender.send() for sender in senders))
    ids = [json.loads(message.body)["id"] for message in receiver.messages]
    assert sorted(ids) == sorted(f"req_{number}" for number in range(40))


async def test_what_a_dead_gateway_had_claimed_is_sent(sender, database, end, receiver, clock):
    """A claim that nobody ends is over after a minute; the attempt that comes late changes nothing."""
    end("req_1", receiver.url("/hook"))
    lost = database.run_blocking(partial(deliveries.claim, now=clock.now, limit=1))[0]
    await sender.send()
    assert receiver.messages == []
    clock.now += CLAIM_SECONDS
    await sender.send()
    assert len(receiver.messages) == 1
    database.run_blocking(partial(deliveries.end_attempt, delivery=lost, failure="timeout", now=clock.now))
    assert await states(sender) == [("delivered", 2, None)]


async def test_an_unexpected_error_is_logged_and_tried_again(database, clock, end, receiver):
    """A message that cannot be made is reported by the request's id, and counts as a failure."""

    async def fail(_row, _base_url):
        raise ZeroDivisionError

    sender = make_sender(database, clock, describe=fail)
    end("req_1", receiver.url("/hook"))
    await sender.send()
    assert sender.failed == ["req_1"]
    assert await states(sender) == [("pending", 1, "message_failed")]


async def test_a_rotated_secret_signs_for_a_day(sender, end, receiver, clock):
    """After a rotation both secrets verify a message, and after 24 hours the new one alone."""
    old = (await sender.secrets("key_a")).current
    rotated = await sender.secrets("key_a", rotate=True)
    assert (rotated.previous, rotated.previous_until) == (old, clock.now + OVERLAP_SECONDS)
    end("req_1", receiver.url("/hook"))
    await sender.send()
    first = receiver.messages[0]
    for secret in (old, rotated.current):
        assert Webhook(secret).verify(first.body, first.headers)
    clock.now += OVERLAP_SECONDS
    assert (await sender.secrets("key_a")).all == (rotated.current,)
    end("req_2", receiver.url("/hook"))
    await sender.send()
    assert " " not in receiver.messages[1].headers["webhook-signature"]


async def test_two_first_uses_make_one_secret(sender):
    """Callers that ask for a secret at the same time get the same one, and another caller another one."""
    found = await asyncio.gather(*(sender.secrets("key_a") for _ in range(8)))
    assert len({secrets.current for secrets in found}) == 1
    assert found[0].current.startswith("whsec_")
    assert (await sender.secrets("key_b")).current != found[0].current
    assert found[0].current not in repr(found[0])


def test_deliveries_are_listed_by_caller_and_page(database, end, clock):
    """A caller's own deliveries come newest first, in pages; another one's cursor is not found."""
    for number in range(5):
        clock.now += 1
        end(f"req_{number}", "https://there.example", "key_a" if number < 4 else "key_b")

    def ids(**wanted):
        rows = database.run_blocking(partial(list_deliveries, wanted=DeliveryFilter(**wanted)))
        return [row.request_id for row in rows], [row.id for row in rows]

    first, marks = ids(key_id="key_a", limit=2)
    assert first == ["req_3", "req_2", "req_1"]
    assert ids(key_id="key_a", limit=2, before=marks[1])[0] == ["req_1", "req_0"]
    assert ids(key_id=None)[0][0] == "req_4"
    assert ids(key_id="key_a", status="delivered")[0] == []
    for cursor in (marks[1], "a\0"):
        with pytest.raises(NotFound) as caught:
            ids(key_id="key_b", before=cursor)
        assert caught.value.param == "cursor"


def test_a_purge_forgets_the_address(database, end):
    """The purge of a request deletes its delivery and its webhook."""
    end("req_1", "https://there.example")
    database.run_blocking(partial(records.clear, request_id="req_1"))
    count = select(func.count()).select_from(DELIVERIES)
    assert database.run_blocking(lambda connection: connection.execute(count).scalar_one()) == 0
    assert database.run_blocking(partial(records.find_request, request_id="req_1", key_id=None)).webhook is None


async def test_the_end_and_its_delivery_are_one_transaction(database, sender, tmp_path, monkeypatch):
    """A queued request that is cancelled has its delivery; where that cannot be entered, it has not ended either."""
    results, observer = SimpleNamespace(error=lambda _error, _attempts: {}), SimpleNamespace(fails=None)
    data_dir = open_data_dir(tmp_path / "data")
    service = JobService(database, Gateway(), data_dir, results, observer, webhooks=sender, lines=None, parallel=1)
    row = {"id": "req_1", "key_id": "key_a", "created_at": 1, "model": "m", "status": "queued"}
    row["webhook"] = {"url": "https://there.example", "base_url": BASE}
    database.run_blocking(lambda connection: connection.execute(insert(REQUESTS).values(row)))
    with monkeypatch.context() as broken:
        broken.setattr(deliveries, "enter", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            await service.cancel("req_1")
    assert (await service.find("req_1")).status == "queued"
    await service.cancel("req_1")
    data_dir.close()
    assert (await service.find("req_1")).status == "cancelled"
    assert await states(sender) == [("pending", 0, None)]


def test_claims_do_not_overlap(database, end, clock):
    """Eight gateways that claim at the same moment get each delivery once."""
    for number in range(16):
        end(f"req_{number}", "https://there.example")

    def claim(_number):
        return database.run_blocking(partial(deliveries.claim, now=clock.now, limit=4))

    with ThreadPoolExecutor(8) as pool:
        claimed = [one.id for batch in pool.map(claim, range(8)) for one in batch]
    assert len(claimed) == len(set(claimed)) == 16
