"""A batch outlives its gateway: after kill -9 it goes on, and nothing of it is bought twice."""

from __future__ import annotations

import base64
import io
import json
import signal
import time

import pytest
from PIL import Image
from skimage import data

from fakes.fal import running_fal
from fakes.postgres import empty_database
from fakes.server import Server, document, form, wait_until

SERVE = ("fluxvision", "serve")
LINES = 12
COST = round(48 * 32 * 4 / 10)
"""Micro-dollars of a picture at twice the size."""


@pytest.fixture(scope="module")
def content():
    """The input of a batch: lines with pictures that differ."""
    rows = []
    for number in range(LINES):
        buffer = io.BytesIO()
        Image.fromarray(data.astronaut()[number : number + 96, 160:304]).resize((48, 32)).save(buffer, "PNG")
        image = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
        body = {"model": "flux-vision-upscaler", "image": image}
        rows.append({"custom_id": f"line {number}", "method": "POST", "url": "/v1/images/edits", "body": body})
    return "\n".join(map(json.dumps, rows))


@pytest.fixture
def fal():
    """A provider whose jobs take two seconds."""
    with running_fal(work=2.0) as running:
        yield running


def served(fal, folder, **settings):
    """Return a server with the provider, which works on two jobs at a time."""
    urls = {"fal_queue_url": fal.queue_url, "fal_storage_url": fal.storage_url}
    given = {**urls, "threads": "1", "remote_parallel": "2", **settings}
    return Server(folder, given, {"FAL_KEY": fal.key}, module=SERVE)


def begun(server, content):
    """Begin a batch and return its address."""
    file = server.post("/v1/files", form(("purpose", "batch"), ("file", content, "a.jsonl"))).json()
    wanted = {"input_file_id": file["id"], "endpoint": "/v1/images/edits", "completion_window": "24h"}
    return f"/v1/batches/{server.post('/v1/batches', document(wanted)).json()['id']}"


def killed(server):
    """End a server as a power cut does, while the provider works on jobs of it."""
    server.process.send_signal(signal.SIGKILL)
    server.process.wait()


def is_whole(server, fal, place):
    """Check that a batch comes to its end with every line made once, and paid once."""
    assert wait_until(lambda: server.get(place).json()["status"] == "completed", 120)
    batch = server.get(place).json()
    assert batch["request_counts"] == {"total": LINES, "completed": LINES, "failed": 0}
    output = server.get(f"/v1/files/{batch['output_file_id']}/content").body.decode()
    lines = [json.loads(line) for line in output.splitlines()]
    assert [line["custom_id"] for line in lines] == [f"line {number}" for number in range(LINES)]
    assert {line["response"]["body"]["metadata"]["provider"] for line in lines} == {"fal"}
    assert len(fal.submissions) == LINES
    assert fal.cancelled == []
    requests = server.get("/v1/requests?limit=100").json()["data"]
    assert sorted(row["custom_id"] for row in requests) == sorted(line["custom_id"] for line in lines)
    assert {row["cost_micros"] for row in requests} == {COST}


@pytest.mark.parametrize("bought", [2, 5])
def test_a_batch_goes_on_after_a_crash(fal, content, tmp_path, bought):
    """The next process follows what was bought and begins the other lines; every line is paid for once."""
    with served(fal, tmp_path / "data") as server:
        place = begun(server, content)
        assert wait_until(lambda: len(fal.submissions) >= bought)
        time.sleep(0.5)
        killed(server)
    assert len(fal.submissions) < LINES
    with served(fal, tmp_path / "data") as server:
        is_whole(server, fal, place)


def test_another_gateway_takes_a_batch_over(fal, content, tmp_path, postgres):
    """Of two gateways that share PostgreSQL and the data folder, the one that is left ends the batch."""
    url = empty_database(postgres)
    with (
        served(fal, tmp_path / "data", database_url=url) as first,
        served(fal, tmp_path / "data", database_url=url) as second,
    ):
        place = begun(first, content)
        assert wait_until(lambda: len(fal.submissions) >= 3)
        time.sleep(0.5)
        killed(first)
        is_whole(second, fal, place)
