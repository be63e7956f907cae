"""Tools: the functions that the composition root passes to the command line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # not imported at run time, so that --help is fast
    from fluxvision.core.settings import Settings
    from fluxvision.gateway.gateway import Gateway


@dataclass(frozen=True, slots=True)
class Tools:
    """The parts that only the composition root can build; each is loaded when it is first called.

    `create_gateway` is called where an event loop runs. `check` raises `ConfigError` for settings that must not be
    served; `serve` does the same, tells its listener the port, and then blocks until the server has ended. `fetch`
    downloads a network's weights and returns their folder. `serve_cluster` starts the deployment on a Ray cluster at a
    host and a port with so many replicas at most, and blocks.
    """

    create_gateway: Callable[[Settings], Gateway]
    check: Callable[[Settings], None]
    serve: Callable[[Settings, Callable[[int], None]], None]
    fetch: Callable[[str], Path]
    serve_cluster: Callable[[str, int, int], None]
