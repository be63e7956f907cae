"""An amount per day that nothing exceeds."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fluxvision.accounts.budget import DAY, Budget


def test_what_is_reserved_is_gone_until_it_is_settled():
    """A reservation counts in full, then the true cost; an unknown cost counts in full for good."""
    budget = Budget(100)
    assert budget.reserve("a", 60, 0.0)
    assert budget.left(0.0) == 40
    assert not budget.reserve("b", 41, 0.0)
    budget.settle("a", 10)
    assert budget.left(0.0) == 90
    assert budget.reserve("c", 50, 0.0)
    budget.settle("c", None)
    assert budget.left(0.0) == 40


def test_work_is_settled_once():
    """A second settlement, or one of unknown work, changes nothing."""
    budget = Budget(100)
    budget.reserve("a", 60, 0.0)
    budget.settle("a", 10)
    budget.settle("a", 50)
    budget.settle("nobody", 50)
    assert budget.left(0.0) == 90


def test_each_day_of_utc_has_its_own():
    """Midnight opens a new amount; work reserved before counts on its own day, and a clock set back opens nothing."""
    budget = Budget(100)
    budget.reserve("a", 100, DAY - 1.0)
    assert budget.left(DAY - 1.0) == 0
    assert budget.left(DAY + 0.0) == 100
    budget.settle("a", 100)
    assert budget.left(DAY + 0.0) == 100
    budget.reserve("b", 70, DAY + 0.0)
    assert budget.left(0.0) == 30


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60), st.booleans()), max_size=40))
def test_a_day_never_costs_more(rows):
    """Whatever is asked for in whatever order, what was spent in a day is at most the budget."""
    budget, spent, open_ = Budget(100), 0, []
    for number, (amount, cost, late) in enumerate(rows):
        if budget.reserve(str(number), amount, 0.0):
            open_.append((str(number), min(cost, amount)))
        if open_ and not late:
            name, true = open_.pop()
            budget.settle(name, true)
            spent += true
    assert spent + sum(cost for _, cost in open_) <= 100
