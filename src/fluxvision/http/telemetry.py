"""Sends spans and the numbers of /metrics to an OpenTelemetry collector by OTLP over HTTP; needs the extra `otel`.

It is imported only where `otlp_endpoint` is set. The SDK reads the other OTEL_ variables by itself.
"""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise

from opentelemetry import trace
from opentelemetry.environment_variables import OTEL_METRICS_EXPORTER, OTEL_TRACES_EXPORTER
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.environment_variables import (
    OTEL_BSP_EXPORT_TIMEOUT,
    OTEL_BSP_MAX_EXPORT_BATCH_SIZE,
    OTEL_BSP_MAX_QUEUE_SIZE,
    OTEL_BSP_SCHEDULE_DELAY,
    OTEL_EXPORTER_OTLP_METRICS_TIMEOUT,
    OTEL_EXPORTER_OTLP_TIMEOUT,
    OTEL_EXPORTER_OTLP_TRACES_TIMEOUT,
    OTEL_METRIC_EXPORT_INTERVAL,
    OTEL_SERVICE_NAME,
)
from opentelemetry.sdk.metrics import export as otlp
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from prometheus_client import CollectorRegistry, Metric

from fluxvision.core import tracing
from fluxvision.core.errors import ConfigError

NAME = "fluxvision"
MILLISECONDS = "60000"
"""OpenTelemetry's own interval between two exports of metrics."""
NUMBERS = (
    OTEL_METRIC_EXPORT_INTERVAL,
    OTEL_BSP_SCHEDULE_DELAY,
    OTEL_BSP_EXPORT_TIMEOUT,
    OTEL_BSP_MAX_QUEUE_SIZE,
    OTEL_BSP_MAX_EXPORT_BATCH_SIZE,
    OTEL_EXPORTER_OTLP_TIMEOUT,
    OTEL_EXPORTER_OTLP_TRACES_TIMEOUT,
    OTEL_EXPORTER_OTLP_METRICS_TIMEOUT,
)
"""Variables of the SDK that are numbers."""
FLUSH_SECONDS = 2.0
"""How long the end of the process waits for the last export."""
KINDS = {"internal": trace.SpanKind.INTERNAL, "server": trace.SpanKind.SERVER, "client": trace.SpanKind.CLIENT}
HEADER = "traceparent"


class _Span:
    """A span of OpenTelemetry."""

    def __init__(self, span: trace.Span) -> None:
        self._span = span

    def set(self, name: str, value: tracing.Attribute | None) -> None:
        """Set an attribute; None is left out."""
        if value is not None:
            self._span.set_attribute(name, value)

    def rename(self, name: str) -> None:
        """Give the span another name."""
        self._span.update_name(name)


class OtelTracer:
    """Makes spans of OpenTelemetry; of an error they have the type alone, for its text may quote a prompt or a path."""

    def __init__(self, provider: TracerProvider) -> None:
        """Use a provider."""
        self._tracer = provider.get_tracer(NAME)
        self._propagator = TraceContextTextMapPropagator()

    @contextmanager
    def span(
        self, name: str, kind: tracing.Kind, parent: str, attributes: Mapping[str, tracing.Attribute]
    ) -> Iterator[tracing.Span]:
        """Return a span of the current one, or of the `traceparent` header `parent`."""
        context = self._propagator.extract({HEADER: parent}) if parent else None
        with self._tracer.start_as_current_span(
            name,
            context,
            KINDS[kind],
            attributes=dict(attributes),
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                yield _Span(span)
            except BaseException as error:
                span.set_attribute("error.type", type(error).__name__)
                span.set_status(trace.StatusCode.ERROR)
                raise

    def traceparent(self) -> str:
        """Return the current span as a `traceparent` header."""
        carrier: dict[str, str] = {}
        self._propagator.inject(carrier)
        return carrier.get(HEADER, "")


def check_environment() -> None:
    """Raise `ConfigError` for a variable of the SDK that must be a number and is none."""
    for name in NUMBERS:
        text = os.environ.get(name)
        try:
            if text is not None and not 0 < float(text) < math.inf:
                raise ValueError  # noqa: TRY301, the same sentence
        except ValueError:
            message = f"{name} must be a number above 0"
            raise ConfigError(message, param=name) from None


@contextmanager
def export(endpoint: str, registry: CollectorRegistry) -> Iterator[None]:
    """Export spans and metrics to the collector at `endpoint` until the end; requests never wait for it."""
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # a collector that is gone is no news of ours
    resource = Resource.create({} if os.environ.get(OTEL_SERVICE_NAME) else {"service.name": NAME})
    provider = None
    if os.environ.get(OTEL_TRACES_EXPORTER) != "none":
        provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(_address(endpoint, "traces"))))
        tracing.set_tracer(OtelTracer(provider))
    ended = threading.Event()
    threads = []
    if os.environ.get(OTEL_METRICS_EXPORTER) != "none":
        threads.append(
            threading.Thread(target=_export_metrics, args=(endpoint, registry, resource, ended), daemon=True)
        )
        threads[0].start()
    try:
        yield
    finally:
        ended.set()
        tracing.set_tracer(None)
        if provider is not None:
            threads.append(threading.Thread(target=provider.shutdown, daemon=True))
            threads[-1].start()
        deadline = time.monotonic() + FLUSH_SECONDS
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))


