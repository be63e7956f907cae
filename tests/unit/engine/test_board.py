"""How servers share a cluster: who gets how much of the room."""

from __future__ import annotations

import pytest

from fluxvision.engine.teams import board
from fluxvision.engine.teams.board import Board, Claim, contested, crowded, share


@pytest.mark.parametrize(
    ("room", "wants", "shares"),
    [
        (4, {"a": 4}, {"a": 4}),
        (4, {"a": 4, "b": 4}, {"a": 2, "b": 2}),
        (4, {"a": 1, "b": 9}, {"a": 1, "b": 3}),
        (5, {"a": 5, "b": 5}, {"a": 2, "b": 3}),
        (9, {"a": 2, "b": 9, "c": 9}, {"a": 2, "b": 3, "c": 4}),
        (4, {"a": 0, "b": 4}, {"a": 0, "b": 4}),
        (1, {"a": 4, "b": 4}, {"a": 1, "b": 1}),
        (0, {"a": 4}, {"a": 1}),
    ],
)
def test_room_is_divided(room, wants, shares):
    """Equally; what one does not want goes to the others, and whoever wants anything may ask for one."""
    claims = {name: Claim(many, 0) for name, many in wants.items()}
    assert {name: share(room, claims, name) for name in claims} == shares


@pytest.mark.parametrize(
    ("room", "other", "expected"),
    [
        (1, Claim(1, 0), (True, True)),
        (2, Claim(1, 0), (False, True)),
        (1, Claim(1, 1), (False, False)),
        (1, Claim(0, 0), (False, False)),
        (4, Claim(4, 2), (False, True)),
    ],
)
def test_others_matter_where_they_want_more(room, other, expected):
    """Turns become short where there are fewer places than servers; shares count where another lacks something."""
    claims = {"me": Claim(4, 1), "other": other}
    assert (crowded(room, claims, "me"), contested(claims, "me")) == expected


def test_who_says_nothing_any_more_wants_nothing(monkeypatch):
    """The board forgets what was not said again, and keeps kinds of room apart."""
    now = [100.0]
    monkeypatch.setattr(board.time, "monotonic", lambda: now[0])
    made = Board()
    made.tell("a", "CPU", Claim(4, 4))
    made.tell("b", "GPU", Claim(1, 0))
    assert set(made.tell("c", "CPU", Claim(2, 0))) == {"a", "c"}
    now[0] += board.STALE + 1
    assert set(made.tell("c", "CPU", Claim(2, 0))) == {"c"}
