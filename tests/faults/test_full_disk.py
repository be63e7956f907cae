"""A disk that is full, or fills up: 503, nothing is paid for work that cannot be stored, and what was paid is told."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import resource
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fakes.fal import FakeFal, running_fal
from fakes.openai import FakeOpenAI, running_openai
from fakes.server import Server, document, form, read, wait_until

SERVE = ("fluxvision", "serve")
MODEL = "flux-vision-upscaler"
SIZE = (64, 48)


def noise(width: int, height: int, kind: str = "PNG", mode: str = "RGB", **options) -> bytes:
    """Return a picture that no format makes small."""
    samples = np.random.default_rng(1).integers(0, 256, (height, width, len(mode)), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(samples, mode).save(stream, kind, **options)
    return stream.getvalue()


SMALL = noise(*SIZE)
LARGE = noise(1400, 1100)
"""4.6 MB: more than stays in memory."""
URI = "data:image/png;base64," + base64.b64encode(LARGE).decode()


def mounted(folder: Path, options: str) -> bool:
    """Mount a file system of its own at a new folder; False where this user may not."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"mode=700,{options}", "tmpfs", folder]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.fixture(scope="module")
def disk(tmp_path_factory):
    """A file system for the data folder, of 32 MiB and 200 files."""
    folder = tmp_path_factory.mktemp("disk") / "data"
    if not mounted(folder, "size=32m,nr_inodes=200"):
        pytest.skip("only root may mount a file system")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


@pytest.fixture(scope="module")
def fal():
    with running_fal() as running:
        yield running


@pytest.fixture(scope="module")
def other():
    with running_openai() as running:
        yield running


@pytest.fixture(scope="module")
def server(disk, fal, other):
    """A server whose data folder has the disk for itself, with fal.ai and another server behind it."""
    upstream = {"name": "other", "base_url": other.base_url, "key": other.key, "models": {MODEL: MODEL}, "price": "1"}
    settings = {
        "fal_queue_url": fal.queue_url,
        "fal_storage_url": fal.storage_url,
        "threads": "1",
        "allow_private_urls": "true",
        "openai": json.dumps([upstream]),
    }
    with Server(disk, settings, {"FAL_KEY": fal.key}, module=SERVE) as running:
        yield running


@dataclass
class Served:
    """A server, its disk, and the servers behind it."""

    server: Server
    disk: Path
    fal: FakeFal
    other: FakeOpenAI


@pytest.fixture
def served(server, disk, fal, other):
    """Every test begins with an empty disk and with servers that have forgotten what was."""
    fal.fail("")
    other.behave()
    fal.work, fal.paid, other.paid = 0.0, 0, 0
    fal.submissions.clear()
    yield Served(server, disk, fal, other)
    for path in disk.glob("filler*"):
        path.unlink()
    assert server.nothing_left()


def fill(disk: Path, free: int = 0) -> None:
    """Fill the disk until so many bytes are left."""
    facts = os.statvfs(disk)
    with disk.joinpath("filler").open("ab") as file:
        file.write(bytes(max(0, facts.f_bavail * facts.f_frsize - free)))


def use_all_files(disk: Path) -> None:
    """Leave the disk room for no further file."""
    with contextlib.suppress(OSError):
        for number in range(1000):
            disk.joinpath(f"filler-{number}").touch()


def edited(server: Server, picture: bytes = SMALL, provider: str = "fal", **fields):
    given = {"model": f"{provider}/{MODEL}", "response_format": "b64_json", "scale_factor": "2", **fields}
    return server.post("/v1/images/edits", form(("image", picture, "a.png"), *given.items()))


def is_full(answer) -> bool:
    """Whether an answer says that the disk is full, and when to try again."""
    error = answer.json()["error"]
    said = error["code"] == "UNAVAILABLE" and "no room on this server's disk" in error["message"]
    return answer.status == 503 and said and int(answer.headers["retry-after"]) > 0


