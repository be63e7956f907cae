"""A disk that is full, or fills up: 503, nothing is paid for work that cannot be stored, and what was paid is told."""

from __future__ import annotations

import io
import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fakes.fal import FakeFal, running_fal
from fakes.openai import FakeOpenAI, running_openai
from fakes.server import Server, form

SERVE = ("fluxvision", "serve")
MODEL = "flux-vision-upscaler"
SIZE = (64, 48)
PRICE = 64 * 2 * 48 * 2 / 1e6 * 0.1
"""Dollars of twice the size at fal.ai."""
MEBIBYTE = 1 << 20


def noise(width: int, height: int, kind: str = "PNG", mode: str = "RGB", **options) -> bytes:
    """Return a picture that no format makes small."""
    samples = np.random.default_rng(1).integers(0, 256, (height, width, len(mode)), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(samples, mode).save(stream, kind, **options)
    return stream.getvalue()


SMALL = noise(*SIZE)
LARGE = noise(1400, 1100)
"""4.6 MB: more than stays in memory."""


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
