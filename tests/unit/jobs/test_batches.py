"""BatchFeeder: each line of a batch becomes one request, whatever happens in the middle, and the batch ends."""

from __future__ import annotations

import asyncio
import errno
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import pytest
from sqlalchemy import delete, insert, select, update

from fakes.gateway import PRICE
from fakes.job_service import ALICE, Site
from fakes.server import wait_until
from fluxvision.core.errors import IdempotencyConflict, InvalidRequest, NotFound, Unavailable
from fluxvision.core.job_status import ACTIVE
from fluxvision.core.key_limits import Limits
from fluxvision.jobs import batch_records, batches, records
from fluxvision.jobs.batch_records import BatchMoved
from fluxvision.jobs.batch_store import BatchStore
from fluxvision.jobs.batch_types import ENDPOINT, RESULT_SECONDS, WINDOW_SECONDS, BatchLine
from fluxvision.jobs.request_types import RETRY_SECONDS, RequestIdentity
from fluxvision.storage.tables import BATCHES, EXECUTORS, FILES, REQUESTS


@pytest.fixture
async def site(database_url, tmp_path, monkeypatch):
    """A started service and all that it uses, once with each kind of database."""
    monkeypatch.setattr(batches, "LOOK_SECONDS", 0.1)
    monkeypatch.setattr(batches, "LONGEST_PAUSE", 0.2)
    found = Site(database_url, tmp_path / "data")
    await found.service.start()
    yield found
    await found.service.close()
    found.close()


def add_file(database, name):
    """Add an input file of Alice's, unless it is there."""
    row = {"id": name, "key_id": "alice", "created_at": 1.0, "expires_at": 1e10, "filename": "a", "purpose": "batch"}
    with database.begin() as connection:
        if connection.execute(select(FILES).where(FILES.c.id == name)).first() is None:
            connection.execute(insert(FILES).values(**row, bytes=1, name="input.jsonl"))


async def begun(site, *bodies, **columns):
    """Enter a batch of Alice's with these bodies, the custom_ids being their numbers; return its id."""
    lines = [
        json.dumps({"custom_id": f"line {number}", "method": "POST", "url": ENDPOINT, "body": body})
        for number, body in enumerate(bodies, 1)
    ]
    (site.folder / "input.jsonl").write_text("\n\n".join(lines))
    facts = {"id": "batch_1", "key_id": "alice", "expires_at": time.time() + WINDOW_SECONDS, "name": "input.jsonl"}
    facts |= {"base_url": "", "metadata": None, "total": len(bodies), **columns}
    add_file(site.database, "file-1")
    batch_id = await site.service.batch_store.enter(RequestIdentity("file-1"), **facts)
    site.service.batches.wake(batch_id)
    return batch_id


def facts(site):
    """Return the row of the batch and its counts."""
    with site.database.begin() as connection:
        row = connection.execute(select(BATCHES)).one()
        return row, batch_records.count(connection, row.id)


async def waits_for(condition):
    """Wait until something is true."""
    assert await asyncio.to_thread(wait_until, condition)


async def ended(site):
    """Wait for the end of the batch, and return its state and the kinds of errors by custom_id, "" for none."""
    await waits_for(lambda: facts(site)[0].ended_at is not None)
    (batch, counts), rows = facts(site), requests(site)
    assert [row.batch_line for row in rows] == list(range(1, batch.lines + 1))
    assert (counts.active, counts.completed + counts.failed) == (0, len(rows))
    await waits_for(lambda: site.pictures == [])  # those of a cancelled request go when its turn comes
    assert site.observer.errors == []
    return batch.status, {row.custom_id: row.error["kind"] if row.error else "" for row in rows}


def requests(site):
    """Return the requests of all batches, in the order of their lines."""
    with site.database.begin() as connection:
        return connection.execute(
            select(REQUESTS).where(REQUESTS.c.batch_id.is_not(None)).order_by(REQUESTS.c.batch_line)
        ).all()


def write(site, statement):
    """Write to the site's database."""
    with site.database.begin() as connection:
        connection.execute(statement)