@pytest.mark.parametrize("provider", ["fal", "other", "embedded"])
@pytest.mark.parametrize(
    "fields", [{}, {"response_format": "url"}, {"output_format": "webp"}, {"strip_metadata": "true"}, {"n": "2"}]
)
def test_nothing_is_paid_on_a_full_disk(served, provider, fields):
    """A small picture, which needs no disk to arrive, is refused before any provider is asked."""
    fill(served.disk)
    answer = edited(served.server, provider=provider, **fields)
    assert is_full(answer), answer.body
    assert "metadata" not in answer.json()
    assert "x-should-retry" not in answer.headers
    assert (served.fal.submissions, served.other.paid) == ([], 0)


@pytest.mark.parametrize(
    "request_",
    [
        form(("model", MODEL), ("image", LARGE, "a.png")),
        form(("model", MODEL), ("image", URI)),
        document({"model": MODEL, "image": URI}),
    ],
    ids=["file", "text", "json"],
)
def test_an_upload_that_finds_no_room_is_503(served, request_):
    """A body that does not stay in memory is told that the disk is full, whatever its kind."""
    fill(served.disk)
    assert is_full(served.server.post("/v1/images/edits", request_))
    assert served.fal.submissions == []


def test_a_picture_that_is_fetched_finds_no_room(served):
    """A full disk is not taken for a fault of the host that has the picture, or of the caller."""
    url = served.fal.publish(SMALL)
    fill(served.disk)
    answer = served.server.post("/v1/images/edits", document({"model": f"fal/{MODEL}", "image": url}))
    assert is_full(answer), answer.body


@pytest.mark.parametrize("picture", [noise(*SIZE, "PNG", "RGBA"), noise(*SIZE, "TIFF")], ids=["alpha", "tiff"])
def test_a_picture_that_cannot_be_prepared_is_not_sent(served, picture):
    """One that has to be written in another format first is refused in the same way."""
    fill(served.disk)
    assert is_full(edited(served.server, picture))
    assert served.fal.submissions == []


@pytest.mark.parametrize("provider", ["fal", "other", "embedded"])
def test_room_for_the_upload_is_not_room_for_the_result(served, provider):
    """What the result needs is counted before anybody is asked: 4 times 1.5 megapixels in raw and finished."""
    fill(served.disk, free=len(LARGE) + 30_000_000 // 2)
    answer = edited(served.server, LARGE, provider)
    assert is_full(answer), answer.body
    assert (served.fal.submissions, served.other.paid) == ([], 0)


@pytest.mark.parametrize("preview", ["0", "1"])
def test_a_stream_tells_a_full_disk(served, preview):
    """A job that may cost something is refused with a status of its own; nothing is paid."""
    fill(served.disk)
    assert is_full(edited(served.server, stream="true", partial_images=preview))
    assert served.fal.submissions == []


@pytest.mark.parametrize("provider", ["fal", "embedded"])
def test_a_disk_without_room_for_files_is_full(served, provider):
    """Bytes alone are not enough: a file system may have no further files."""
    use_all_files(served.disk)
    assert is_full(edited(served.server, provider=provider))
    assert served.fal.submissions == []


def test_too_many_open_files_is_503(served):
    """A process that may open nothing more says so before anybody is asked."""
    pid = served.server.process.pid
    limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    headers, body = form(("model", f"fal/{MODEL}"), ("image", SMALL, "a.png"))
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    head = f"POST /v1/images/edits HTTP/1.1\r\nHost: 127.0.0.1\r\n{lines}Content-Length: {len(body)}\r\n\r\n"
    with served.server.connect() as connection:
        connection.sendall(head.encode())
        assert wait_until(lambda: list(served.disk.glob("uploads/run-*/work-*")))
        taken = {path.name for path in Path(f"/proc/{pid}/fd").iterdir()}
        lowest = next(number for number in range(limits[0]) if str(number) not in taken)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (lowest, limits[1]))
        try:
            connection.sendall(body)
            answer = read(connection)
        finally:
            resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
    assert answer.status == 503, answer.body
    assert "too many files" in answer.json()["error"]["message"]
    assert served.fal.submissions == []


