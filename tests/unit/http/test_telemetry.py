"""Spans and metrics by OTLP: what a collector gets, and what it does not."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from fakes.collector import Collector
from fakes.gateway import png
from fakes.openai import FakeOpenAI
from fakes.server import Server, free_port, wait_until
from fluxvision.core import tracing
from fluxvision.core.errors import ConfigError
from fluxvision.http.observability import Metrics
from fluxvision.http.telemetry import check_environment

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
KEY, PROMPT, NAME = "key-of-this-test-7c1f", "a secret harbour", "private-name.png"
SENT = {"Authorization": f"Bearer {KEY}", "traceparent": f"00-{TRACE}-{PARENT}-01"}
DASHBOARD = Path(__file__).parents[3] / "docs/grafana.json"
CHAIN = {
    "admit": "POST /v1/images/edits",
    "job": "POST /v1/images/edits",
    "attempt": "job",
    "tiles": "attempt",
    "finish": "attempt",
}


def served(folder, url, **settings):
    """Return a server that exports to a collector, soon and often."""
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_BSP_SCHEDULE_DELAY": "100"}
    environment |= {"OTEL_METRIC_EXPORT_INTERVAL": "200"}
    settings = {"api_keys": KEY, **settings}
    return Server(folder / "data", settings, environment, module=("fluxvision", "serve"))


def edit(server, **headers):
    """Ask for a small picture."""
    parts = [("model", "flux-vision-upscaler"), ("prompt", PROMPT), ("scale_factor", "1")]
    return server.edit(*parts, ("image", png(8, 8), NAME), **SENT, **headers)


def attributes(span):
    """Return a span's attributes."""
    found = {}
    for one in span.attributes:
        found[one.key] = getattr(one.value, one.value.WhichOneof("value"))
    return found


@pytest.mark.parametrize("stored", [{}, {"Idempotency-Key": "one"}], ids=["direct", "stored"])
def test_a_request_is_a_trace(tmp_path, stored):
    """Admission, routing, attempt, tiles and finish are spans below the request, which is one of the caller's trace."""
    with Collector() as collector, served(tmp_path, collector.url) as running:
        assert edit(running, **stored).status == 200
        assert running.get("/healthz").status == 200
        assert wait_until(lambda: collector.named("POST /v1/images/edits"))
        [request] = collector.named("POST /v1/images/edits")
        assert (request.trace_id.hex(), request.parent_span_id.hex()) == (TRACE, PARENT)
        assert attributes(request)["http.response.status_code"] == 200
        assert wait_until(lambda: all(collector.named(name) for name in CHAIN))
        for name, parent in CHAIN.items():
            [span] = collector.named(name)
            assert span.trace_id.hex() == TRACE
            assert span.parent_span_id in {one.span_id for one in collector.named(parent)}
        assert collector.named("route")
        [attempt] = collector.named("attempt")
        assert attributes(attempt) == {"fluxvision.provider": "embedded", "fluxvision.outcome": "ok"}
        assert {span.name for span in collector.spans} == {*CHAIN, *CHAIN.values(), "route"}
        for private in (KEY, PROMPT, NAME):
            assert private.encode() not in collector.raw


def test_the_metrics_are_those_of_prometheus(tmp_path):
    """A collector gets each family of /metrics with its numbers; histograms have counts by bucket."""
    with Collector() as collector, served(tmp_path, collector.url) as running:
        assert edit(running).status == 200
        assert wait_until(
            lambda: (
                "fluxvision_attempts" in collector.metrics and collector.metrics["fluxvision_attempts"].sum.data_points
            )
        )
        text = running.get("/metrics", SENT).body.decode()
        assert set(collector.metrics) == {re.sub("_total$", "", name) for name in families(text)}
        [point] = collector.metrics["fluxvision_attempts"].sum.data_points
        assert point.as_double == 1
        edits = [
            point
            for point in collector.metrics["fluxvision_request_seconds"].histogram.data_points
            if point.attributes[0].value.string_value == "/v1/images/edits"
        ]
        assert [(sum(point.bucket_counts), point.count) for point in edits] == [(1, 1)]


