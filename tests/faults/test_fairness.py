"""Who waits for whom: a served process under the requests of visitors, of another key, and of one large picture."""

from __future__ import annotations

import io
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from fakes.server import Server, form, wait_until

MODEL = ("model", "flux-vision-upscaler")
FREE = ("creativity", "0")
KEYS = {"api_keys": "alice-0123456789abcdef,bob-0123456789abcdef", "playground_rate": "100000"}
ALICE = {"Authorization": "Bearer alice-0123456789abcdef"}
BOB = {"Authorization": "Bearer bob-0123456789abcdef"}
PAGE = {"X-Fluxvision-Client": "page"}
RUNNING = "fluxvision_jobs_running"


def picture(width: int, height: int) -> bytes:
    """Return a PNG of soft colours."""
    packed = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)).resize((width, height)).save(
        packed, "PNG", compress_level=1
    )
    return packed.getvalue()


TINY, LARGE = picture(24, 24), picture(3000, 2000)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Serve the real engine to two keys and to the page."""
    with Server(tmp_path_factory.mktemp("served") / "data", KEYS, module=("fluxvision", "serve")) as running:
        assert running.edit(("image", TINY, "a.png"), MODEL, **ALICE).status == 200
        yield running


def hang_up(server, content, headers):
    """Send a picture and return the open connection; the work ends when it is closed."""
    sent = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    body = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n' + content
    body += b'\r\n--x\r\nContent-Disposition: form-data; name="model"\r\n\r\nflux-vision-upscaler\r\n--x--\r\n'
    head = f"POST /v1/images/edits HTTP/1.1\r\nHost: 127.0.0.1\r\n{sent}"
    head += f"Content-Type: multipart/form-data; boundary=x\r\nContent-Length: {len(body)}\r\n\r\n"
    connection = server.connect()
    connection.sendall(head.encode() + body)
    return connection


def at_work(server, jobs):
    """Wait until so many jobs run or wait."""

    def counted():
        lines = server.get("/metrics", ALICE).body.decode().splitlines()
        return sum(float(line.split()[1]) for line in lines if line.startswith("fluxvision_jobs_")) >= jobs

    return wait_until(counted, 20)


def test_visitors_never_fill_the_queue_of_a_key(server):
    """While more page requests are there than all may wait, a key's tiny picture is made four times of four."""
    visits = []
    try:
        for number in range(20):
            visits.append(hang_up(server, LARGE, PAGE))
            assert at_work(server, min(number, 4))
        for _ in range(4):
            assert server.edit(("image", TINY, "a.png"), MODEL, **ALICE).status == 200
    finally:
        for visit in visits:
            visit.close()


def test_a_tiny_picture_does_not_wait_for_a_large_one_of_another_key(server):
    """It is made while the large one, which takes a minute, is at work."""
    large = hang_up(server, LARGE, BOB)
    try:
        assert at_work(server, 1)
        time.sleep(1)
        assert server.edit(("image", TINY, "a.png"), MODEL, **ALICE).status == 200
        assert at_work(server, 1)  # the large one is still there
    finally:
        large.close()


def test_a_page_request_for_a_large_result_is_refused(server):
    """Without a key a result has at most 25 megapixels; with one it may have more."""
    wide = picture(3600, 2000)
    refused = server.edit(("image", wide, "a.png"), MODEL, **PAGE)
    assert refused.status == 400
    error = refused.json()["error"]
    assert error["param"] == "scale_factor"
    assert "without a key this server makes at most 25,000,000" in error["message"]
    asked = form(("image", wide, "a.png"), MODEL)
    assert server.post("/v1/images/edits?dryRun=true", asked, **ALICE).status == 200


def test_a_job_that_would_take_too_much_memory_is_refused_before_any_work(tmp_path):
    """The message names the parameter and both amounts; a smaller one is made."""
    with Server(tmp_path / "data", {"max_job_memory": "800000000"}, module=("fluxvision", "serve")) as small:
        refused = small.edit(("image", LARGE, "a.png"), MODEL, ("output_format", "avif"))
        assert refused.status == 400
        assert refused.json()["error"]["param"] == "output_format"
        assert "GB of memory" in refused.json()["error"]["message"]
        assert small.edit(("image", TINY, "a.png"), MODEL).status == 200


def test_the_time_to_wait_is_true(server):
    """A key that has filled its own queue is told a time that grows with the work in front of it."""
    with ThreadPoolExecutor(24) as pool:
        answers = list(pool.map(lambda _: server.edit(("image", TINY, "a.png"), MODEL, FREE, **BOB), range(24)))
    refused = [answer for answer in answers if answer.status == 429]
    assert {answer.status for answer in answers} == {200, 429}
    assert all(float(answer.headers["retry-after"]) >= 1 for answer in refused)
