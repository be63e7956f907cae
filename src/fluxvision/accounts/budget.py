"""What may be spent on one day: an amount is reserved before it can be spent, and settled when the bill is known."""

from __future__ import annotations

DAY = 86_400


class Budget:
    """An amount of micro-dollars for each day of UTC, kept in memory.

    What is spent and what is reserved never exceed it together, as long as no work costs more than it reserved. Work
    counts on the day on which it was reserved.
    """

    def __init__(self, per_day: int) -> None:
        """Allow `per_day` micro-dollars each day."""
        self.per_day = per_day
        self._day = 0
        self._spent = 0
        self._held: dict[str, tuple[int, int]] = {}

    def left(self, now: float) -> int:
        """Return what is neither spent nor reserved on the day of `now`."""
        day = int(now // DAY)
        if day > self._day:  # a clock that is set back opens no new day
            self._day, self._spent = day, 0
        held = sum(amount for reserved, amount in self._held.values() if reserved == self._day)
        return max(0, self.per_day - self._spent - held)

    def reserve(self, name: str, amount: int, now: float) -> bool:
        """Keep an amount for the work `name`; return False, and keep nothing, where less is left."""
        if amount > self.left(now):
            return False
        self._held[name] = (self._day, amount)
        return True

    def settle(self, name: str, cost: int | None) -> None:
        """Replace what was kept for the work by what it cost, None where nobody knows: then all of it counts.

        Work for which nothing is kept changes nothing.
        """
        day, amount = self._held.pop(name, (-1, 0))
        if day == self._day:
            self._spent += amount if cost is None else cost
