"""The team `ray`: an envoy, a process of its own, has the actors on a Ray cluster; jobs go through it.

Each job has a channel: batches are asked for one by one, and come in shared memory. Hanging up cancels a job.
"""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Generator, Sequence
from contextlib import closing

from fluxvision.core.errors import Unavailable
from fluxvision.engine.resample import Array
from fluxvision.engine.teams import Recipe, Terms, session
from fluxvision.engine.teams.child import Child
from fluxvision.engine.teams.errands import Job, Made, Next, Told
from fluxvision.engine.teams.fleet import CLOSED, GONE
from fluxvision.engine.teams.lending import POLL
from fluxvision.engine.teams.memory import Block
from fluxvision.engine.teams.orders import Shelf
from fluxvision.engine.teams.squad import Squad, Tell
from fluxvision.engine.teams.wire import Channel
from fluxvision.engine.tile import Stop, TileJob

LOG = logging.getLogger(__name__)
MODULE = "fluxvision.engine.teams.envoy"
NOBODY = "The process that works with the cluster cannot be started on this machine."
PATIENCE = 10.0
"""Seconds that an envoy gets to leave the cluster."""


class Cluster:
    """An envoy on a cluster, sent with the first job, and again where the one before has gone."""

    def __init__(self, terms: Terms) -> None:
        """Have workers on these terms."""
        self._terms = terms
        self._envoy: Child | None = None
        self._closed = False
        self._lock = threading.Lock()

    def crew(self, recipe: Recipe) -> Squad:
        """Return the crew of a job."""
        return Squad(self, recipe)

    def make(
        self, recipe: Recipe, work: TileJob, stop: Stop, batches: Sequence[range], tell: Tell
    ) -> Generator[list[Array], None, None]:
        """Yield the batches of a work in order; `tell` is called with what workers tell.

        Raises `Unavailable` naming the setting where there is no cluster, or where it was lost.
        """
        session.insist_on_extra()
        try:
            with closing(self._line()) as line:
                with closing(Shelf(work)) as shelf:
                    job = Job(recipe, shelf.work, shelf.names, shelf.places, tuple(batches))
                    line.send(job, [shelf.block.number])
                line.send(Next())
                for _ in batches:
                    tiles = _next(line, stop, tell)
                    line.send(Next())
                    yield tiles
        except EOFError:
            raise Unavailable(CLOSED if self._closed else GONE, param="cluster") from None

    def close(self) -> None:
        """End the envoy, and all actors with it."""
        with self._lock:
            self._closed = True
            if self._envoy is not None:
                self._envoy.end(PATIENCE)

    def _line(self) -> Channel:
        """Return a channel for a job."""
        here, there = socket.socketpair()
        try:
            with self._lock, there:
                self._at_work().channel.send(None, [there.fileno()])
        except BaseException:
            here.close()
            raise
        return Channel(here)

    def _at_work(self) -> Child:
        """Return the envoy, another one where it has gone."""
        if self._closed:
            raise Unavailable(CLOSED)
        if self._envoy is not None and self._envoy.alive:
            return self._envoy
        if self._envoy is not None:
            self._envoy.end()
        try:
            # Ray writes to stderr what it takes for the end of the world, and more than one sentence of it.
            self._envoy = Child(MODULE, quiet=True)
        except OSError as reason:
            raise Unavailable(NOBODY) from reason
        self._envoy.channel.send(self._terms)
        return self._envoy


def _next(line: Channel, stop: Stop, tell: Tell) -> list[Array]:
    """Wait for a batch; raises what the job raised there, and what `stop` raises here."""
    while True:
        while not line.ready(POLL):
            stop()
        message, numbers = line.receive()
        if isinstance(message, Told):
            tell(message.notes)
            if message.notice:
                LOG.warning("%s", message.notice)
            continue
        made: Made = message
        if made.error is not None:
            raise made.error
        room = Block(numbers[0])
        with closing(room):
            return list(room.arrays(made.places))
