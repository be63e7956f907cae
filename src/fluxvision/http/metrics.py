"""The numbers of /metrics, on a registry of their own."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from fluxvision.core.types import Attempt, Delivery

SECONDS = (0.005, 0.025, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1200)


class Metrics:
    """Requests by route and status, their duration, the work at hand, and what the providers did."""

    def __init__(self, workers: int) -> None:
        """Start every number at nothing; `workers` jobs run at once, further ones are queued."""
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

    def delivery(self, delivery: Delivery) -> None:
        """Count what a job delivered and which attempts it took."""
        self._megapixels.inc(sum(picture.width * picture.height for picture in delivery.pictures) / 1e6)
        self.attempts(delivery.attempts)

    def attempts(self, made: Iterable[Attempt]) -> None:
        """Count tries at providers, and what they cost."""
        for attempt in made:
            self._cost(attempt.provider).inc((attempt.cost or 0) / 1e6)
            self._attempts(attempt.provider, attempt.outcome).inc()

    def text(self) -> bytes:
        """Return the page that Prometheus reads."""
        return generate_latest(self.registry)