def test_a_collector_that_is_gone_disturbs_nothing(tmp_path):
    """Requests are served, the log has no word of it, and the server ends in time."""
    with served(tmp_path, f"http://127.0.0.1:{free_port()}") as running:
        assert edit(running).status == 200
        assert edit(running).status == 200
    events = {json.loads(line)["event"] for line in running.log.splitlines() if line.startswith("{")}
    assert events == {"listening", "request", "draining", "stopped"}
    assert "Traceback" not in running.log


def test_the_missing_extra_is_named(tmp_path):
    """Without the packages the server says in a sentence how to get them, and does not start."""
    (tmp_path / "opentelemetry.py").write_text("raise ImportError", encoding="utf-8")
    with pytest.raises(RuntimeError, match=r"pip install 'fluxvision\[otel\]'"), served(tmp_path, "http://127.0.0.1:1"):
        pass


@pytest.mark.parametrize("text", ["abc", "", "-1", "0", "nan", "inf"])
@pytest.mark.parametrize(
    "name", ["OTEL_METRIC_EXPORT_INTERVAL", "OTEL_BSP_SCHEDULE_DELAY", "OTEL_EXPORTER_OTLP_TIMEOUT"]
)
def test_a_number_that_is_none_is_named(monkeypatch, name, text):
    """A variable of the SDK that must be a number is an error of the settings that names it."""
    monkeypatch.setenv(name, text)
    with pytest.raises(ConfigError, match=f"^{name} must be a number above 0$"):
        check_environment()


def test_a_wrong_variable_is_one_sentence(tmp_path):
    """A server with a wrong variable does not start, and says why without a traceback."""
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_METRIC_EXPORT_INTERVAL": "abc"}
    with (
        pytest.raises(RuntimeError) as error,
        Server(tmp_path / "data", {}, environment, module=("fluxvision", "serve")),
    ):
        pass
    assert "OTEL_METRIC_EXPORT_INTERVAL must be a number above 0" in str(error.value)
    assert "Traceback" not in str(error.value)


def test_a_method_that_a_caller_made_up_names_no_span(tmp_path):
    """A span of an unknown method is called HTTP, and its method is _OTHER."""
    with Collector() as collector, served(tmp_path, collector.url) as running:
        running.get("/v1/models", method="SECRETWORD")
        assert wait_until(lambda: [span for span in collector.spans if span.name.startswith("HTTP ")])
        [span] = [span for span in collector.spans if span.name.startswith("HTTP ")]
    assert attributes(span)["http.request.method"] == "_OTHER"
    assert not any("SECRETWORD" in str(span) for span in collector.spans)


def families(text):
    """Return the names of the metrics in Prometheus' text format."""
    return {name for name in re.findall(r"^# TYPE (\S+) ", text, re.MULTILINE) if not name.endswith("_created")}


def test_the_dashboard_shows_all_metrics():
    """Each metric in docs/grafana.json exists, and each that exists is on it."""
    panels = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    asked = " ".join(target["expr"] for panel in panels for target in panel["targets"])
    names = {re.sub("_(bucket|sum|count)$", "", name) for name in re.findall(r"fluxvision_\w+", asked)}
    assert names == families(Metrics(1).text().decode())


async def test_an_upstream_gets_the_trace(tmp_path):
    """A server of the setting `openai` is sent the span of its work as `traceparent`."""
    async with FakeOpenAI() as upstream:
        models = {"flux-vision-upscaler": "gpt-image-1"}
        table = {"name": "other", "base_url": upstream.base_url, "key": upstream.key, "models": models, "price": "0"}
        with Collector() as collector, served(tmp_path, collector.url, openai=json.dumps([table])) as running:
            answer = await asyncio.to_thread(edit, running)
            assert answer.status == 200
            assert wait_until(lambda: collector.named("tiles"))
        [asked] = upstream.requests
        [span] = [one for one in collector.named("tiles") if one.kind == one.SPAN_KIND_CLIENT]
        assert asked.headers["traceparent"] == f"00-{TRACE}-{span.span_id.hex()}-01"


def test_nothing_is_imported_unless_it_is_asked_for():
    """Without a collector no module of OpenTelemetry is loaded, and a span is one object that does nothing."""
    code = "import sys, fluxvision.server; print('opentelemetry' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "False\n"
    assert tracing.span("job") is tracing.NO_SPAN
    assert tracing.traceparent() == ""
