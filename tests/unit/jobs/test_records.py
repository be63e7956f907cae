"""The rows of jobs: what is the same request again, whose it is, and in which order they are listed."""

from __future__ import annotations

import pytest
from sqlalchemy import insert

from fluxvision.accounts.spending import read_balance
from fluxvision.core.errors import IdempotencyConflict
from fluxvision.core.job_status import CANCELLED, COMPLETED, FAILED, QUEUED, RUNNING
from fluxvision.core.key_limits import Limits
from fluxvision.jobs import records
from fluxvision.jobs.request_types import KEY_SECONDS, RETRY_SECONDS, EndedRequest, RequestFilter, RequestIdentity
from fluxvision.storage.tables import REQUESTS

NOW = 1_000_000.0


@pytest.fixture
def connection(database):
    """A transaction."""
    with database.begin() as begun:
        yield begun


def add(connection, request_id="req_1", **columns):
    """Insert a request of Alice's."""
    row = {"id": request_id, "key_id": "alice", "created_at": NOW, "model": "m", "status": COMPLETED, **columns}
    connection.execute(insert(REQUESTS).values(row))


def found(connection, *identity, key_id="alice", now=NOW, **facts):
    """Return the id of the request that one is the same as."""
    row = records.find_same(connection, key_id, RequestIdentity(*identity, **facts), now)
    return row and row.id


def test_a_key_is_kept_for_a_day(connection):
    """The same key and content is the same request for a day, and afterwards free."""
    add(connection, idempotency_key="key", fingerprint="print")
    assert found(connection, "print", "key", now=NOW + KEY_SECONDS - 1) == "req_1"
    assert found(connection, "print", "key", key_id="bob") is None
    assert found(connection, "print", "key", now=NOW + KEY_SECONDS) is None
    add(connection, "req_2", idempotency_key="key", fingerprint="print")


def test_a_key_with_other_content_is_refused(connection):
    """The same key with another content names the header."""
    add(connection, idempotency_key="key", fingerprint="print")
    with pytest.raises(IdempotencyConflict) as error:
        found(connection, "other", "key")
    assert error.value.param == "Idempotency-Key"


@pytest.mark.parametrize(
    ("status", "cost", "free", "joined"),
    [
        (QUEUED, 0, False, True),
        (RUNNING, 0, False, True),
        (COMPLETED, 5, False, True),
        (FAILED, 5, False, True),
        (FAILED, 0, True, False),
        (FAILED, 0, False, True),  # its cost is unknown, and nothing was reserved
        (CANCELLED, 0, True, False),
    ],
)
def test_what_a_retry_joins(connection, status, cost, free, joined):
    """A client's retry joins what runs, has ended well or may have cost something, within ten minutes."""
    add(connection, status=status, cost=cost, fingerprint=None if free else "print")
    assert (found(connection, "print", is_retry=True) == "req_1") is joined
    assert found(connection, "print", is_retry=False) is None
    assert found(connection, "print", is_retry=True, now=NOW + RETRY_SECONDS) is None


@pytest.mark.parametrize(
    ("is_retry", "entered_at", "joined"), [(True, NOW + 1, True), (True, NOW - 1, False), (False, NOW + 1, False)]
)
def test_a_request_that_its_retry_overtook(connection, is_retry, entered_at, joined):
    """A first request joins the retry that was entered while it was on its way, and no other request."""
    add(connection, fingerprint="print", is_retry=is_retry, created_at=entered_at)
    assert (found(connection, "print", received_at=NOW) == "req_1") is joined


@pytest.mark.parametrize(("free", "has_error", "kept"), [(True, True, False), (False, True, True), (True, False, True)])
def test_a_free_failure_frees_its_key(free, has_error, kept):
    """Only a failure that cost nothing can be tried again with the same key."""
    columns = records.ended_columns(free, None, {"kind": "Error"} if has_error else None)
    assert ("idempotency_key" not in columns) is kept
    assert columns["job"] is None


@pytest.mark.parametrize("name", ["", "\0", "req_1\0", "req_2", "é" * 1000])
def test_an_odd_id_is_nobodys(connection, name):
    """An id of whatever letters is no error."""
    add(connection)
    assert records.find_request(connection, name, None) is None


def test_a_request_is_its_callers(connection):
    """A request is found by its caller and, without a caller, by everybody who may see all."""
    add(connection)
    assert [records.find_request(connection, "req_1", key) is None for key in ("alice", "bob", None)] == [
        False,
        True,
        False,
    ]


def test_pages_have_every_request_once(connection):
    """Pages by the last request of the page before hold every request once, also those of the same moment."""
    for number in range(7):
        add(connection, f"req_{number}", created_at=NOW + number // 3)
    seen, before = [], None
    while True:
        rows = records.list_requests(connection, RequestFilter("alice", before=before, limit=2))
        seen += [row.id for row in rows[:2]]
        if len(rows) <= 2:
            break
        before = rows[1].created_at, rows[1].id
    assert seen == [f"req_{number}" for number in reversed(range(7))]


def test_a_list_is_filtered(connection):
    """A list has the caller's requests of the wanted states and times."""
    add(connection, "req_1", status=FAILED)
    add(connection, "req_2", created_at=NOW + 5)
    add(connection, "req_3", key_id="bob")
    for wanted, expected in (
        (RequestFilter("alice"), ["req_2", "req_1"]),
        (RequestFilter("alice", statuses=(FAILED,)), ["req_1"]),
        (RequestFilter("alice", created_after=NOW), ["req_2"]),
        (RequestFilter(None), ["req_2", "req_3", "req_1"]),
    ):
        assert [row.id for row in records.list_requests(connection, wanted)] == expected


def test_a_status_changes_from_those_named_only(connection):
    """A request that has ended does not run again."""
    add(connection)
    assert not records.set_status(connection, "req_1", RUNNING, QUEUED, RUNNING)
    assert records.set_status(connection, "req_1", FAILED, COMPLETED)


def test_ended_requests_are_inserted_together(connection):
    """Noted requests have their cost, zero where it is unknown, and no reservation; it is in their key's total."""
    records.insert_ended(
        connection,
        [EndedRequest(f"req_{n}", "alice", "m", COMPLETED, "own", n or None, NOW, NOW) for n in range(2)],
    )
    assert [row.cost for row in records.list_requests(connection, RequestFilter("alice"))] == [1, 0]
    [total] = read_balance(connection, "alice", Limits(), NOW, ("total",))
    assert (total.spent, total.reserved) == (1, 0)


def test_a_purged_request_keeps_its_cost(connection):
    """Of a purged request nothing remains that was asked or answered."""
    add(connection, cost=7, response={"a": 1}, fingerprint="print", idempotency_key="key")
    records.clear(connection, "req_1")
    row = records.find_request(connection, "req_1", None)
    assert (row.cost, row.job, row.response, row.fingerprint, row.idempotency_key) == (7, None, None, None, None)


def test_a_counted_request_of_a_dead_process_ends(connection):
    """After an hour it leaves its key's place; a younger one, and one that is stored and taken up, go on."""
    old = {"status": RUNNING, "created_at": NOW - records.COUNTED_SECONDS - 1}
    add(connection, "dead", **old)
    add(connection, "stored", job={"id": "stored"}, **old)
    add(connection, "young", status=RUNNING)
    records.end_abandoned(connection, NOW)
    running = records.list_requests(connection, RequestFilter("alice", statuses=(RUNNING,)))
    assert {row.id for row in running} == {"stored", "young"}
    assert records.find_request(connection, "dead", None).status == FAILED
