"""A served process, with the fake gateway or the real one, on a free port of loopback, and plain ways to talk to it."""

from __future__ import annotations

import http.client
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

TESTS = Path(__file__).parents[1]
PATIENCE = 60.0
"""Seconds to wait for what comes sooner or never: a busy machine takes its time."""


@dataclass(slots=True)
class Answer:
    """A response, read to its end."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """Return the body's JSON."""
        return json.loads(self.body)


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def form(*parts: tuple[str, bytes | str] | tuple[str, bytes | str, str]) -> tuple[dict[str, str], bytes]:
    """Return headers and body of a multipart form; a third item is a part's file name."""
    boundary = secrets.token_hex(8)
    body = b""
    for name, value, *file in parts:
        raw = value.encode() if isinstance(value, str) else value
        shown = f'; filename="{file[0]}"' if file else ""
        body += f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{shown}\r\n\r\n'.encode() + raw + b"\r\n"
    return {"Content-Type": f"multipart/form-data; boundary={boundary}"}, body + f"--{boundary}--\r\n".encode()


def document(value: Any) -> tuple[dict[str, str], bytes]:
    """Return headers and body of a JSON request."""
    return {"Content-Type": "application/json"}, json.dumps(value).encode()


@dataclass(slots=True)
class Server:
    """A running server; `settings` are FLUXVISION_ variables without the prefix, `environment` other ones."""

    folder: Path
    settings: dict[str, str] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None
    module: tuple[str, ...] = ("fakes.gateway",)

    @property
    def url(self) -> str:
        """Return scheme and authority."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def uploads(self) -> list[Path]:
        """Return the files in the upload folders beside their locks; empty folders wait for the next request."""
        found = [Path(root) / name for root, _, files in os.walk(self.folder / "uploads") for name in files]
        return [path for path in found if path.name != "lock"]

    def nothing_left(self, patience: float = PATIENCE) -> bool:
        """Return whether the upload folders become empty; a folder goes a moment after its answer."""
        deadline = time.monotonic() + patience
        while self.uploads and time.monotonic() < deadline:
            time.sleep(0.02)
        return not self.uploads

    @property
    def log(self) -> str:
        """Return everything logged so far."""
        return (self.folder.parent / f"{self.folder.name}.log").read_text(encoding="utf-8")

    def __enter__(self) -> Self:
        """Start the process and wait until it answers."""
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("FLUXVISION_", "FAL_"))}
        given = {"PORT": str(self.port), "DATA_DIR": str(self.folder), "LOG_LEVEL": "info", "HISTORY": "false"}
        given |= {name.upper(): value for name, value in self.settings.items()}
        environment |= {f"FLUXVISION_{name.upper()}": value for name, value in given.items()}
        environment |= self.environment
        environment["PYTHONPATH"] = os.pathsep.join([str(TESTS), str(TESTS.parent / "src")])
        with (self.folder.parent / f"{self.folder.name}.log").open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *self.module], env=environment, cwd=self.folder.parent, stderr=log, stdout=log
            )
        deadline = time.monotonic() + PATIENCE
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.process.kill()
                self.process.wait()
                raise RuntimeError(self.log)
            time.sleep(0.03)
        return self

    def __exit__(self, *_error: object) -> None:
        """End the process as an operator would."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise

    def _answers(self) -> bool:
        try:
            return self.get("/healthz").status == 200
        except OSError:
            return False

    def get(self, path: str, headers: dict[str, str] | None = None, method: str = "GET") -> Answer:
        """Make one request without a body."""
        return self._request(method, path, headers or {}, None)

    def post(self, path: str, request: tuple[dict[str, str], bytes], **headers: str) -> Answer:
        """Send a form or a document."""
        return self._request("POST", path, {**request[0], **headers}, request[1])

    def patch(self, path: str, request: tuple[dict[str, str], bytes], **headers: str) -> Answer:
        """Send a document that changes something."""
        return self._request("PATCH", path, {**request[0], **headers}, request[1])

    def edit(self, *parts: Any, **headers: str) -> Answer:
        """Send a form to /v1/images/edits."""
        return self.post("/v1/images/edits", form(*parts), **headers)

    def _request(self, method: str, path: str, headers: dict[str, str], body: bytes | None) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            names = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, names, response.read())
        finally:
            connection.close()

    def connect(self) -> socket.socket:
        """Open a bare connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)

    def raw(self, data: bytes) -> Answer:
        """Send bytes as they are and read the answer."""
        with self.connect() as connection:
            connection.sendall(data)
            return read(connection)


def read(connection: socket.socket) -> Answer:
    """Read one response from a bare connection."""
    response = http.client.HTTPResponse(connection)
    response.begin()
    names = {name.lower(): value for name, value in response.getheaders()}
    return Answer(response.status, names, response.read())


def wait_until(condition: Any, seconds: float = PATIENCE) -> bool:
    """Wait until a condition holds; return whether it came to hold."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return bool(condition())
