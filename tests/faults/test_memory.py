"""The memory of a served process: what broken-off jobs leave, and what a small upload may cost. The real engine."""

from __future__ import annotations

import struct
import sys
import time
import zlib
from pathlib import Path

import pytest

from fakes.server import Server, form, wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the system has to tell the figures")

SIDE = 3_000
PIXELS = SIDE * SIDE * 3
"""Bytes of the large picture's pixels."""
MODEL = ("model", "flux-vision-upscaler")


def blank(side: int) -> bytes:
    """Return a PNG of black pixels, a thousand times smaller than they are."""
    packer = zlib.compressobj(9)
    pixels = b"".join(packer.compress(bytes(1 + side * 3)) for _ in range(side)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in ((b"IHDR", header), (b"IDAT", pixels), (b"IEND", b""))
    )


LARGE, SMALL = blank(SIDE), blank(24)


def serve(folder: Path, **settings: str) -> Server:
    """Return a server of the real engine."""
    return Server(folder / "data", settings, module=("fluxvision", "serve"))


def resident(server: Server, name: str = "VmRSS") -> int:
    """Return a figure of the process, in bytes."""
    lines = Path(f"/proc/{server.process.pid}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


def break_off(server: Server) -> None:
    """Send the large picture and hang up while it is worked on."""
    headers, body = form(("image", LARGE, "a.png"), MODEL)
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    before = server.log.count('"status":499')
    with server.connect() as connection:
        request = f"POST /v1/images/edits HTTP/1.1\r\nHost: 127.0.0.1\r\n{head}Content-Length: {len(body)}\r\n\r\n"
        connection.sendall(request.encode() + body)
        time.sleep(0.7)  # by now the pixels are there, and most of the work is not done
    assert wait_until(lambda: server.log.count('"status":499') > before, 20)


def test_broken_off_jobs_leave_no_pictures_in_memory(tmp_path):
    """After four callers have hung up the process holds no more than after the first of them."""
    with serve(tmp_path) as server:
        assert server.edit(("image", SMALL, "a.png"), MODEL).status == 200
        break_off(server)
        after_one = resident(server)
        for _ in range(3):
            break_off(server)
        assert wait_until(lambda: resident(server) < after_one + 1.5 * PIXELS, 5)


def test_jobs_over_the_deadline_leave_no_pictures_in_memory(tmp_path):
    """After four jobs that ended with 504 the process holds no more than after the first of them."""
    with serve(tmp_path, deadline="1") as server:
        request = (("image", LARGE, "a.png"), MODEL)
        assert server.edit(*request).status == 504
        after_one = resident(server)
        assert [server.edit(*request).status for _ in range(3)] == [504] * 3
        assert wait_until(lambda: resident(server) < after_one + 1.5 * PIXELS, 5)


def test_a_small_picture_stretched_far_costs_little(tmp_path):
    """24x24 pixels stretched to 7000x7000 need less memory than a quarter of the result's samples as floats."""
    with serve(tmp_path) as server:
        assert server.edit(("image", SMALL, "a.png"), MODEL).status == 200
        Path(f"/proc/{server.process.pid}/clear_refs").write_text("5", encoding="ascii")  # forgets the highest so far
        before = resident(server)
        asked = ("size", "7000x7000"), ("fit", "stretch")
        assert server.edit(("image", SMALL, "a.png"), MODEL, *asked).status == 200
        assert resident(server, "VmHWM") - before < 7000 * 7000 * 3
