"""The connection of this process to a Ray cluster: one, however many teams use it."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from importlib import import_module
from importlib.util import find_spec
from typing import Any
from urllib.parse import urlsplit

from fluxvision.core.errors import Unavailable

NO_EXTRA = "The setting cluster needs Ray: pip install 'fluxvision[cluster]'."
NOT_REACHED = "The cluster that the setting cluster names cannot be reached."
ANOTHER = "The setting cluster names another cluster than the one that this process has joined."
KNOCK = 3.0
"""Seconds that a cluster's port gets to answer; Ray itself would try for half a minute and more."""
REST = 30.0
"""Seconds after which it is tried again to reach what could not be reached."""

_lock = threading.Lock()
_users: dict[str, int] = {}
_failed: dict[str, float] = {}


def join(address: str) -> Any:
    """Return Ray, connected to the cluster at an address; "auto" is the one of this machine.

    Raises `Unavailable` naming the setting when Ray is not installed, or there is no such cluster.
    """
    insist_on_extra()
    os.environ["RAY_ENABLE_AUTO_CONNECT"] = "0"  # else a late call would start a cluster of its own on this machine
    ray: Any = import_module("ray")
    with _lock:
        if any(other != address for other in _users):
            raise Unavailable(ANOTHER, param="cluster")
        if not _users:
            _connect(ray, address)
        _users[address] = _users.get(address, 0) + 1
    return ray


def insist_on_extra() -> None:
    """Raise `Unavailable` naming the setting where Ray is not installed."""
    if find_spec("ray") is None:
        raise Unavailable(NO_EXTRA, param="cluster")


def leave(address: str) -> None:
    """Say that one of those who joined does not need the cluster any more; the last one hangs up."""
    ray: Any = import_module("ray")
    with _lock:
        _users[address] -= 1
        if not _users[address]:
            del _users[address]
            ray.shutdown()


def _connect(ray: Any, address: str) -> None:
    if time.monotonic() < _failed.get(address, 0.0):
        raise Unavailable(NOT_REACHED, param="cluster")
    try:
        _knock(address)
        try:
            _begin(ray, address)
        except ConnectionError:  # a head whose gRPC was forked at a bad moment: the next client gets another process
            ray.shutdown()
            _knock(address)
            _begin(ray, address)
    except Exception as reason:  # of many kinds, and most of them say paths and addresses
        ray.shutdown()
        _failed[address] = time.monotonic() + REST
        raise Unavailable(NOT_REACHED, param="cluster") from reason


def _begin(ray: Any, address: str) -> None:
    # No namespace is given: each connection gets one of its own, and gateways do not see each other's actors.
    ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, configure_logging=False)


def _knock(address: str) -> None:
    """Raise OSError where nothing listens at an address that has a port."""
    found = urlsplit(address if "://" in address else f"//{address}")
    if found.port is not None:
        socket.create_connection((found.hostname, found.port), KNOCK).close()
