"""Running totals of what each key has spent and reserved on each day (UTC), so that no budget is added up of requests.

A total changes in the transaction that changes the request, so both always agree. A job counts on the day, and so in
the month, in which it was admitted.
"""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import Connection, case, func, select
from sqlalchemy.dialects import postgresql, sqlite

from fluxvision.accounts.key_types import Period, PeriodBalance
from fluxvision.core.key_limits import Limits
from fluxvision.storage.tables import SPENDING

DAY = 86_400


def add_spending(connection: Connection, key_id: str, admitted_at: float, *, spent: int = 0, reserved: int = 0) -> None:
    """Add to the totals of a key on the day of a job's admission; `reserved` is negative where it is released."""
    if not (spent or reserved):
        return
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    row = insert(SPENDING).values(key_id=key_id, day=int(admitted_at // DAY), spent=spent, reserved=reserved)
    totals = {"spent": SPENDING.c.spent + row.excluded.spent, "reserved": SPENDING.c.reserved + row.excluded.reserved}
    connection.execute(row.on_conflict_do_update(index_elements=SPENDING.primary_key, set_=totals))


def read_balance(
    connection: Connection, key_id: str, limits: Limits, now: float, periods: tuple[Period, ...]
) -> list[PeriodBalance]:
    """Return what a key has used of the budgets of some periods at the time `now`."""
    start = {"day": now // DAY, "month": _month_start(now) // DAY, "total": 0}
    sums = [
        func.coalesce(func.sum(case((SPENDING.c.day >= int(start[period]), column), else_=0)), 0)
        for period in periods
        for column in (SPENDING.c.spent, SPENDING.c.reserved)
    ]
    earliest = int(min(start[period] for period in periods))
    rows = select(*sums).where(SPENDING.c.key_id == key_id, SPENDING.c.day >= earliest)
    found = [int(amount) for amount in connection.execute(rows).one()]
    return [
        PeriodBalance(period, getattr(limits, f"budget_{period}"), *found[2 * number : 2 * number + 2])
        for number, period in enumerate(periods)
    ]


def _month_start(now: float) -> float:
    """Return the first moment of the month (UTC) of a Unix time."""
    return datetime.fromtimestamp(now, UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0).timestamp()
