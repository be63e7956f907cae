"""The process that is on the cluster for a server: `python -m fluxvision.engine.teams.envoy SOCKET`.

Ray ends its own process when the cluster is lost, or waits for ever. Here it may: the server sees that its envoy has
gone, says so in one sentence, and sends another one with the next job.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from contextlib import closing, suppress

from fluxvision.core.errors import Cancelled
from fluxvision.engine.resample import Array
from fluxvision.engine.teams.child import owned
from fluxvision.engine.teams.errands import Made, Told
from fluxvision.engine.teams.fleet import Fleet
from fluxvision.engine.teams.memory import Block, layout
from fluxvision.engine.teams.orders import portable, whole
from fluxvision.engine.teams.recipe import Notes
from fluxvision.engine.teams.wire import Channel

LOOK = 0.5
"""Seconds between two looks whether the cluster still answers."""
LEAVE = 3.0
"""Seconds for a farewell to the cluster."""


class Line:
    """The channel of one job. It may be used from many threads."""

    def __init__(self, channel: Channel, fleet: Fleet) -> None:
        """Take over a channel."""
        self._channel, self._fleet = channel, fleet
        self._lock = threading.Lock()
        self._notice = ""
        self._told: set[tuple[str, str]] = set()

    def serve(self) -> None:
        """Do the job."""
        with closing(self._channel), suppress(EOFError):
            job, numbers = self._channel.receive()
            pictures = Block(numbers[0])
            work = whole(job.work, job.names, job.places, pictures)
            pictures.close()
            try:
                with closing(self._fleet.make(job.recipe, work, self._stop, job.batches, self._tell)) as batches:
                    self._channel.receive()
                    for tiles in batches:
                        self._send(tiles)
                        self._channel.receive()
            except Cancelled:  # nobody is there to be told
                return
            except Exception as reason:  # noqa: BLE001, all of them belong to whoever asked
                with self._lock:
                    self._channel.send(Made(error=portable(reason)))

    def _send(self, tiles: list[Array]) -> None:
        places = layout([(tile.shape, tile.dtype.str) for tile in tiles])
        room = Block.fresh(places)
        try:
            for target, tile in zip(room.arrays(places), tiles, strict=True):
                target[...] = tile
            with self._lock:
                self._channel.send(Made(places), [room.number])
        finally:
            room.close()

    def _tell(self, notes: Notes) -> None:
        with self._lock:
            fresh = tuple(note for note in notes if note not in self._told)
            self._told.update(fresh)
            if fresh:
                self._channel.send(Told(fresh))

    def _stop(self) -> None:
        if self._channel.ended:
            raise Cancelled("The work was cancelled.")
        with self._lock:
            notice = self._fleet.notice
            if notice and notice != self._notice:
                self._channel.send(Told(notice=notice))
            self._notice = notice


def _watch(fleet: Fleet) -> None:
    """End this process when the cluster has owed an answer for too long."""
    while not fleet.overdue:
        time.sleep(LOOK)
    os._exit(1)


def main(number: int) -> None:
    """Serve the owner at the other end of an inherited socket."""
    fleets: list[Fleet] = []

    def leave() -> None:
        for fleet in fleets:
            ending = threading.Thread(target=fleet.close, daemon=True)
            ending.start()
            ending.join(LEAVE)

    control = owned(number, leave)
    fleet = Fleet(control.receive()[0])
    fleets.append(fleet)
    threading.Thread(target=_watch, args=(fleet,), daemon=True).start()
    while True:
        for end in control.receive()[1]:
            line = Line(Channel(socket.socket(fileno=end)), fleet)
            threading.Thread(target=line.serve, daemon=True).start()


if __name__ == "__main__":
    with suppress(EOFError):
        main(int(sys.argv[1]))
    threading.Event().wait()  # who watches the owner ends this process
