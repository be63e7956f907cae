"""Messages between a process and its worker: pickled objects, and shared memory, over a pair of sockets."""

from __future__ import annotations

import pickle
import select
import socket
import struct
from collections.abc import Sequence
from typing import Any

HEADER = struct.Struct("!QB")
BLOCKS = 8
"""The most file descriptors that go with a message."""


class Channel:
    """One end. Both ends are processes of one program: what comes is trusted. A dead other end is an EOFError."""

    def __init__(self, end: socket.socket) -> None:
        """Take over a socket."""
        self.socket = end

    def send(self, message: object, numbers: Sequence[int] = ()) -> None:
        """Send an object and file descriptors."""
        body = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
        try:
            socket.send_fds(self.socket, [HEADER.pack(len(body), len(numbers))], list(numbers))
            self.socket.sendall(body)
        except OSError as reason:
            raise EOFError from reason

    def receive(self) -> tuple[Any, list[int]]:
        """Wait for an object and its file descriptors, which belong to the caller."""
        try:
            header, numbers, _, _ = socket.recv_fds(self.socket, HEADER.size, BLOCKS)
            header += self._exactly(HEADER.size - len(header)) if header else b""
        except OSError as reason:
            raise EOFError from reason
        if not header:
            raise EOFError
        return pickle.loads(self._exactly(HEADER.unpack(header)[0])), list(numbers)  # noqa: S301, of this program

    def ready(self, seconds: float) -> bool:
        """Return whether something has come, an end included."""
        poll = select.poll()
        try:
            poll.register(self.socket, select.POLLIN)
        except ValueError as reason:  # closed meanwhile
            raise EOFError from reason
        return bool(poll.poll(seconds * 1000))

    @property
    def ended(self) -> bool:
        """Whether the other end has hung up, whatever is still to be read."""
        poll = select.poll()
        try:
            poll.register(self.socket, 0)  # a hang-up is told without being asked for
        except ValueError:  # this end has
            return True
        return bool(poll.poll(0))

    def close(self) -> None:
        """Hang up."""
        self.socket.close()

    def _exactly(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            try:
                part = self.socket.recv(min(size - len(data), 1 << 20))
            except OSError as reason:
                raise EOFError from reason
            if not part:
                raise EOFError
            data += part
        return bytes(data)
