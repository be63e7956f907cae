"""The running totals of keys, with SQLite and PostgreSQL."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from fluxvision.accounts.key_types import PERIODS
from fluxvision.accounts.spending import DAY, add_spending, read_balance
from fluxvision.core.key_limits import Limits

NOW = datetime(2026, 3, 15, 12, tzinfo=UTC).timestamp()
FIRST = datetime(2026, 3, 1, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("admitted_at", "spent"),
    [
        (NOW // DAY * DAY, [5, 5, 5]),
        (NOW // DAY * DAY - 0.1, [0, 5, 5]),
        (FIRST, [0, 5, 5]),
        (FIRST - 0.1, [0, 0, 5]),
        (0.0, [0, 0, 5]),
    ],
)
def test_a_cost_counts_in_the_periods_of_its_admission(database, admitted_at, spent):
    """A job counts in the day and the month (UTC) of its admission, and always in all."""
    with database.begin() as connection:
        add_spending(connection, "key_a", admitted_at, reserved=9)
        add_spending(connection, "key_a", admitted_at, spent=5, reserved=-9)
        add_spending(connection, "key_b", admitted_at, spent=100)
        found = read_balance(connection, "key_a", Limits(budget_day=7), NOW, PERIODS)
    assert [one.spent for one in found] == spent
    assert [one.reserved for one in found] == [0, 0, 0]
    assert [one.left for one in found] == [7 - spent[0], None, None]
