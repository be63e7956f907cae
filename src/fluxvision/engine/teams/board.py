"""How servers that know nothing of each other share the room of a cluster: each says what it wants, on one board."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

STALE = 10.0
"""Seconds after which nobody wants any more what was not said again."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What one server wants of a kind of room, and has: workers, as many as it has work for, 0 when it has none."""

    wants: int
    has: int


class Board:
    """Runs once on a cluster, as an actor with a name. It knows nothing of Ray."""

    def __init__(self) -> None:
        """Begin with nobody."""
        self._claims: dict[str, tuple[float, str, Claim]] = {}

    def tell(self, name: str, kind: str, claim: Claim) -> dict[str, Claim]:
        """Take what a server says, and return what all say of this kind of room."""
        now = time.monotonic()
        self._claims[name] = now, kind, claim
        self._claims = {one: told for one, told in self._claims.items() if now - told[0] < STALE}
        return {one: told for one, (_, of, told) in self._claims.items() if of == kind}


def share(room: int, claims: Mapping[str, Claim], name: str) -> int:
    """Return how many of `room` workers a server may have.

    Nobody gets more than it wants, and what one does not want is divided among the others. Whoever wants anything gets
    one at least, though there be no room for it: it then waits for its turn.
    """
    wanting = sorted((claim.wants, one) for one, claim in claims.items() if claim.wants)
    for index, (wants, one) in enumerate(wanting):
        left = len(wanting) - index
        fair = min(wants, room // left)
        if one == name:
            return max(1, fair)
        room -= fair
    return 0


def crowded(room: int, claims: Mapping[str, Claim], name: str) -> bool:
    """Tell whether there are more servers than places, and another one than this has none."""
    wanting = {one: claim for one, claim in claims.items() if claim.wants}
    return len(wanting) > room and any(not claim.has for one, claim in wanting.items() if one != name)


def contested(claims: Mapping[str, Claim], name: str) -> bool:
    """Tell whether another server wants more than it has."""
    return any(claim.wants > claim.has for one, claim in claims.items() if one != name)
