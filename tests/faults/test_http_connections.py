"""Connections that nobody uses, or too many of them: the service goes on, and its health can be asked."""

from __future__ import annotations

import http.client
import resource
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, closing, suppress

import pytest

from fakes.broken_app import BIG
from fakes.gateway import png
from fakes.server import PATIENCE, Server, form, free_port, read, wait_until

REQUEST = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
IDLE = 1.0
IMAGE = ("image", png(8, 6), "a.png")
MODEL = ("model", "flux-vision-upscaler")
KINDS = {"silent": b"", "half a head": REQUEST[:30], "kept alive": REQUEST}


def probe(port: int, path: str = "/healthz", method: str = "GET") -> tuple[int, bytes]:
    """Return status and body from a port."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    with closing(connection):
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read()


@pytest.mark.parametrize("kind", KINDS)
def test_hundreds_of_idle_connections_stop_nobody(tmp_path, kind):
    """With 800 idle connections the next client is served at once."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2_500:
        pytest.skip("this machine allows too few open files")
    if soft != resource.RLIM_INFINITY:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2_500), hard))
    with Server(tmp_path / "data") as server, ExitStack() as open_ones:
        for _ in range(800):
            connection = open_ones.enter_context(server.connect())
            connection.sendall(KINDS[kind])
        started = time.monotonic()
        assert server.get("/healthz").status == 200
        assert server.edit(MODEL, IMAGE).status == 200
        assert time.monotonic() - started < 20


@pytest.mark.parametrize("kind", KINDS)
def test_an_idle_connection_is_closed_after_its_time(tmp_path, kind):
    """However it is idle, the server ends it; a request in time begins the time anew."""
    with Server(tmp_path / "data", environment={"FAKE_IDLE": str(IDLE)}) as server, server.connect() as connection:
        connection.sendall(KINDS[kind])
        if kind == "kept alive":
            assert read(connection).status == 200
            time.sleep(0.7 * IDLE)
            connection.sendall(REQUEST)
            assert read(connection).status == 200
        started = time.monotonic()
        assert connection.recv(1) == b""
        assert 0.7 * IDLE < time.monotonic() - started < 10 * IDLE


ALLOWED = """
import resource, sys
from fluxvision.server import ConnectionLimits
resource.setrlimit(resource.RLIMIT_NOFILE, (256, int(sys.argv[1])))
print(ConnectionLimits().allowed())
"""


@pytest.mark.parametrize(("files", "expected"), [(10_000, 4_096), (1_024, 256), (256, 1)])
def test_the_limit_of_open_files_bounds_the_connections(files, expected):
    """Two files per connection, and 512 for everything else: accepting never fails for want of a file."""
    done = subprocess.run([sys.executable, "-c", ALLOWED, str(files)], capture_output=True, text=True, check=True)
    assert int(done.stdout) == expected


def test_a_client_that_takes_nothing_of_an_answer_is_disconnected(tmp_path):
    """The kernel ends its connection after `upload_timeout`, so that it holds no place for ever."""
    with (
        Server(
            tmp_path / "data", {"upload_timeout": "1"}, {"FAKE_CONNECTIONS": "1"}, module=("fakes.broken_app",)
        ) as server,
        server.connect() as connection,
    ):
        connection.sendall(b"GET /broken/big HTTP/1.1\r\nHost: localhost\r\n\r\n")
        time.sleep(0.3)
        assert server.get("/healthz").status == 200  # the only place is free again
        with suppress(ConnectionError):
            assert sum(map(len, iter(lambda: connection.recv(1_000_000), b""))) < BIG


def test_connections_above_the_limit_wait_and_the_health_port_answers(tmp_path):
    """A full server lets the next client wait; probes have a port of their own."""
    port = free_port()
    settings = {"health_port": str(port)}
    with Server(tmp_path / "data", settings, {"FAKE_CONNECTIONS": "16", "FAKE_IDLE": "3"}) as server:
        with ExitStack() as open_ones:
            for _ in range(40):
                open_ones.enter_context(server.connect())
            waiting = open_ones.enter_context(server.connect())
            waiting.sendall(REQUEST)
            waiting.settimeout(0.5)
            with pytest.raises(TimeoutError):
                waiting.recv(1)
            for path, expected in (("/healthz", b'"ok"'), ("/readyz", b'"ready"')):
                status, body = probe(port, path)
                assert (status, expected in body) == (200, True), body
        assert server.get("/healthz").status == 200


