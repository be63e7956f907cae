"""Budget: limits the spending per day; amounts are reserved before the work and settled when the cost is known."""

from __future__ import annotations

DAY = 86_400


class Budget:
    """A budget of micro-dollars per day (UTC), kept in memory.

    Spent and reserved amounts together never exceed it, as long as no work costs more than its reservation. Work counts
    on the day of its reservation.
    """

    def __init__(self, per_day: int) -> None:
        """Allow `per_day` micro-dollars each day."""
        self.per_day = per_day
        self._day = 0
        self._spent = 0
        self._held: dict[str, tuple[int, int]] = {}

    def left(self, now: float) -> int:
        """Return the micro-dollars that are neither spent nor reserved on the day of `now` (Unix time)."""
        day = int(now // DAY)
        if day > self._day:  # setting the clock back does not start a new day
            self._day, self._spent = day, 0
        held = sum(amount for reserved, amount in self._held.values() if reserved == self._day)
        return max(0, self.per_day - self._spent - held)

    def reserve(self, name: str, amount: int, now: float) -> bool:
        """Reserve micro-dollars for the work `name`; return False, without a reservation, when less is left."""
        if amount > self.left(now):
            return False
        self._held[name] = (self._day, amount)
        return True

    def settle(self, name: str, cost: int | None) -> None:
        """Replace the reservation of the work `name` by its cost; None: unknown, the whole reservation counts.

        Does nothing without a reservation.
        """
        day, amount = self._held.pop(name, (-1, 0))
        if day == self._day:
            self._spent += amount if cost is None else cost
