"""The other servers on a cluster, as one of them sees them on the board."""

from __future__ import annotations

import time
from collections.abc import Mapping
from secrets import token_hex
from typing import Any

from fluxvision.engine.teams.board import Claim

NAME = "fluxvision"
"""The board's, and that of its namespace on the cluster."""
EVERY = 1.0
"""Seconds between two looks."""
FADE = 10.0
"""Seconds after which what the board said is not believed any more."""


class Neighbours:
    """Tells the board what this server wants, and keeps what it answered. Nothing waits for it."""

    def __init__(self, ray: Any, kind: str) -> None:
        """Speak of one kind of room."""
        self._ray, self._kind, self._name = ray, kind, token_hex(8)
        self._board: Any = None
        self._answer: Any = None
        self._asked = self._heard = 0.0
        self._claims: Mapping[str, Claim] = {}

    def tell(self, claim: Claim) -> tuple[str, dict[str, Claim]]:
        """Return this server's name, and what all want as far as it is known: itself at least."""
        now = time.monotonic()
        if self._answer is not None and self._ray.wait([self._answer], timeout=0)[0]:
            answer, self._answer = self._answer, None
            try:
                self._claims, self._heard = self._ray.get(answer), now
            except self._ray.exceptions.RayError:  # it ended with the server that had begun it
                self._board = None
        if self._answer is None and now - self._asked > EVERY:
            self._asked = now
            try:
                self._board = self._board or self._begun()
                self._answer = self._board.tell.remote(self._name, self._kind, claim)
            except (ValueError, self._ray.exceptions.RayError):  # its end, or another's beginning, was in between
                self._board = None
        elif self._answer is not None and now - self._asked > FADE:
            self._board = self._answer = None
        known = self._claims if now - self._heard < FADE else {}
        return self._name, {**known, self._name: claim}

    def leave(self) -> None:
        """Want nothing any more."""
        if self._board is not None:
            self._board.tell.remote(self._name, self._kind, Claim(0, 0))

    def _begun(self) -> Any:
        """Return the board, which whoever comes first begins. It ends with that server; another begins a new one."""
        from fluxvision.engine.teams.board import Board  # noqa: PLC0415, only what the cluster is sent

        wanted = self._ray.remote(Board).options(name=NAME, namespace=NAME, get_if_exists=True, num_cpus=0)
        return wanted.remote()
