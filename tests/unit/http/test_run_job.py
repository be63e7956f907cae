"""A job that is over its deadline: its caller is answered at once, and what it holds is held until it has ended."""

from __future__ import annotations

import json
import time
from contextlib import contextmanager

import pytest

from fakes.gateway import png
from fakes.server import Server, form, read, wait_until
from fluxvision.accounts.key_store import create_key
from fluxvision.core.key_limits import Limits
from fluxvision.storage.database import open_in

PARTS = (("image", png(8, 6)), ("model", "flux-vision-upscaler"))
OTHER = {"Authorization": "Bearer key-of-this-test-51d0"}
STREAM = (("stream", "true"),)


@pytest.fixture(scope="module")
def key(tmp_path_factory):
    """The headers of a key that may have one job at a time, and the data folder with its database."""
    folder = tmp_path_factory.mktemp("data")
    database = open_in(folder)
    with database.begin() as connection:
        _, secret = create_key(connection, name="test", now=time.time(), limits=Limits(parallel=1))
    database.close()
    return {"Authorization": f"Bearer {secret}"}, folder


@pytest.fixture(scope="module")
def server(key):
    """A server with one place and no queue, whose tile ends when the file `end` is in its folder."""
    settings = {"queue": "0", "history": "true", "api_keys": OTHER["Authorization"].removeprefix("Bearer ")}
    with Server(key[1], settings, {"END_OF_TILE": str(key[1] / "end")}, module=("fakes.slow_tile",)) as running:
        yield running
        (running.folder / "end").touch()


@contextmanager
def edit(server, fields, headers):
    """Send an edit and yield its open connection."""
    content, body = form(*PARTS, *fields)
    lines = "".join(f"{name}: {value}\r\n" for name, value in {**content, **headers}.items())
    head = f"POST /v1/images/edits HTTP/1.1\r\nHost: 127.0.0.1\r\n{lines}Content-Length: {len(body)}\r\n\r\n"
    with server.connect() as connection:
        connection.sendall(head.encode() + body)
        yield connection


def newest(server, headers):
    """Return the status of a key's newest request."""
    return server.get("/v1/requests?limit=1", headers).json()["data"][0]["status"]


@pytest.mark.parametrize("is_open", [True, False], ids=["caller-stays", "caller-leaves"])
@pytest.mark.parametrize(
    ("fields", "headers"),
    [((), {}), (STREAM, {}), ((), {"Idempotency-Key": "one"}), (STREAM, {"Idempotency-Key": "two"})],
    ids=["plain", "stream", "stored", "stored-stream"],
)
def test_a_late_job_is_answered_while_its_tile_is_made(server, key, fields, headers, is_open):
    """The answer is 504 during the tile; place and ledger are held until the tile is made, and then given back."""
    end = server.folder / "end"
    end.unlink(missing_ok=True)
    with edit(server, fields, {**key[0], **headers}) as connection:
        answer = read(connection)
        said = answer.body.decode()
        assert (answer.status, "DEADLINE_EXCEEDED" in said) == (200 if fields else 504, True)
        if not is_open:
            connection.close()
        assert newest(server, key[0]) == "running"
        assert server.edit(*PARTS, **OTHER).status == 429
        end.touch()
        assert wait_until(lambda: newest(server, key[0]) == "failed")
    assert server.edit(*PARTS, **key[0]).status == 200
    assert server.nothing_left()


def test_a_late_job_is_logged_once(server, key):
    """The log line of a late request has its status and how long its caller waited, not how long the tile took."""
    end = server.folder / "end"
    end.unlink(missing_ok=True)
    began = time.monotonic()
    request_id = server.edit(*PARTS, **key[0]).headers["x-request-id"]
    waited = time.monotonic() - began
    time.sleep(0.5)
    end.touch()
    assert wait_until(lambda: request_id in server.log)
    [line] = [json.loads(line) for line in server.log.splitlines() if request_id in line]
    assert line["status"] == 504
    assert line["ms"] <= waited * 1000