def _address(endpoint: str, signal: str) -> str | None:
    """Return where a signal is sent; None where its own variable says so."""
    if os.environ.get(f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT"):
        return None
    return f"{endpoint.rstrip('/')}/v1/{signal}"


def _export_metrics(endpoint: str, registry: CollectorRegistry, resource: Resource, ended: threading.Event) -> None:
    """Send the metrics at each interval, and once more at the end."""
    exporter = OTLPMetricExporter(_address(endpoint, "metrics"))
    seconds = float(os.environ.get(OTEL_METRIC_EXPORT_INTERVAL, MILLISECONDS)) / 1000
    started = time.time_ns()
    running = True
    while running:
        running = not ended.wait(seconds)
        metrics = [_metric(family, started, time.time_ns()) for family in registry.collect()]
        scope = otlp.ScopeMetrics(InstrumentationScope(NAME), metrics, "")
        exporter.export(otlp.MetricsData([otlp.ResourceMetrics(resource, [scope], "")]))
    exporter.shutdown()


def _metric(family: Metric, started: int, now: int) -> otlp.Metric:
    """Return a metric of the registry as OTLP has it: the same name, labels and numbers."""
    data: otlp.DataT
    if family.type == "histogram":
        data = otlp.Histogram(_histogram_points(family, started, now), otlp.AggregationTemporality.CUMULATIVE)
    else:
        is_sum = family.type == "counter"
        points = [
            otlp.NumberDataPoint(sample.labels, started, now, sample.value)
            for sample in family.samples
            if not sample.name.endswith("_created")
        ]
        total = otlp.Sum(points, otlp.AggregationTemporality.CUMULATIVE, is_monotonic=True)
        data = total if is_sum else otlp.Gauge(points)
    return otlp.Metric(family.name, family.documentation, family.unit, data)


def _histogram_points(family: Metric, started: int, now: int) -> Sequence[otlp.HistogramDataPoint]:
    """Return a point for each set of labels, with counts by bucket instead of Prometheus' running totals."""
    buckets: dict[tuple[tuple[str, str], ...], list[tuple[float, float]]] = {}
    sums: dict[tuple[tuple[str, str], ...], float] = {}
    for sample in family.samples:
        labels = tuple((name, text) for name, text in sample.labels.items() if name != "le")
        if sample.name.endswith("_bucket"):
            buckets.setdefault(labels, []).append((float(sample.labels["le"]), sample.value))
        elif sample.name.endswith("_sum"):
            sums[labels] = sample.value
    points = []
    for labels, found in buckets.items():
        totals = [0, *(round(total) for _, total in found)]
        points.append(
            otlp.HistogramDataPoint(
                dict(labels),
                started,
                now,
                totals[-1],
                sums[labels],
                [after - before for before, after in pairwise(totals)],
                [bound for bound, _ in found[:-1]],
                min=None,  # type: ignore[arg-type]  # the protocol has it as optional, and Prometheus does not know it
                max=None,  # type: ignore[arg-type]
            )
        )
    return points
