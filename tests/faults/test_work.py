"""What happens around the work: the server stays live, a caller who leaves frees the worker, the queue is short."""

from __future__ import annotations

import io
import json
import signal
import threading
import time

import pytest
from PIL import Image
from skimage import data

from fakes.server import Server, form, wait_until


@pytest.fixture(scope="module")
def large() -> bytes:
    """A photo that takes several seconds."""
    stream = io.BytesIO()
    Image.fromarray(data.astronaut()).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def server(tmp_path):
    """A real server with one worker and room for one more."""
    with Server(tmp_path / "data", {"WORKERS": "1", "QUEUE": "1"}, module=("fluxvision", "serve")) as running:
        yield running


def request(picture: bytes, scale: str = "4") -> tuple[dict[str, str], bytes]:
    return form(("model", "flux-vision-upscaler"), ("scale_factor", scale), ("image", picture, "a.png"))


def start(server: Server, picture: bytes):
    """Send a request and return its open connection."""
    headers, body = request(picture)
    connection = server.connect()
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    head = f"POST /v1/images/edits HTTP/1.1\r\nHost: 127.0.0.1\r\n{lines}Content-Length: {len(body)}\r\n\r\n"
    connection.sendall(head.encode() + body)
    return connection


def metric(server: Server, name: str) -> float:
    text = server.get("/metrics").body.decode()
    return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(name))


def test_the_server_answers_while_it_works(server, large):
    """Small requests are answered during a picture; none takes as long as a tile does."""
    with start(server, large):
        assert wait_until(lambda: metric(server, "fluxvision_jobs_running") == 1)
        slowest = 0.0
        for _ in range(20):
            began = time.monotonic()
            assert server.get("/healthz").status == 200
            slowest = max(slowest, time.monotonic() - began)
        assert metric(server, "fluxvision_jobs_running") == 1, "the picture was done before the question was asked"
        assert slowest < 10.0


def test_a_caller_who_leaves_frees_the_worker(server, large):
    """Closing the connection stops the work within a few tiles and removes its files."""
    with start(server, large):
        assert wait_until(lambda: metric(server, "fluxvision_jobs_running") == 1)
    assert wait_until(lambda: metric(server, "fluxvision_jobs_running") == 0)
    assert server.nothing_left()


def test_a_full_queue_refuses_at_once(server, large):
    """With one at work and one waiting, the third gets 429 with Retry-After before its body is read."""
    with start(server, large), start(server, large):
        assert wait_until(
            lambda: metric(server, "fluxvision_jobs_running") + metric(server, "fluxvision_jobs_queued") == 2
        )
        began = time.monotonic()
        answer = server.post("/v1/images/edits", request(large))
        assert answer.status == 429
        assert time.monotonic() - began < 10.0
        assert int(answer.headers["retry-after"]) >= 1
        assert answer.json()["error"]["code"] == "RATE_LIMITED"


def test_sigterm_lets_the_running_picture_finish(tmp_path, large):
    """The answer arrives complete, then the process ends with 0."""
    with Server(tmp_path / "data", {"drain_timeout": "300"}, module=("fluxvision", "serve")) as server:
        answers = []
        headers, body = request(large, "1")
        caller = threading.Thread(target=lambda: answers.append(server.post("/v1/images/edits", (headers, body))))
        caller.start()
        assert wait_until(lambda: metric(server, "fluxvision_jobs_running") == 1)
        server.process.send_signal(signal.SIGTERM)
        caller.join(60)
        assert server.process.wait(30) == 0
    assert answers[0].status == 200
    assert json.loads(answers[0].body)["metadata"]["size"] == "512x512"
