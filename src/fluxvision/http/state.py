"""AppState, what all handlers share: the gateway, the stores, the limits, the clocks and the running jobs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.types import Receive, Scope, Send

from fluxvision.accounts.keys import Keys
from fluxvision.core.images import InputImage
from fluxvision.core.settings import Settings
from fluxvision.core.types import ANYBODY, Caller
from fluxvision.gateway.gateway import Gateway
from fluxvision.http.deep_zoom_cache import DeepZoomCache
from fluxvision.http.job_tracker import JobTracker
from fluxvision.http.mcp_sessions import McpSessions
from fluxvision.http.observability import Metrics, RequestRecord
from fluxvision.http.playground_limits import PlaygroundLimits
from fluxvision.http.readiness import Readiness
from fluxvision.http.upload_limits import BodyMemory, UploadLimits
from fluxvision.jobs.lazy_service import LazyJobService
from fluxvision.net.ssrf_guard import Guard
from fluxvision.storage.data_dir import DataDir
from fluxvision.storage.media import MediaStore

if TYPE_CHECKING:  # not imported at run time, because the database takes a second
    from fluxvision.accounts.service import AccountService


RECORD = "fluxvision.record"
CALLER = "fluxvision.caller"
DEPLOYMENT = "fluxvision.deployment"
"""The model that the address names, as Azure's do."""


Probe = Callable[[Path, str, bytes | None], InputImage]
"""Read a picture file's header; raises `InvalidRequest` or `PayloadTooLarge` naming the parameter.

Takes the file's path, the parameter, and the file itself where it is in memory.
"""


@dataclass(frozen=True, slots=True)
class AppState:
    """The state that all handlers share.

    `now` returns the Unix time, `media_clock` the steady time by which results expire; `openapi` is the encoded OpenAPI
    document.
    """

    gateway: Gateway
    settings: Settings
    probe: Probe
    keys: Keys
    accounts: AccountService | None
    """None where no database is configured."""
    media: MediaStore
    data_dir: DataDir
    guard: Guard
    metrics: Metrics
    log: Any
    running: JobTracker
    playground: PlaygroundLimits
    pyramids: DeepZoomCache
    memory: BodyMemory
    readiness: Readiness
    uploads: UploadLimits
    now: Callable[[], float]
    media_clock: Callable[[], float]
    openapi: bytes
    jobs: LazyJobService
    mcp: McpSessions
    batch_checks: asyncio.Semaphore = field(default_factory=partial(asyncio.Semaphore, 2))
    """Taken while the input of a batch is checked: that reads up to a gigabyte in a thread."""
    keeps_history: bool = False
    """Whether every request is noted in the database."""


Handler = Callable[[AppState, Scope, Receive, Send], Awaitable[None]]


def caller_of(scope: Mapping[str, Any]) -> Caller:
    """Return the caller of a request."""
    found: Caller = scope.get(CALLER, ANYBODY)
    return found


def record_of(scope: Mapping[str, Any]) -> RequestRecord:
    """Return the request's log record."""
    found: RequestRecord = scope[RECORD]
    return found
