"""Nobody pays twice: what clients repeat, and what a server that was killed had bought, is not bought again."""

from __future__ import annotations

import io
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest
from PIL import Image
from skimage import data

from fakes.cli_process import REAL, environment
from fakes.fal import running_fal
from fakes.server import Server, form, wait_until

MODEL = "flux-vision-upscaler"
SERVE = ("fluxvision", "serve")
COST = round(96 * 64 * 4 / 10)
"""Micro-dollars of the picture at twice the size."""


@pytest.fixture(scope="module")
def photo():
    buffer = io.BytesIO()
    Image.fromarray(data.astronaut()[60:188, 160:352]).resize((96, 64)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def fal():
    with running_fal() as running:
        yield running


@pytest.fixture
def served(fal, tmp_path):
    """Returns a server with a paid provider; each one has the same data folder."""
    urls = {"fal_queue_url": fal.queue_url, "fal_storage_url": fal.storage_url}

    def make(**settings):
        return Server(tmp_path / "data", {**urls, "threads": "2", **settings}, {"FAL_KEY": fal.key}, module=SERVE)

    return make


def edit(server, photo, path="/v1/images/edits", fields=(), **headers):
    parts = (("image", photo, "photo.png"), ("model", MODEL), *fields)
    return server.post(path, form(*parts), **headers)


def killed(server):
    server.process.send_signal(signal.SIGKILL)
    server.process.wait()


def test_a_client_that_times_out_gets_its_picture(served, fal, photo):
    """OpenAI's SDK gives up after two seconds, asks again, and gets the picture of the one job that was bought."""
    fal.work = 5.0
    with served() as server:
        client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="any", timeout=2.0, max_retries=5)
        answer = client.images.edit(model=MODEL, image=("photo.png", photo), prompt="")
        assert answer.data[0].url
    assert len(fal.submissions) == 1
    assert fal.cancelled == []


def test_the_same_key_is_the_same_answer(served, fal, photo):
    """One idempotency key buys once: the second request gets the stored answer, and says so."""
    with served() as server:
        first = edit(server, photo, **{"Idempotency-Key": "one"})
        again = edit(server, photo, **{"Idempotency-Key": "one"})
        assert (first.status, again.status) == (200, 200)
        assert again.json()["id"] == first.json()["id"]
        assert again.json()["metadata"] == first.json()["metadata"]
        assert "idempotent-replayed" not in first.headers
        assert again.headers["idempotent-replayed"] == "true"
    assert len(fal.submissions) == 1


def test_five_at_once_buy_one(served, fal, photo):
    """Five requests with one idempotency key at the same time wait for one job and get the same picture."""
    fal.work = 1.0
    with served() as server, ThreadPoolExecutor(5) as pool:
        answers = list(pool.map(lambda _: edit(server, photo, **{"Idempotency-Key": "one"}), range(5)))
        assert {answer.status for answer in answers} == {200}
        assert len({answer.json()["id"] for answer in answers}) == 1
    assert len(fal.submissions) == 1


def test_another_request_with_the_key_is_refused(served, fal, photo):
    """The key of one request with another one's parameters is a 422 that names the header."""
    with served() as server:
        assert edit(server, photo, **{"Idempotency-Key": "one"}).status == 200
        other = edit(server, photo, fields=(("creativity", "0.1"),), **{"Idempotency-Key": "one"})
        assert other.status == 422
        assert other.json()["error"]["param"] == "Idempotency-Key"
        assert other.json()["error"]["code"] == "IDEMPOTENCY_CONFLICT"
    assert len(fal.submissions) == 1


def test_a_killed_server_follows_what_it_bought(served, fal, photo):
    """After kill -9 the next process polls the job at fal.ai; the client's retry gets its picture."""
    fal.work = 3.0
    with served() as server, ThreadPoolExecutor(1) as pool:
        lost = pool.submit(edit, server, photo)
        assert wait_until(lambda: fal.submissions)
        time.sleep(0.5)
        killed(server)
        assert isinstance(lost.exception(), OSError)
    with served() as server:
        answer = edit(server, photo, **{"x-stainless-retry-count": "1"})
        assert answer.status == 200
        assert answer.json()["metadata"]["provider"] == "fal"
    assert len(fal.submissions) == 1
    assert fal.cancelled == []


