"""A worker process: `python -m fluxvision.engine.teams.worker SOCKET` makes batches until its owner hangs up."""

from __future__ import annotations

import sys
import time
from collections import deque

from fluxvision.core.errors import Cancelled
from fluxvision.engine.teams.child import owned
from fluxvision.engine.teams.memory import Block
from fluxvision.engine.teams.orders import Answer, Order, Sign, Stopped, portable, put, whole
from fluxvision.engine.teams.recipe import Maker
from fluxvision.engine.teams.wire import Channel

SIGN = 1.0
"""Seconds between two signs of life at least."""


class Inbox:
    """What has come and was not looked at yet."""

    def __init__(self, channel: Channel) -> None:
        """Listen to a channel."""
        self._channel = channel
        self._orders: deque[tuple[Order, list[Block]]] = deque()
        self._stopped = 0
        self._at = 0
        self._signed = 0.0

    def next(self) -> tuple[Order, list[Block]]:
        """Wait for the next order, and its blocks, that is still wanted. Raises EOFError when the owner has gone.

        One that was given up before it began is answered at once, as all orders are.
        """
        while True:
            self._look()
            while not self._orders:
                self._take()
            order, blocks = self._orders.popleft()
            self._at = order.number
            if self._at > self._stopped:
                return order, blocks
            for block in blocks:
                block.close()
            self._channel.send(Answer(order.number))

    def stop(self) -> None:
        """Raise `Cancelled` when the order that `next` gave is not wanted any more; tell the owner of this life."""
        self._look()
        if self._at <= self._stopped:
            raise Cancelled("The work was cancelled.")
        if time.monotonic() - self._signed > SIGN:
            self._channel.send(Sign(self._at))
            self._signed = time.monotonic()

    def _look(self) -> None:
        while self._channel.ready(0):
            self._take()

    def _take(self) -> None:
        message, numbers = self._channel.receive()
        if isinstance(message, Stopped):
            self._stopped = message.number
        else:
            self._orders.append((message, [Block(number) for number in numbers]))


def serve(channel: Channel) -> None:
    """Make batches until the owner hangs up."""
    inbox = Inbox(channel)
    maker = Maker(inbox.stop)
    while True:
        order, (pictures, room) = inbox.next()
        try:
            made = maker.make(order.recipe, whole(order.work, order.names, order.places, pictures), order.numbers)
            put(order, room, made.tiles)
            answer = Answer(order.number, notes=made.notes)
        except EOFError:
            raise
        except Exception as reason:  # noqa: BLE001, all of them belong to whoever asked
            answer = Answer(order.number, portable(reason))
        finally:
            pictures.close()
            room.close()
        channel.send(answer)


if __name__ == "__main__":
    serve(owned(int(sys.argv[1])))
