"""A worker process: `python -m fluxvision.engine.teams.worker SOCKET` makes batches until its owner hangs up."""

from __future__ import annotations

import os
import pickle
import select
import signal
import socket
import sys
import threading
from collections import deque

from fluxvision.engine.teams.memory import Block
from fluxvision.engine.teams.orders import Answer, Order, Stopped, put, whole
from fluxvision.engine.teams.recipe import Maker
from fluxvision.engine.teams.wire import Channel
from fluxvision.errors import Cancelled


class Inbox:
    """What has come and was not looked at yet."""

    def __init__(self, channel: Channel) -> None:
        """Listen to a channel."""
        self._channel = channel
        self._orders: deque[tuple[Order, list[Block]]] = deque()
        self._stopped = 0
        self._at = 0

    def next(self) -> tuple[Order, list[Block]]:
        """Wait for the next order, and its blocks, that is still wanted. Raises EOFError when the owner has gone."""
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

    def stop(self) -> None:
        """Raise `Cancelled` when the order that `next` gave is not wanted any more."""
        self._look()
        if self._at <= self._stopped:
            raise Cancelled("The work was cancelled.")

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
            put(order, room, maker.make(order.recipe, whole(order, pictures), order.numbers))
            error = None
        except EOFError:
            raise
        except Exception as reason:  # noqa: BLE001, all of them belong to whoever asked
            error = _portable(reason)
        finally:
            pictures.close()
            room.close()
        channel.send(Answer(order.number, error))


def _portable(error: Exception) -> Exception:
    """Return the error, or one that says its kind where it cannot be sent."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301, made one line before
    except Exception:  # noqa: BLE001, foreign errors fail in all ways
        return RuntimeError(type(error).__name__)
    return error


def _leave_with(owner: socket.socket) -> None:
    """End this process at once when the other end hangs up, whatever it is at."""
    poll = select.poll()
    poll.register(owner, 0)  # a hang-up is told without being asked for
    poll.poll()
    os._exit(0)


def main(number: int) -> None:
    """Serve the owner at the other end of an inherited socket."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the owner's business
    end = socket.socket(fileno=number)
    threading.Thread(target=_leave_with, args=(end,), daemon=True).start()
    serve(Channel(end))


if __name__ == "__main__":
    main(int(sys.argv[1]))