async def test_each_line_becomes_a_request(site):
    """The lines are made in the name of their key, keep their pictures for two days, and leave no files."""
    await begun(site, *([{}] * 12))
    assert await ended(site) == ("completed", {f"line {number}": "" for number in range(1, 13)})
    rows = requests(site)
    assert {(row.key_id, row.status, row.reserved, row.background) for row in rows} == {("alice", "completed", 0, True)}
    assert len(site.gateway.started) == site.lines.released == 12
    assert set(site.results.seconds) == {RESULT_SECONDS}


async def test_the_batches_of_a_key_share_its_turns(site):
    """In the queues of providers all batches of a key are one caller of little weight, not the key itself."""
    await begun(site, {})
    await begun(site, {}, id="batch_2")
    await waits_for(lambda: len(site.gateway.started) == 2)
    assert {(job.caller.id, job.caller.weight) for job in site.gateway.started} == {("alice:batches", 0.1)}


async def test_a_wrong_line_is_its_own_error(site):
    """A line that cannot be begun fails with its error, and costs nothing; the others are made."""
    await begun(site, {}, {"error": "no picture"}, {})
    assert await ended(site) == ("completed", {"line 1": "", "line 2": "InvalidRequest", "line 3": ""})
    failed = requests(site)[1]
    assert (failed.status, failed.cost, failed.error["message"]) == ("failed", 0, "no picture")


async def test_few_lines_are_queued_at_a_time(site):
    """No more than the most requests of a batch are queued or running; the pictures of few more are fetched."""
    site.service.batches._most = 3
    await begun(site, *([{"tile_seconds": 0.02}] * 12))
    seen = []
    while facts(site)[0].ended_at is None:
        seen.append(sum(row.status in ACTIVE for row in requests(site)))
        await asyncio.sleep(0.02)
    assert 0 < max(seen) <= 3
    assert (await ended(site))[0] == "completed"


async def test_a_line_over_the_budget_fails(site):
    """What the key's budget does not cover fails with that error, and nothing is begun."""
    site.lines.owner = replace(ALICE, limits=Limits(budget_total=PRICE - 1))
    await begun(site, {}, {})
    assert await ended(site) == ("completed", {"line 1": "InsufficientBalance", "line 2": "InsufficientBalance"})
    assert site.gateway.started == []


async def test_a_line_waits_for_what_others_have_reserved(site):
    """A budget that running lines have reserved is no reason to fail: they may cost less."""
    site.lines.owner = replace(ALICE, limits=Limits(budget_total=PRICE))
    await begun(site, {"tile_seconds": 0.1}, {}, {})
    assert await ended(site) == ("completed", {"line 1": "", "line 2": "", "line 3": ""})


async def test_a_line_waits_for_the_rate_of_its_key(site):
    """Lines that the key's requests per minute refuse are not lost: they wait."""
    site.lines.owner = replace(ALICE, limits=Limits(per_minute=2))
    await begun(site, {}, {}, {}, {})
    await waits_for(lambda: (facts(site)[0].lines, facts(site)[1].completed) == (2, 2))
    await asyncio.sleep(0.5)
    assert len(requests(site)) == 2
    site.lines.owner = ALICE
    assert await ended(site) == ("completed", dict.fromkeys(("line 1", "line 2", "line 3", "line 4"), ""))


async def test_one_place_of_a_key_is_left_to_others(site):
    """A batch fills all places of its key but one."""
    site.lines.owner = replace(ALICE, limits=Limits(parallel=3))
    await begun(site, *([{"tile_seconds": 30}] * 4))
    await waits_for(lambda: facts(site)[0].lines == 2)
    await asyncio.sleep(0.5)
    assert len(requests(site)) == 2
    await site.service.batch_store.cancel("batch_1")
    assert (await ended(site))[0] == "cancelled"


@pytest.mark.parametrize(
    "fault", [Unavailable("The disk is full."), OSError(errno.ENOSPC, ""), OSError(errno.EMFILE, ""), MemoryError()]
)
async def test_a_full_disk_is_waited_for(site, fault):
    """A line that this server cannot take at the moment waits, and is entered once."""
    site.lines.fault = fault
    await begun(site, {}, {})
    await waits_for(lambda: len(site.lines.prepared) >= 4)
    site.lines.fault = None
    assert await ended(site) == ("completed", {"line 1": "", "line 2": ""})


