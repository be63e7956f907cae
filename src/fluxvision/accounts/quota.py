"""QuotaStore: the limits of API keys, checked and charged on the rows of requests, for all gateways of one database.

A job reserves the most that it can cost when it is admitted, and is settled with its cost when it has ended. The
reservations and costs of a period together never exceed the key's budget, as long as no job costs more than it
reserved. A job counts in the day and month in which it was admitted.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Integer, cast, func, insert, literal, select, update

from fluxvision.accounts.key_types import PERIODS, Grouping, PeriodBalance, UsageRow
from fluxvision.accounts.spending import DAY, add_spending, read_balance
from fluxvision.core.errors import InsufficientBalance, TooMany
from fluxvision.core.job_status import ACTIVE, QUEUED
from fluxvision.core.key_limits import Limits, RequestRate
from fluxvision.core.money import format_amount
from fluxvision.storage.database import Database
from fluxvision.storage.tables import API_KEYS, REQUESTS

MINUTE = 60.0
RECENT = 10
"""Ended jobs of a key from which the duration of its next one is estimated."""
UNKNOWN_SECONDS = 5.0
"""Estimated duration of a job of a key without any ended ones."""


class QuotaStore:
    """Admits and settles the jobs of API keys, and tells what they have used."""

    def __init__(self, database: Database, now: Callable[[], float]) -> None:
        """Use the rows of a database; `now` returns the Unix time."""
        self._database = database
        self._now = now

    def admit(
        self,
        connection: Connection,
        *,
        request_id: str,
        key_id: str,
        model: str,
        reserved: int,
        limits: Limits,
        now: float,
        **columns: Any,
    ) -> RequestRate | None:
        """Insert a job's row if the key's limits allow it, inside a transaction that the caller has begun.

        `reserved` is the most that the job can cost, `columns` are further ones of the row. Returns the rate of a key
        with such a limit. Raises `TooMany` or `InsufficientBalance`, with nothing inserted.
        """
        rate = None
        if limits != Limits():
            if self._database.locks_rows:  # the key's other jobs wait here; SQLite has one writer anyway
                connection.execute(select(API_KEYS.c.id).where(API_KEYS.c.id == key_id).with_for_update())
            rate = _check_rate(connection, key_id, limits, now)
            _check_parallel(connection, key_id, limits, now, rate)
            _check_budgets(connection, key_id, limits, now, reserved)
        connection.execute(
            insert(REQUESTS).values(
                **{"status": QUEUED, **columns},
                id=request_id,
                key_id=key_id,
                model=model,
                reserved=reserved,
                created_at=now,
            )
        )
        add_spending(connection, key_id, now, reserved=reserved)
        return rate

    def settle(
        self,
        connection: Connection,
        request_id: str,
        *,
        status: str,
        cost: int | None,
        provider: str | None,
        ended_at: float,
        **columns: Any,
    ) -> bool:
        """Replace a job's reservation by its cost; None: unknown, the whole reservation counts.

        Returns False, and changes nothing, where there is no such job or it has ended already.
        """
        active = (REQUESTS.c.id == request_id) & REQUESTS.c.status.in_(ACTIVE)
        facts = select(REQUESTS.c.key_id, REQUESTS.c.created_at, REQUESTS.c.reserved).where(active)
        job = connection.execute(facts.with_for_update()).one_or_none()  # SQLite has no such lock, and one writer
        if job is None:
            return False
        cost = job.reserved if cost is None else cost
        end = {"status": status, "cost": cost, "reserved": 0, "provider": provider, "ended_at": ended_at}
        connection.execute(update(REQUESTS).where(active).values({**columns, **end}))
        add_spending(connection, job.key_id, job.created_at, spent=cost, reserved=-job.reserved)
        return True

    async def balance(self, key_id: str, limits: Limits) -> list[PeriodBalance]:
        """Return what a key has used of each budget, including periods without a limit."""
        now = self._now()
        return await self._database.run(lambda connection: read_balance(connection, key_id, limits, now, PERIODS))

    async def usage(
        self, key_id: str | None, group_by: Grouping, start: float = 0.0, end: float = math.inf
    ) -> list[UsageRow]:
        """Return the requests admitted from `start` until before `end`, of one key or (None) of all, by group."""
        group = self._group(group_by)
        rows = select(group, func.count(), func.sum(REQUESTS.c.cost)).group_by(group).order_by(group)
        rows = rows.where(REQUESTS.c.created_at >= start, REQUESTS.c.created_at < end)
        rows = rows if key_id is None else rows.where(REQUESTS.c.key_id == key_id)
        found = await self._database.run(lambda connection: connection.execute(rows).all())
        return [UsageRow(_group_name(group_by, name), requests, int(cost)) for name, requests, cost in found]

    def _group(self, group_by: Grouping) -> ColumnElement[Any]:
        if group_by != "day":
            columns = {"model": REQUESTS.c.model, "provider": REQUESTS.c.provider, "key": REQUESTS.c.key_id}
            return columns[group_by]
        days = REQUESTS.c.created_at / literal(DAY, Integer)
        # PostgreSQL's cast rounds, and not every SQLite has a floor.
        return cast(func.floor(days) if self._database.locks_rows else days, Integer)


def _check_rate(connection: Connection, key_id: str, limits: Limits, now: float) -> RequestRate | None:
    """Return the rate after one more request, None without such a limit; raises `TooMany`."""
    if limits.per_minute is None:
        return None
    recent = (
        select(REQUESTS.c.created_at)
        .where(REQUESTS.c.key_id == key_id, REQUESTS.c.created_at > now - MINUTE)
        .order_by(REQUESTS.c.created_at.desc())
        .limit(limits.per_minute)
    )
    times = connection.execute(recent).scalars().all()
    if len(times) < limits.per_minute:
        return RequestRate(limits.per_minute, limits.per_minute - len(times) - 1, MINUTE)
    wait = (times[-1] if times else now) + MINUTE - now
    message = f"This key may make {limits.per_minute} requests per minute; try again in {math.ceil(wait)} s."
    error = TooMany(message, retry_after=wait)
    error.rate = RequestRate(limits.per_minute, 0, (times[0] if times else now) + MINUTE - now)
    raise error


def _check_parallel(connection: Connection, key_id: str, limits: Limits, now: float, rate: RequestRate | None) -> None:
    """Raise `TooMany` where the key's jobs fill its places; the wait is estimated from its last jobs."""
    if limits.parallel is None:
        return
    active = select(func.count(), func.min(REQUESTS.c.created_at)).where(
        REQUESTS.c.key_id == key_id, REQUESTS.c.status.in_(ACTIVE)
    )
    count, oldest = connection.execute(active).one()
    if count < limits.parallel:
        return
    ended = (
        select((REQUESTS.c.ended_at - REQUESTS.c.created_at).label("seconds"))
        .where(REQUESTS.c.key_id == key_id, REQUESTS.c.ended_at.is_not(None))
        .order_by(REQUESTS.c.created_at.desc())
        .limit(RECENT)
    )
    usual = connection.execute(select(func.avg(ended.subquery().c.seconds))).scalar()
    wait = (UNKNOWN_SECONDS if usual is None else usual) - (now - (now if oldest is None else oldest))
    message = f"This key may have {limits.parallel} jobs at the same time; try again when one of them has ended."
    error = TooMany(message, retry_after=max(1.0, wait))
    error.rate = rate and RequestRate(rate.limit, rate.remaining + 1, rate.reset)
    raise error


def _check_budgets(connection: Connection, key_id: str, limits: Limits, now: float, reserved: int) -> None:
    """Raise `InsufficientBalance` where one of the budgets has less left than the job may cost."""
    periods = tuple(period for period in PERIODS if getattr(limits, f"budget_{period}") is not None)
    if not periods or not reserved:
        return
    for budget in read_balance(connection, key_id, limits, now, periods):
        if budget.left is not None and reserved > budget.left:
            within = {"day": "today (UTC)", "month": "this month (UTC)", "total": "in all"}[budget.period]
            message = (
                f"This request may cost {format_amount(reserved)}, and this key may spend "
                f"{format_amount(budget.left)} more {within}. Nothing was started and nothing was charged."
            )
            raise InsufficientBalance(message)


def _group_name(group_by: Grouping, value: Any) -> str:
    if group_by == "day":
        return datetime.fromtimestamp(value * DAY, UTC).date().isoformat()
    return value or ""
