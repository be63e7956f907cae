"""The JSON log, also of C libraries and the HTTP server, and the metrics."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from traceback import walk_tb
from typing import Any, TextIO

import msgspec
import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from fluxvision.core.key_limits import RequestRate
from fluxvision.core.types import Attempt, JobResult
from fluxvision.imaging import vips_warnings

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}


@dataclass(slots=True)
class RequestRecord:
    """Facts for a request's log line and metrics; the handlers fill them in."""

    request_id: str
    received_at: float = 0.0
    """Unix time of its headers."""
    model: str | None = None
    provider: str | None = None
    cost: int | None = None
    attempts: Sequence[Attempt] = ()
    replayed: bool = False
    """Whether the answer is that of an earlier request."""
    rate: RequestRate | None = None
    """How much of the key's requests per minute is left, where it has such a limit."""


def create_logger(level: str, stream: TextIO | None = None) -> Any:
    """Return a logger that writes JSON lines; `level` is one of debug, info, warning, error."""
    return structlog.wrap_logger(
        structlog.WriteLogger(stream or sys.stderr),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(serializer=_write_line),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS.get(level, LEVELS["info"])),
    ).bind()  # otherwise every line would assemble a logger of its own


class _LibraryHandler(logging.Handler):
    """Writes a record of `vips_warnings.LOGGER` as a line of the JSON log."""

    def __init__(self, log: Any) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        self._log.warning("library", domain=record.__dict__["domain"], severity=record.__dict__["severity"])


@contextmanager
def capture_libraries(log: Any) -> Iterator[None]:
    """Log that a C library sent a warning or worse: its name and how severe it is, not the text."""
    handler = _LibraryHandler(log)
    vips_warnings.LOGGER.addHandler(handler)
    try:
        yield
    finally:
        vips_warnings.LOGGER.removeHandler(handler)


def format_trace(error: BaseException) -> list[str]:
    """Return an unexpected error as its types and places in the code.

    Messages and local variables are left out, because they may quote a prompt, a key or a path.
    """
    lines: list[str] = []
    following: BaseException | None = error
    while following is not None:
        lines.append(type(following).__qualname__)
        for frame, number in walk_tb(following.__traceback__):
            code = frame.f_code
            lines.append(f"{Path(code.co_filename).name}:{number} {code.co_qualname}")
        following = following.__cause__ or following.__context__
    return lines


def _write_line(event: MutableMapping[str, Any], **_options: Any) -> str:
    return msgspec.json.encode(event, enc_hook=str).decode()


SECONDS = (0.005, 0.025, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1200)


class Metrics:
    """Requests by route and status, their duration, running jobs, and the attempts and costs of providers."""

    def __init__(self, workers: int) -> None:
        """Start all metrics at zero; `workers` jobs run at once, further ones are queued."""
        self.registry = CollectorRegistry()
        self._workers = workers
        self._jobs = 0
        requests = Counter(
            "fluxvision_requests", "Requests by route and status.", ("route", "status"), registry=self.registry
        )
        seconds = Histogram(
            "fluxvision_request_seconds", "Duration of requests.", ("route",), buckets=SECONDS, registry=self.registry
        )
        running = Gauge("fluxvision_jobs_running", "Jobs that are worked on.", registry=self.registry)
        running.set_function(lambda: min(self._jobs, self._workers))
        queued = Gauge("fluxvision_jobs_queued", "Jobs that wait for a worker.", registry=self.registry)
        queued.set_function(lambda: max(0, self._jobs - self._workers))
        self._megapixels = Counter("fluxvision_output_megapixels", "Delivered megapixels.", registry=self.registry)
        cost = Counter("fluxvision_cost_dollars", "Dollars spent.", ("provider",), registry=self.registry)
        attempts = Counter(
            "fluxvision_attempts", "Tries at a provider by outcome.", ("provider", "outcome"), registry=self.registry
        )
        # A number is found by its labels under a lock; the few that there are, are found once.
        self._requests, self._seconds = cache(requests.labels), cache(seconds.labels)
        self._cost, self._attempts = cache(cost.labels), cache(attempts.labels)

    def request(self, route: str, status: int, seconds: float) -> None:
        """Count one finished request."""
        self._requests(route, str(status)).inc()
        self._seconds(route).observe(seconds)

    def job(self, change: int) -> None:
        """Count a job that begins (+1) or ends (-1)."""
        self._jobs += change

    def delivery(self, delivery: JobResult) -> None:
        """Count the results and attempts of a job."""
        self._megapixels.inc(sum(picture.width * picture.height for picture in delivery.pictures) / 1e6)
        self.attempts(delivery.attempts)

    def attempts(self, made: Iterable[Attempt]) -> None:
        """Count attempts at providers, and their cost."""
        for attempt in made:
            self._cost(attempt.provider).inc((attempt.cost or 0) / 1e6)
            self._attempts(attempt.provider, attempt.outcome).inc()

    def text(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self.registry)
