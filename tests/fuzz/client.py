"""Plays a script on a connection of its own and reads what comes back."""

from __future__ import annotations

import http.client
import io
import socket
import struct
import time

from fakes.server import PATIENCE, Answer
from fuzz.wire import Act, Read, Script

GLANCE = 4.0
"""Seconds for an answer that need not come: more than the server waits for the rest of a body."""


class Hang(Exception):
    """No answer came, and the connection was not closed either."""


class _Stream(io.BufferedReader):
    """A connection's bytes, which one answer leaves open for the next."""

    def makefile(self, *_how: object) -> _Stream:
        """Return itself: what `http.client` asks a socket for."""
        return self

    def close(self) -> None:
        """Stay open: the socket is closed by whoever opened it."""


def play(script: Script, port: int, patience: float = PATIENCE) -> list[Answer]:
    """Play a script; return the answers that were read to their ends."""
    with socket.create_connection(("127.0.0.1", port), timeout=patience) as connection:
        try:
            if _send(script, connection):
                return []
        except OSError:
            pass  # the server has closed the connection; its answer may be there all the same
        must = script.answers > 0
        connection.settimeout(patience if must else GLANCE)
        return _answers(script, connection, must=must)


def _send(script: Script, connection: socket.socket) -> bool:
    """Go through the steps; return whether the caller has left."""
    for step in script.steps:
        if isinstance(step, bytes):
            connection.sendall(step)
        elif isinstance(step, float):
            time.sleep(step)
        elif isinstance(step, Read):
            connection.recv(step.size)
        elif step is Act.HALF_CLOSE:
            connection.shutdown(socket.SHUT_WR)
        else:
            if step is Act.RESET:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return True
    return False


def _answers(script: Script, connection: socket.socket, *, must: bool) -> list[Answer]:
    stream = _Stream(socket.SocketIO(connection, "r"))
    found: list[Answer] = []
    try:
        while not (must and len(found) == script.answers):
            if not must and len(found) == 1 and script.answers == 0:
                connection.settimeout(0.3)  # more may come, of a pipeline
            response = http.client.HTTPResponse(stream, method=script.method)
            response.begin()
            names = {name.lower(): value for name, value in response.getheaders()}
            found.append(Answer(response.status, names, response.read()))
    except TimeoutError:
        if must:
            raise Hang from None
    except (http.client.HTTPException, ConnectionResetError, BrokenPipeError, ValueError):
        pass
    return found