def test_a_stopped_server_leaves_its_job_to_the_next(served, fal, photo):
    """SIGTERM does not cancel what was bought; the next process delivers it without being asked."""
    fal.work = 4.0
    with served(drain_timeout="0.2") as server, ThreadPoolExecutor(1) as pool:
        lost = pool.submit(edit, server, photo)
        assert wait_until(lambda: fal.submissions)
        time.sleep(0.5)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(30) == 0
        assert lost.result().status == 503
    assert fal.cancelled == []
    with served() as server:

        def done():
            rows = server.get("/v1/requests").json()["data"]
            return [row["status"] for row in rows] == ["completed"]

        assert wait_until(done)
    assert len(fal.submissions) == 1


def test_what_nobody_pays_for_is_not_stored(photo, tmp_path):
    """A free request without a key for repetition leaves nothing in the database."""
    with Server(tmp_path / "free", module=SERVE) as server:
        assert edit(server, photo).status == 200
        assert server.get("/v1/requests").json()["data"] == []


def test_a_background_job_is_found(served, fal, photo):
    """`Prefer: respond-async` is answered at once, and the request has its whole response when it has ended."""
    fal.work = 0.5
    with served() as server:
        answer = edit(server, photo, Prefer="respond-async")
        assert answer.status == 202
        place = answer.headers["location"]
        assert place == f"{server.url}/v1/requests/{answer.json()['id']}"
        path = place.removeprefix(server.url)
        assert wait_until(lambda: server.get(path).json()["status"] == "completed")
        shown = server.get(path).json()
        assert shown["cost_micros"] == COST
        picture = server.get(shown["response"]["data"][0]["url"].removeprefix(server.url))
        assert Image.open(io.BytesIO(picture.body)).size == (192, 128)
        assert "image_edit.completed" in server.get(f"{path}/events").body.decode()
        purged = server.get(f"{path}/payloads", method="DELETE").json()
        assert "response" not in purged
        assert server.get(shown["response"]["data"][0]["url"].removeprefix(server.url)).status == 404


def test_a_cancelled_job_ends(served, fal, photo):
    """DELETE cancels a running job, at the provider too."""
    fal.work = 30.0
    with served() as server:
        request_id = edit(server, photo, Prefer="respond-async").json()["id"]
        assert wait_until(lambda: fal.submissions)
        server.get(f"/v1/requests/{request_id}", method="DELETE")
        assert wait_until(lambda: server.get(f"/v1/requests/{request_id}").json()["status"] == "cancelled")
    assert wait_until(lambda: len(fal.cancelled) == 1)


def test_a_killed_command_does_not_buy_again(fal, photo, tmp_path):
    """After kill -9 over two pictures, the same command with --resume follows what it had bought."""
    for name in ("one", "two"):
        (tmp_path / f"{name}.png").write_bytes(photo if name == "one" else turned(photo))
    command = [*REAL, "upscale", "one.png", "two.png", "--out", "large", "--provider", "fal"]
    settings = {
        "FAL_KEY": fal.key,
        "FLUXVISION_FAL_QUEUE_URL": fal.queue_url,
        "FLUXVISION_FAL_STORAGE_URL": fal.storage_url,
        "XDG_STATE_HOME": str(tmp_path / "state"),
    }
    fal.work = 4.0
    process = subprocess.Popen(command, cwd=tmp_path, env=environment(**settings))
    assert wait_until(lambda: len(fal.submissions) == 2)
    time.sleep(0.5)
    process.kill()
    process.wait()
    subprocess.run([*command, "--resume"], cwd=tmp_path, env=environment(**settings), check=True)
    assert sorted(path.name for path in (tmp_path / "large").iterdir()) == ["one@2x.png", "two@2x.png"]
    assert len(fal.submissions) == 2
    subprocess.run([*command, "--overwrite"], cwd=tmp_path, env=environment(**settings), check=True)
    assert len(fal.submissions) == 4


def turned(photo):
    """Return the picture upside down."""
    buffer = io.BytesIO()
    Image.open(io.BytesIO(photo)).rotate(180).save(buffer, "PNG")
    return buffer.getvalue()