def test_the_health_port_has_the_two_probes_alone(tmp_path):
    """They answer what the API's port answers; nothing else is there, and what is no request gets a 400."""
    port = free_port()
    with Server(tmp_path / "data", {"health_port": str(port), "api_keys": "sk-one-4f1c09ab7d"}) as server:
        for path in ("/healthz", "/readyz"):
            assert probe(port, path) == (200, server.get(path).body)
            assert probe(port, path, "HEAD") == (200, b"")
        assert probe(port, "/v1/models")[0] == 404
        assert probe(port, "/metrics")[0] == 404
        assert probe(port, "/healthz", "POST")[0] == 400
        server.process.send_signal(signal.SIGTERM)
        server.process.wait(PATIENCE)
        assert [line for line in server.log.splitlines() if not line.startswith("{")] == []


def test_the_health_port_tells_that_the_event_loop_does_not_turn(tmp_path):
    """Where the API cannot answer, the probe gets a 503 in bounded time instead of waiting."""
    port = free_port()
    with Server(tmp_path / "data", {"health_port": str(port)}, module=("fakes.broken_app",)) as server:
        server.get("/broken/stuck")
        time.sleep(0.3)
        started = time.monotonic()
        assert probe(port)[0] == 503
        assert time.monotonic() - started < 3
        assert wait_until(lambda: probe(port)[0] == 200)


def test_slow_connections_do_not_block_the_health_port(tmp_path):
    """A new connection takes the place of the oldest one, and a silent one ends after two seconds."""
    port = free_port()
    with Server(tmp_path / "data", {"health_port": str(port)}), ExitStack() as open_ones:
        for _ in range(200):
            connection = open_ones.enter_context(socket.create_connection(("127.0.0.1", port), timeout=PATIENCE))
            connection.sendall(b"GET /he")
        started = time.monotonic()
        assert probe(port)[0] == 200
        assert time.monotonic() - started < 10
        assert connection.recv(1) == b""
        assert time.monotonic() - started < 20


@pytest.mark.parametrize("taken", ["port", "health_port"])
def test_a_port_that_is_taken_is_one_clear_error(tmp_path, taken):
    """The setting is named, there is no backtrace of the server below, and no data folder was made."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(RuntimeError) as caught, Server(tmp_path / "data", {taken: str(port)}):
            pass
    assert f"host and {taken}: 127.0.0.1:{port} cannot be listened on (Address already in use)" in str(caught.value)
    assert "panicked" not in str(caught.value)
    assert not (tmp_path / "data").exists()


def test_nobody_can_take_the_port_while_the_server_starts(tmp_path):
    """The socket that found the port free is the one that is served."""
    with Server(tmp_path / "data") as server, socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        with pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", server.port))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_each_signal_drains(tmp_path, number):
    """A job that runs is answered, and the process ends with 0."""
    with Server(tmp_path / "data") as server, server.connect() as connection:
        start_a_job(server, connection, seconds=0.3)
        server.process.send_signal(number)
        assert read(connection).status == 200
        assert server.process.wait(PATIENCE) == 0


def test_a_second_hangup_ends_the_drain(tmp_path):
    """The job is answered with 503 at once."""
    with Server(tmp_path / "data") as server, server.connect() as connection:
        start_a_job(server, connection, seconds=30)
        for _ in range(2):
            server.process.send_signal(signal.SIGHUP)
            time.sleep(0.3)
        assert read(connection).status == 503
        assert server.process.wait(PATIENCE) == 0


def test_a_server_under_nohup_ignores_the_hangup(tmp_path):
    """Where SIGHUP was ignored at the start, it stays ignored."""
    previous = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Server(tmp_path / "data") as server:
            server.process.send_signal(signal.SIGHUP)
            time.sleep(0.3)
            assert server.get("/readyz").status == 200
    finally:
        signal.signal(signal.SIGHUP, previous)


def start_a_job(server: Server, connection: socket.socket, seconds: float) -> None:
    """Send a request whose job takes some seconds, and wait until it runs."""
    headers, body = form(MODEL, IMAGE, ("tiles", "1"), ("tile_seconds", str(seconds)))
    head = f"POST /v1/images/edits HTTP/1.1\r\nHost: localhost\r\nContent-Type: {headers['Content-Type']}\r\n"
    connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    assert wait_until(lambda: b"fluxvision_jobs_running 1" in server.get("/metrics").body)
