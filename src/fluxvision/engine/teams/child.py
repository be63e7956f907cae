"""A process that this one starts to have work done: how it begins, and how it ends with the other."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from types import MappingProxyType

from fluxvision.engine.teams.wire import Channel

PATIENCE = 5.0
"""Seconds that a child gets to end by itself."""
NOTHING: Mapping[str, str] = MappingProxyType({})


class Child:
    """`python -m MODULE SOCKET`, and a channel to it; it ends when its owner hangs up, or dies."""

    def __init__(self, module: str, environment: Mapping[str, str] = NOTHING, *, quiet: bool = False) -> None:
        """Start it, with this process's environment and more; `quiet`: what it writes to stderr is nobody's business.

        Raises OSError where the system has no room for it.
        """
        here, there = socket.socketpair()
        paths = {"PYTHONPATH": os.pathsep.join(sys.path)}  # it finds what this process finds
        try:
            self.process = subprocess.Popen(  # noqa: S603, this program itself
                [sys.executable, "-P", "-m", module, str(there.fileno())],
                env={**os.environ, **paths, **environment},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,  # this process may be writing a picture there
                stderr=subprocess.DEVNULL if quiet else None,
                pass_fds=[there.fileno()],
            )
        except OSError:
            here.close()
            raise
        finally:
            there.close()
        self.channel = Channel(here)

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self.process.poll() is None

    def end(self, patience: float = PATIENCE) -> None:
        """End the process, by force where it does not go by itself."""
        self.channel.close()
        try:
            self.process.wait(patience)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def owned(number: int, leave: Callable[[], object] = lambda: None) -> Channel:
    """Return the channel to the owner of this child, the inherited socket of this number.

    When the owner hangs up `leave` is called, and the process ends, whatever it is at.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the owner's business
    end = socket.socket(fileno=number)
    threading.Thread(target=_leave_with, args=(end, leave), daemon=True).start()
    return Channel(end)


def _leave_with(owner: socket.socket, leave: Callable[[], object]) -> None:
    poll = select.poll()
    poll.register(owner, 0)  # a hang-up is told without being asked for
    poll.poll()
    try:
        leave()
    finally:
        os._exit(0)