async def test_an_unexpected_error_is_that_of_its_line(site):
    """A fault of the code fails a line without its text, and is logged."""
    site.lines.fault = ZeroDivisionError("the prompt: cat")
    await begun(site, {})
    await waits_for(lambda: facts(site)[0].ended_at is not None)
    assert [(row.error["kind"], "cat" in row.error["message"]) for row in requests(site)] == [("InternalError", False)]
    assert site.observer.errors == [site.lines.fault]


async def test_the_lines_of_a_revoked_key_fail(site):
    """Where the key is not valid any more no line is begun."""
    site.lines.owner = None
    await begun(site, {}, {})
    assert await ended(site) == ("completed", {"line 1": "AuthenticationFailed", "line 2": "AuthenticationFailed"})
    assert site.gateway.started == []


async def test_a_batch_expires(site):
    """When its window has ended the lines that were not begun fail, and the batch is expired."""
    await begun(site, {}, {}, expires_at=1.0)
    assert await ended(site) == ("expired", {"line 1": "DeadlineExceeded", "line 2": "DeadlineExceeded"})
    assert site.gateway.started == []


async def test_a_cancelled_batch_ends(site):
    """Lines that run are cancelled, those that were made stay, and no further one begins."""
    site.service.batches._most = 2
    await begun(site, {}, {"tile_seconds": 30}, {"tile_seconds": 30}, {})
    await waits_for(lambda: (facts(site)[0].lines, facts(site)[1].completed) == (3, 1))
    await site.service.batch_store.cancel("batch_1")
    site.service.batches.wake("batch_1")
    assert await ended(site) == ("cancelled", {"line 1": "", "line 2": "Cancelled", "line 3": "Cancelled"})


async def test_a_batch_without_its_file_fails(site):
    """Where nobody has the input file until the window ends the batch fails as a whole."""
    await begun(site, {}, {}, name="gone.jsonl", expires_at=1.0)
    assert await ended(site) == ("failed", {})


async def test_a_batch_whose_file_is_nowhere_fails_at_once(site):
    """Where all gateways have the same files a batch without its input file does not wait for its window's end."""
    site.service.batches._shares_files = True
    await begun(site, {}, {}, name="gone.jsonl")
    assert await ended(site) == ("failed", {})


async def test_a_batch_whose_file_stays_away_fails(site, monkeypatch):
    """Where gateways have files of their own a batch fails when for some time none of them had its input file."""
    site.service.batches._shares_files = False
    monkeypatch.setattr(batches, "MISSING_SECONDS", 1.0)
    await begun(site, {}, {}, name="gone.jsonl")
    await waits_for(lambda: facts(site)[0].missing_since is not None)
    assert facts(site)[0].status == "in_progress"
    assert await ended(site) == ("failed", {})


async def test_files_are_shared_where_the_database_is_one_machines(site):
    """Gateways with one SQLite file have one data folder, those with PostgreSQL one of their own each."""
    assert site.service.batches._shares_files is site.database.url.startswith("sqlite")


async def test_a_batch_whose_file_is_elsewhere_is_left_to_others(site):
    """A gateway that does not have the input file releases the batch; whoever has the file makes it."""
    site.service.batches._shares_files = False
    await begun(site, {}, {}, name="elsewhere.jsonl", feeder=site.service.batches.executor_id)
    await waits_for(lambda: facts(site)[0].feeder is None)
    assert facts(site)[0].status == "in_progress"
    (site.folder / "input.jsonl").rename(site.folder / "elsewhere.jsonl")
    assert await ended(site) == ("completed", {"line 1": "", "line 2": ""})
    assert facts(site)[0].missing_since is None


async def test_a_line_that_is_entered_while_the_gateway_stops_is_whole(site, monkeypatch):
    """A request whose transaction is under way when the gateway stops keeps its pictures, for the next process."""
    begins, goes_on = threading.Event(), threading.Event()

    def lock_caller(*_arguments):
        begins.set()
        goes_on.wait(5)

    monkeypatch.setattr(records, "lock_caller", lock_caller)
    await begun(site, {"tile_seconds": 30})
    assert await asyncio.to_thread(begins.wait, 5)
    closing = asyncio.create_task(site.service.batches.close())
    await asyncio.sleep(0.1)
    goes_on.set()
    await closing
    assert [row.id for row in requests(site)] == site.pictures != []


