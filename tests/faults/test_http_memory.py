"""What a large upload costs: the memory of a served process while it reads one."""

from __future__ import annotations

import base64
import sys
from pathlib import Path

import pytest

from fakes.gateway import MODEL, png
from fakes.server import Server, document, form

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the system has to tell the highest figure")

SIZE = 40_000_000
MOST = 2 * SIZE
PICTURE = png(8, 6) + bytes(range(256)) * (SIZE // 256)  # behind its end a PNG may have anything
URI = "data:image/png;base64," + base64.b64encode(PICTURE).decode()
NAME = ("model", MODEL.id)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Serve, with everything loaded that a request needs."""
    small = "data:;base64," + base64.b64encode(png(8, 6)).decode()
    with Server(tmp_path_factory.mktemp("served") / "data") as running:
        for request in (form(NAME, ("image", png(8, 6), "a.png")), document({"model": MODEL.id, "image": small})):
            assert running.post("/v1/images/edits", request).status == 200
        yield running


def resident(server, name):
    """Return a figure of the process, in bytes."""
    lines = Path(f"/proc/{server.process.pid}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


def escaped(request):
    """Write slashes and pluses as some clients do."""
    return request[0], request[1].replace(b"/", rb"\/").replace(b"+", rb"\u002b")


@pytest.mark.parametrize(
    ("make", "most"),
    [
        (lambda: form(NAME, ("image", PICTURE, "a.png")), MOST // 2),
        (lambda: form(NAME, ("image", URI)), MOST // 2),
        (lambda: document({"model": MODEL.id, "image": URI}), MOST),
        (lambda: document({"model": MODEL.id, "images": [{"image_url": URI}]}), MOST),
        (lambda: escaped(document({"model": MODEL.id, "image": URI})), MOST),
    ],
    ids=["form", "text of a form", "json", "reference", "escapes"],
)
def test_a_large_picture_costs_less_than_twice_its_size(server, make, most):
    """As a form it goes to the disk as it arrives; of JSON no more than the body is in memory."""
    request = make()
    Path(f"/proc/{server.process.pid}/clear_refs").write_text("5", encoding="ascii")  # forgets the highest so far
    before = resident(server, "VmRSS")
    assert server.post("/v1/images/edits?dryRun=true", request).status == 200
    assert resident(server, "VmHWM") - before < most