def test_two_jobs_do_not_count_on_the_same_room(served):
    """Of two at the same time one is made and one is refused, where there is room for one."""
    picture = noise(400, 300)
    fill(served.disk, free=6_000_000)
    served.fal.work = 1.0
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda _number: edited(served.server, picture), range(2)))
    assert sorted(answer.status for answer in answers) == [200, 503]
    assert len(served.fal.submissions) == 1


@pytest.mark.parametrize("picture", [SMALL, noise(700, 600, "JPEG")], ids=["small", "large"])
@pytest.mark.parametrize("response_format", ["url", "b64_json"])
def test_a_result_keeps_its_room_while_others_fill_the_disk(served, picture, response_format):
    """The blocks are there when fal.ai is done, though another program took all that was free meanwhile."""
    served.fal.work = 1.0
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(edited, served.server, picture, response_format=response_format)
        assert wait_until(lambda: served.fal.submissions)
        fill(served.disk)
        answer = asked.result()
    assert answer.status == 200, answer.body


def test_what_was_paid_and_cannot_be_stored_is_told(served):
    """A disk that has no files left meanwhile: 503 with what the try has cost, and no advice to try again."""
    picture = noise(300, 200)
    served.fal.work = 1.0
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(edited, served.server, picture)
        assert wait_until(lambda: served.fal.submissions)
        fill(served.disk)
        use_all_files(served.disk)
        answer = asked.result()
    assert is_full(answer), answer.body
    told = answer.json()["metadata"]
    assert told["cost"] == pytest.approx(300 * 200 * 4 / 1e6 * 0.1, rel=0.01)
    assert [(attempt["provider"], attempt["outcome"]) for attempt in told["attempts"]] == [("fal", "UNAVAILABLE")]
    assert answer.headers["x-should-retry"] == "false"


def test_a_full_disk_moves_no_breaker(served):
    """After many refusals for want of room the same provider makes the picture as soon as there is some."""
    fill(served.disk)
    for _ in range(6):
        assert is_full(edited(served.server))
    served.disk.joinpath("filler").unlink()
    answer = edited(served.server)
    assert (answer.status, answer.json()["metadata"]["provider"]) == (200, "fal")


@pytest.mark.parametrize("provider", ["fal", "embedded"])
def test_the_command_line_pays_nothing_on_a_full_disk(served, tmp_path, provider):
    """Where the result is to lie there is no room: one sentence, exit code 1, nothing paid and nothing left behind."""
    picture = tmp_path / "in.png"
    picture.write_bytes(SMALL)
    fill(served.disk, free=64 * 1024)
    environment = {
        **os.environ,
        "FAL_KEY": served.fal.key,
        "FLUXVISION_FAL_QUEUE_URL": served.fal.queue_url,
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    flags = ["--provider", provider, "--out", served.disk / "x.png"]
    command = [sys.executable, "-m", "fluxvision", "upscale", picture, *flags]
    ended = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (ended.returncode, served.fal.submissions) == (1, [])
    assert ended.stderr.strip().splitlines()[-1].endswith("There is no room on the disk at the moment.")
    left = {path.name for path in served.disk.iterdir() if "fluxvision" in path.name or path.suffix}
    assert {name for name in left if not name.startswith("fluxvision.db")} == {"media.key"}


def test_the_output_may_be_a_full_disk(tmp_path):
    """A picture that is written to standard output finds no room: a sentence and exit code 1."""
    picture = tmp_path / "in.png"
    picture.write_bytes(SMALL)
    with Path("/dev/full").open("wb") as full:
        command = [sys.executable, "-m", "fluxvision", "upscale", picture, "--out", "-"]
        ended = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert ended.returncode == 1
    assert ended.stderr.strip().endswith("There is no room on the disk at the moment.")
