"""The quotas: the same facts with SQLite and PostgreSQL."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from sqlalchemy import delete, insert, select

from fluxvision.accounts.key_types import UsageRow
from fluxvision.accounts.quota import QuotaStore
from fluxvision.accounts.spending import DAY, read_balance
from fluxvision.core.errors import InsufficientBalance, TooMany
from fluxvision.core.key_limits import Limits, RequestRate
from fluxvision.storage.database import Database, sqlite_url
from fluxvision.storage.tables import API_KEYS, REQUESTS

NOW = datetime(2026, 3, 15, 12, tzinfo=UTC).timestamp()
KEY = {"id": "key_a", "name": "a", "digest": "0" * 64, "hint": "fv_a", "created_at": NOW, "models": []}
JOB = {"key_id": "key_a", "model": "m", "reserved": 0, "limits": Limits(), "now": NOW}
END = {"status": "completed", "cost": 0, "provider": "fal", "ended_at": NOW}


@pytest.fixture
def quotas(database):
    """A ledger with one stored key; `admit(name, …)` and `settle(name, …)` are transactions of their own."""
    found = QuotaStore(database, lambda: NOW)
    database.run_blocking(lambda connection: connection.execute(insert(API_KEYS).values(KEY)))
    found.database = database

    def admit(name, **facts):
        return database.run_blocking(partial(QuotaStore.admit, found, request_id=name, **{**JOB, **facts}))

    def settle(name, **facts):
        work = partial(QuotaStore.settle, found, request_id=name, **{**END, **facts})
        return database.run_blocking(work)

    found.admit, found.settle = admit, settle
    return found


def row(quotas, name):
    """Return the row of a request."""
    query = select(REQUESTS).where(REQUESTS.c.id == name)
    return quotas.database.run_blocking(lambda connection: connection.execute(query).mappings().one())


async def totals(quotas):
    """Return spent, reserved and left of a day's budget of 100."""
    found = (await quotas.balance("key_a", Limits(budget_day=100)))[0]
    return found.spent, found.reserved, found.left


async def test_a_reservation_counts_until_its_cost_is_known(quotas):
    """A job's most counts while it runs, then its cost."""
    limits = Limits(budget_day=100)
    quotas.admit("one", reserved=60, limits=limits)
    assert await totals(quotas) == (0, 60, 40)
    assert quotas.settle("one", cost=10)
    assert await totals(quotas) == (10, 0, 90)


async def test_an_unknown_cost_counts_whole(quotas):
    """Where nobody knows what a job has cost, its reservation stays spent."""
    quotas.admit("one", reserved=60)
    quotas.settle("one", cost=None, status="failed")
    assert await totals(quotas) == (60, 0, 40)


async def test_a_job_is_settled_once(quotas):
    """A second settlement, or one of an unknown job, changes nothing and says so."""
    quotas.admit("one", reserved=60)
    assert quotas.settle("one", cost=10)
    assert not quotas.settle("one", cost=50)
    assert not quotas.settle("nobody", cost=50)
    assert await totals(quotas) == (10, 0, 90)


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (Limits(budget_day=100), "today"),
        (Limits(budget_month=100), "this month"),
        (Limits(budget_total=100), "in all"),
        (Limits(budget_day=1000, budget_month=500, budget_total=100), "in all"),
    ],
)
def test_a_job_beyond_a_budget_is_refused(quotas, limits, words):
    """What may cost more than is left of a budget is refused with both amounts, and leaves no row."""
    quotas.admit("one", reserved=60, limits=limits)
    with pytest.raises(InsufficientBalance, match=words) as error:
        quotas.admit("two", reserved=41, limits=limits)
    assert "$0.000041" in error.value.message
    assert "$0.00004 more" in error.value.message
    quotas.admit("two", reserved=40, limits=limits)


def test_a_free_job_needs_no_budget(quotas):
    """A job that costs nothing is admitted when nothing is left."""
    quotas.admit("one", reserved=100, limits=Limits(budget_day=100))
    quotas.admit("two", reserved=0, limits=Limits(budget_day=100))


