"""Dependencies: the functions that the composition root passes to the command line."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # not imported at run time, so that --help is fast
    from fluxvision.core.settings import Settings
    from fluxvision.gateway.gateway import Gateway
    from fluxvision.storage.database import Database


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report of `fluxvision doctor`."""

    section: str
    name: str
    value: str
    ok: bool = True
    """False for what does not work or is missing."""
    command: str = ""
    """What brings it, "" where there is no such command."""
    essential: bool = False
    """Whether nothing works without it."""


@dataclass(frozen=True, slots=True)
class Dependencies:
    """Functions that only the composition root can build; each imports its part when it is first called."""

    create_gateway: Callable[[Settings], Gateway]
    """Builds the gateway; called inside an event loop."""
    check: Callable[[Settings], None]
    """Raises `ConfigError` for settings with which the server must not start."""
    serve: Callable[[Settings, Callable[[int], None]], None]
    """Checks the settings, calls its second argument with the port, and blocks until the server has ended."""
    fetch: Callable[[str], Path]
    """Downloads a network's weights and returns their folder."""
    serve_cluster: Callable[[str, int, int], None]
    """Starts the deployment on a Ray cluster, given host, port and most replicas, and blocks."""
    serve_mcp: Callable[[str, str], None]
    """Serves MCP on standard input and output, given a server's address ("": this process) and a key."""
    open_database: Callable[[Settings], Database | None]
    """Opens the database, which is made in the data folder if necessary; None where the settings name none."""
    diagnose: Callable[[Settings], Iterable[Finding]]
    """Examines this machine."""
