"""An S3 server for tests: moto's, a process of its own; skips where it is not installed.

It has an environment of its own, because its requirements are not ours: the `bin` folder that MOTO_BIN
names, else `.moto/bin` in the repository. `make clients` makes it.
"""

from __future__ import annotations

import http.client
import os
import re
import secrets
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from fakes.server import PATIENCE, Answer, free_port

BIN = Path(os.environ.get("MOTO_BIN") or Path(__file__).parents[2] / ".moto" / "bin")
PREFIX = "some/prefix"


@dataclass(frozen=True, slots=True)
class S3Server:
    """A running server; it takes any credentials."""

    url: str

    @property
    def environment(self) -> Mapping[str, str]:
        """What the environment of a client must have."""
        names = {"ENDPOINT": self.url, "REGION": "us-east-1", "ACCESS_KEY_ID": "someid", "SECRET_ACCESS_KEY": "secret"}
        return {f"AWS_{name}": value for name, value in names.items()}

    def make_bucket(self) -> str:
        """Make an empty bucket and return the address of a folder in it."""
        name = f"test-{secrets.token_hex(8)}"
        self._ask("PUT", name)
        return f"s3://{name}/{PREFIX}"

    def keys(self, address: str) -> list[str]:
        """Return the keys in a folder, without that of the folder."""
        listed = self._ask("GET", f"{_bucket(address)}?list-type=2").decode()
        return [key.removeprefix(f"{PREFIX}/") for key in re.findall("<Key>(.*?)</Key>", listed)]

    def put(self, address: str, key: str, content: bytes = b"") -> None:
        """Store an object."""
        self._ask("PUT", f"{_bucket(address)}/{PREFIX}/{key}", content)

    def _ask(self, method: str, path: str, content: bytes | None = None) -> bytes:
        request = urllib.request.Request(f"{self.url}/{path}", content, method=method)  # noqa: S310, our own server
        with urllib.request.urlopen(request, timeout=PATIENCE) as response:  # noqa: S310
            found: bytes = response.read()
        return found


def open_link(link: str) -> Answer:
    """Get what a link opens, without credentials."""
    place = urlsplit(link)
    connection = http.client.HTTPConnection(place.netloc, timeout=PATIENCE)
    try:
        connection.request("GET", f"{place.path}?{place.query}")
        response = connection.getresponse()
        headers = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, headers, response.read())
    finally:
        connection.close()


def _bucket(address: str) -> str:
    return address.removeprefix("s3://").partition("/")[0]


@contextmanager
def running_s3() -> Iterator[S3Server]:
    """Yield a server without buckets."""
    if not (BIN / "moto_server").is_file():
        pytest.skip("moto is not installed: make clients")
    server = S3Server(f"http://127.0.0.1:{free_port()}")
    command = [str(BIN / "moto_server"), "-H", "127.0.0.1", "-p", server.url.rpartition(":")[2]]
    # Without ours: it has its own versions of what we have, too.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + PATIENCE
            while not _answers(server) and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.1)
            yield server
        finally:
            process.terminate()


def _answers(server: S3Server) -> bool:
    try:
        server._ask("GET", "")
    except OSError:
        return False
    return True