@pytest.mark.parametrize(
    ("limits", "before", "after"),
    [
        (Limits(budget_day=100), NOW // DAY * DAY - 1, NOW // DAY * DAY),
        (
            Limits(budget_month=100),
            datetime(2026, 2, 28, 23, 59, 59, tzinfo=UTC).timestamp(),
            datetime(2026, 3, 1, tzinfo=UTC).timestamp(),
        ),
    ],
)
def test_a_new_period_has_its_own_budget(quotas, limits, before, after):
    """Midnight in UTC opens a day, the first of a month a month; a job counts where it was admitted."""
    quotas.admit("one", reserved=100, limits=limits, now=before)
    quotas.settle("one", cost=100, ended_at=after)
    quotas.admit("two", reserved=100, limits=limits, now=after)
    with pytest.raises(InsufficientBalance):
        quotas.admit("three", reserved=1, limits=limits, now=after)


def test_keys_do_not_share_a_budget(quotas):
    """What one key spends is not taken from another."""
    quotas.admit("one", reserved=100, limits=Limits(budget_total=100))
    quotas.admit("two", reserved=100, limits=Limits(budget_total=100), key_id="key_b")


def test_further_columns_are_inserted(quotas):
    """The row has the columns that the caller adds, and those of its end."""
    quotas.admit("one", reserved=5, job={"a": 1}, background=True, idempotency_key="k")
    assert (row(quotas, "one")["job"], row(quotas, "one")["status"]) == ({"a": 1}, "queued")
    quotas.settle("one", cost=3, response={"b": 2}, ended_at=NOW + 1)
    found = row(quotas, "one")
    assert (found["response"], found["status"], found["provider"]) == ({"b": 2}, "completed", "fal")
    assert (found["reserved"], found["cost"], found["ended_at"]) == (0, 3, NOW + 1)


def test_requests_per_minute(quotas):
    """As many as the limit within 60 seconds; the next one is told when the oldest leaves the window, and then fits."""
    limits = Limits(per_minute=2)
    assert quotas.admit("one", limits=limits, now=NOW) == RequestRate(2, 1, 60.0)
    assert quotas.admit("two", limits=limits, now=NOW + 10) == RequestRate(2, 0, 60.0)
    with pytest.raises(TooMany, match="2 requests per minute; try again in 40 s") as error:
        quotas.admit("three", limits=limits, now=NOW + 20)
    assert error.value.retry_after == 40.0
    assert error.value.rate == RequestRate(2, 0, 50.0)
    assert quotas.admit("three", limits=limits, now=NOW + 20 + error.value.retry_after) == RequestRate(2, 0, 60.0)


def test_jobs_at_the_same_time(quotas):
    """A job beyond the limit is refused until one ends; the wait is what jobs usually take, less what has passed."""
    limits = Limits(parallel=2, per_minute=9)
    quotas.admit("old", limits=limits, now=NOW - 100)
    quotas.settle("old", ended_at=NOW - 80)
    quotas.admit("one", limits=limits, now=NOW)
    quotas.admit("two", limits=limits, now=NOW + 1)
    with pytest.raises(TooMany, match="2 jobs at the same time") as error:
        quotas.admit("three", limits=limits, now=NOW + 5)
    assert error.value.retry_after == pytest.approx(15.0)
    assert error.value.rate == RequestRate(9, 7, 60.0)
    quotas.settle("one", status="cancelled")
    quotas.admit("three", limits=limits, now=NOW + 5)


@pytest.mark.parametrize("limits", [Limits(per_minute=0), Limits(parallel=0)])
def test_a_limit_of_nothing_admits_nothing(quotas, limits):
    """A key that may make no request, or have no job, gets the same answer as one at its limit."""
    with pytest.raises(TooMany) as error:
        quotas.admit("one", limits=limits)
    assert error.value.retry_after >= 1


@pytest.mark.parametrize(
    ("limits", "refusal"),
    [
        (Limits(budget_day=100), InsufficientBalance),
        (Limits(budget_total=100), InsufficientBalance),
        (Limits(per_minute=10), TooMany),
        (Limits(parallel=10), TooMany),
    ],
)
async def test_fifty_racing_jobs_stay_within_the_limits(quotas, limits, refusal):
    """Of 50 jobs of 10 at the same moment, 10 are admitted under a limit of 100 or of 10, and the others refused."""

    def attempt(number):
        try:
            quotas.admit(str(number), reserved=10, limits=limits)
        except refusal:
            return "refused"
        return "admitted"

    with ThreadPoolExecutor(50) as pool:
        assert Counter(pool.map(attempt, range(50))) == {"admitted": 10, "refused": 40}
    assert await totals(quotas) == (0, 100, 0)


async def test_racing_admissions_and_ends_are_all_in_the_totals(quotas):
    """Of 50 jobs that are admitted and ended twice at the same moment, each is in the totals once."""

    def live(number):
        quotas.admit(str(number), reserved=10, limits=Limits(budget_total=1000))
        return [quotas.settle(str(number), cost=cost) for cost in (3, None)]

    with ThreadPoolExecutor(25) as pool:
        assert list(pool.map(live, range(50))) == [[True, False]] * 50
    assert await totals(quotas) == (150, 0, 0)


def test_a_budget_is_not_added_up_of_requests(quotas):
    """An admission reads the running totals: it is as quick with a hundred thousand requests as with none."""
    limits = Limits(budget_day=100, budget_month=100, budget_total=100)
    quotas.admit("one", reserved=60, limits=limits)
    quotas.database.run_blocking(lambda connection: connection.execute(delete(REQUESTS)))
    with pytest.raises(InsufficientBalance):
        quotas.admit("two", reserved=41, limits=limits)
    quotas.admit("two", reserved=40, limits=limits)


async def test_usage_by_group(quotas):
    """Requests and costs are grouped by day, model, provider or key, within a time and for one key or all."""
    midnight = NOW // DAY * DAY
    for number, (key, model, provider, at, cost) in enumerate(
        [
            ("key_a", "m", "fal", midnight - 0.5, 1),
            ("key_a", "m", None, midnight, 0),
            ("key_a", "n", "fal", midnight + DAY - 0.1, 20),
            ("key_b", "n", "openai", midnight + 5, 300),
        ]
    ):
        quotas.admit(str(number), key_id=key, model=model, reserved=cost, now=at)
        quotas.settle(str(number), provider=provider, cost=cost)
    assert await quotas.usage(None, "key") == [UsageRow("key_a", 3, 21), UsageRow("key_b", 1, 300)]
    assert await quotas.usage("key_a", "day") == [UsageRow("2026-03-14", 1, 1), UsageRow("2026-03-15", 2, 20)]
    assert await quotas.usage("key_a", "model") == [UsageRow("m", 2, 1), UsageRow("n", 1, 20)]
    assert sorted(await quotas.usage("key_a", "provider"), key=lambda one: one.group) == [
        UsageRow("", 1, 0),
        UsageRow("fal", 2, 21),
    ]
    assert await quotas.usage(None, "model", midnight, midnight + DAY - 0.1) == [
        UsageRow("m", 1, 0),
        UsageRow("n", 1, 300),
    ]
    assert await quotas.usage("nobody", "day") == []


class QuotaMachine(RuleBasedStateMachine):
    """Admissions, settlements and releases in any order, beside a model of three sums."""

    def __init__(self):
        """Open an empty database."""
        super().__init__()
        self.folder = TemporaryDirectory()
        self.database = Database(sqlite_url(Path(self.folder.name)))
        self.now, self.number = NOW, 0
        self.quotas = QuotaStore(self.database, lambda: self.now)
        self.running, self.days = {}, Counter()

    def teardown(self):
        """Delete the database."""
        self.database.close()
        self.folder.cleanup()

    @property
    def today(self):
        """Return the number of the day."""
        return self.now // DAY

    def committed(self):
        """Return the costs and reservations of today."""
        return self.days[self.today] + sum(most for most, day in self.running.values() if day == self.today)

    @rule(most=st.integers(0, 60))
    def admit(self, most):
        """Admit a job exactly if the day's budget covers it."""
        self.number += 1
        name, fits = str(self.number), most == 0 or self.committed() + most <= 100
        facts = {"key_id": "key_a", "model": "m", "limits": Limits(budget_day=100), "now": self.now}
        try:
            with self.database.begin() as connection:
                self.quotas.admit(connection, request_id=name, reserved=most, **facts)
        except InsufficientBalance:
            assert not fits
        else:
            assert fits
            self.running[name] = most, self.today

    @precondition(lambda self: self.running)
    @rule(data=st.data(), unknown=st.booleans(), released=st.booleans())
    def settle(self, data, unknown, released):
        """End a job: free of charge, with a cost up to its most, or with an unknown one."""
        name = data.draw(st.sampled_from(sorted(self.running)))
        most, day = self.running.pop(name)
        cost = 0 if released else None if unknown else data.draw(st.integers(0, most))
        with self.database.begin() as connection:
            status = "cancelled" if released else "completed"
            end = {"status": status, "cost": cost, "provider": "fal", "ended_at": self.now}
            assert self.quotas.settle(connection, name, **end)
        self.days[day] += most if cost is None else cost

    @rule(seconds=st.integers(1, DAY))
    def wait(self, seconds):
        """Let time pass."""
        self.now += seconds

    @invariant()
    def the_budget_is_kept(self):
        """No day's costs and reservations exceed its budget."""
        sums = self.days + Counter()
        for most, day in self.running.values():
            sums[day] += most
        assert all(amount <= 100 for amount in sums.values())

    @invariant()
    def the_totals_are_the_sums(self):
        """Costs and reservations of today and of all days are those of the model."""
        running = [most for most, day in self.running.values() if day == self.today]
        with self.database.begin() as connection:
            day, total = read_balance(connection, "key_a", Limits(), self.now, ("day", "total"))
        assert (day.spent, day.reserved) == (self.days[self.today], sum(running))
        assert (total.spent, total.reserved) == (self.days.total(), sum(most for most, _ in self.running.values()))


QuotaMachine.TestCase.settings = settings(max_examples=20, stateful_step_count=20, deadline=None)
TestQuotaMachine = QuotaMachine.TestCase