async def prepared_at_once(site):
    """Return the most lines that were prepared at the same time until all batches had ended."""
    prepare, inside, most = site.lines.prepare, 0, 0

    async def counted(*given):
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        await asyncio.sleep(0.05)
        inside -= 1
        return await prepare(*given)

    site.lines.prepare = counted
    await begun(site, {}, {}, {})
    await begun(site, {}, {}, {}, id="batch_2")
    unended = select(BATCHES.c.id).where(BATCHES.c.ended_at.is_(None))
    await waits_for(lambda: not site.database.run_blocking(lambda connection: connection.execute(unended).all()))
    return most


async def test_large_lines_are_read_one_by_one(site, monkeypatch):
    """Once the lines of a batch that are in memory are large no further one is read."""
    monkeypatch.setattr(batches, "AHEAD_BYTES", 1)
    assert await prepared_at_once(site) == 2


async def test_few_batches_are_read_at_a_time(site):
    """The lines of further batches are not read before those of others have been entered."""
    site.service.batches._feeding = asyncio.Semaphore(1)
    assert await prepared_at_once(site) == 3


async def test_a_batch_goes_on_where_another_gateway_died(site):
    """A batch whose gateway is gone is fed from the line at which that one stopped."""
    write(site, insert(EXECUTORS).values(id="other-run-1", seen_at=time.time()))
    await begun(site, {}, {}, {}, feeder="other-run-1")
    await asyncio.sleep(0.5)
    assert requests(site) == []
    with site.database.begin() as connection:
        line = batches.read_line(site.folder / "input.jsonl", "batch_1", 1, 0)
        batch_records.advance(connection, line, "other-run-1")
        batch_records.insert_failed(connection, line, 1.0, id="req_other", key_id="alice", error={"kind": "Other"})
    write(site, delete(EXECUTORS).where(EXECUTORS.c.id == "other-run-1"))
    assert await ended(site) == ("completed", {"line 1": "Other", "line 2": "", "line 3": ""})


@pytest.mark.parametrize(
    "change", [{"feeder": "other-run-1"}, {"lines": 1}, {"status": "cancelling"}, {"status": "completed"}]
)
async def test_a_line_is_entered_with_the_note_of_it_or_not_at_all(site, monkeypatch, change):
    """Another gateway, or a cancelled batch, makes the whole entry void: no request, no pictures, no work."""
    monkeypatch.setattr(site.service.batches, "_look", lambda: asyncio.sleep(0))
    await begun(site, {})
    write(site, update(BATCHES).values({"feeder": site.service.batches.executor_id, **change}))
    line = BatchLine("batch_1", 1, "line 1", b"{}", 10)
    with pytest.raises(BatchMoved):
        await site.service.enter(site.prepared(), RequestIdentity("batch_1-1"), background=True, line=line)
    assert (requests(site), site.pictures, site.gateway.started) == ([], [], [])
    write(site, update(BATCHES).values(status="completed"))


def test_a_batch_has_one_feeder(database):
    """Of several gateways that claim at the same moment one gets a batch, and keeps it while it lives."""
    row = {"key_id": "alice", "created_at": 1, "expires_at": 2, "input_file_id": "f", "name": "n", "base_url": ""}
    gateways = [f"place-run-{number}" for number in range(4)]
    with database.begin() as connection:
        connection.execute(
            insert(BATCHES), [{**row, "id": f"b{n}", "status": "in_progress", "total": 1} for n in range(8)]
        )
        connection.execute(insert(EXECUTORS), [{"id": name, "seen_at": 1} for name in gateways])

    def claim(name):
        return database.run_blocking(partial(batch_records.claim, executor_id=name))

    def feeders():
        with database.begin() as connection:
            return dict(connection.execute(select(BATCHES.c.id, BATCHES.c.feeder)).all())

    first: dict[str, str] | None = None
    for _ in range(2):
        with ThreadPoolExecutor(4) as pool:
            own = dict(zip(gateways, pool.map(claim, gateways), strict=True))
        found = feeders()
        assert first in (None, found)
        first = found
        assert {batch: name for name, ids in own.items() for batch in ids} == found
        assert sum(map(len, own.values())) == 8


