"""ExecutionContext: the resources and limits that all jobs of a gateway share."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from fluxvision.catalog.params import Param
from fluxvision.gateway.circuit_breaker import CircuitBreakers
from fluxvision.gateway.fair_queue import FairQueue
from fluxvision.gateway.resource_estimate import JobMemoryBudget
from fluxvision.providers.registry import Provider
from fluxvision.storage.disk_budget import DiskBudget


@dataclass(frozen=True, slots=True)
class ExecutionContext:
    """Resources and settings that all jobs of a gateway share."""

    pool: ThreadPoolExecutor
    """Threads that prepare and finish pictures."""
    health: CircuitBreakers
    rows: Mapping[str, Sequence[Param]]
    """Public parameters by model id."""
    timeout: float
    """Seconds of one attempt at a remote provider."""
    deadline: float
    """Seconds of a whole job."""
    providers: Mapping[str, Provider] = field(default_factory=dict)
    queues: Mapping[str, FairQueue] = field(default_factory=dict)
    threads: int = 0
    """Threads of the engine when the gateway itself enlarges a picture; 0: one per core."""
    draw: Callable[[int], int] = secrets.randbelow
    """Returns a random number below its argument."""
    disk: DiskBudget = field(default_factory=DiskBudget)
    memory: JobMemoryBudget = field(default_factory=lambda: JobMemoryBudget(sys.maxsize))