async def entered(store, identity):
    """Enter a batch of Alice's and return its number among those that were entered."""
    add_file(store._database, identity.fingerprint)
    known = await store.list("alice", None, 100)
    columns = {"key_id": "alice", "expires_at": 2.0, "name": "n", "base_url": "", "metadata": None, "total": 1}
    return await store.enter(identity, id=f"b{len(known)}", **columns)


@pytest.mark.parametrize(
    ("first", "second", "is_same"),
    [
        (RequestIdentity("f"), RequestIdentity("f", received_at=1000), False),
        (RequestIdentity("f"), RequestIdentity("f", is_retry=True), True),
        (RequestIdentity("f"), RequestIdentity("g", is_retry=True), False),
        (RequestIdentity("f", is_retry=True), RequestIdentity("f", received_at=999), True),
        (RequestIdentity("f", is_retry=True), RequestIdentity("f", received_at=1000), False),
        (RequestIdentity("f", "key"), RequestIdentity("f", "key"), True),
        (RequestIdentity("f", "key"), RequestIdentity("f", "other key"), False),
    ],
)
async def test_which_batches_are_the_same(database, first, second, is_same):
    """A key or a client's retry finds the batch that it repeats; who means a second one of a file gets it."""
    store = BatchStore(database, lambda: 1000.0)
    assert await entered(store, first) == "b0"
    assert await store.find_same("alice", second) == ("b0" if is_same else None)
    assert await entered(store, second) == ("b0" if is_same else "b1")
    assert await store.find_same("bob", replace(first, is_retry=True)) is None


async def test_a_retry_is_recognized_for_some_minutes(database):
    """A retry without a key that comes very late is a new batch."""
    assert await entered(BatchStore(database, lambda: 1000.0), RequestIdentity("f")) == "b0"
    late = BatchStore(database, lambda: 1001.0 + RETRY_SECONDS)
    assert await entered(late, RequestIdentity("f", is_retry=True)) == "b1"


async def test_the_key_of_another_batch_is_refused(database):
    """An idempotency key that comes with another file is a conflict."""
    store = BatchStore(database, lambda: 1000.0)
    await entered(store, RequestIdentity("f", "key"))
    with pytest.raises(IdempotencyConflict):
        await store.find_same("alice", RequestIdentity("g", "key"))


async def test_a_file_is_hidden_before_it_is_deleted(database):
    """A file whose deletion was interrupted is read by nobody and gets no batch; the deletion can be repeated."""
    store = BatchStore(database, lambda: 1000.0)
    add_file(database, "f")
    for _ in range(2):
        assert (await store.hide_file("f", "alice")).name == "input.jsonl"
        assert await store.find_file("f", "alice") is None
        assert await store.list_files("alice", None, 10) == []
        columns = {"id": "b", "key_id": "alice", "expires_at": 2.0, "name": "n", "base_url": "", "total": 1}
        with pytest.raises(NotFound):
            await store.enter(RequestIdentity("f"), **columns)
    assert await store.hide_file("f", "bob") is None
    await store.delete_file("f")
    assert await store.hide_file("f", "alice") is None


async def test_a_file_that_a_batch_reads_is_not_deleted(database):
    """A batch that has not ended keeps its input file."""
    store = BatchStore(database, lambda: 1000.0)
    await entered(store, RequestIdentity("f"))
    with pytest.raises(InvalidRequest):
        await store.hide_file("f", "alice")
    assert await store.find_file("f", "alice") is not None


async def test_a_file_has_a_batch_or_is_deleted(database):
    """Of a batch and a deletion at the same moment one succeeds, and the other is refused."""
    store = BatchStore(database, lambda: 1000.0)
    for number in range(10):
        identity = RequestIdentity(f"f{number}")
        add_file(database, identity.fingerprint)
        columns = {"key_id": "alice", "expires_at": 2.0, "name": "n", "base_url": "", "metadata": None, "total": 1}
        both = (store.enter(identity, id=f"b{number}", **columns), store.hide_file(identity.fingerprint, "alice"))
        found = await asyncio.gather(*both, return_exceptions=True)
        assert [isinstance(one, NotFound | InvalidRequest) for one in found].count(True) == 1
