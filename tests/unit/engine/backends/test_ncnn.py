"""Whatever ncnn does with broken files, wrong names and too little memory ends as an error of ours."""

from __future__ import annotations

import shutil
import subprocess
import sys

import numpy as np
import psutil
import pytest

from fluxvision.core.errors import InternalError, Unavailable
from fluxvision.core.system import release_memory
from fluxvision.engine import BACKENDS
from fluxvision.engine.backends import weight_files
from fluxvision.engine.backends.ncnn import Networks

SPAN = BACKENDS[0]
OWN = weight_files.OWN
TILE = np.full((3, 16, 16), 0.5, np.float32)


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A copy of the weights, which is loaded."""
    shutil.copytree(OWN, tmp_path / "data")
    monkeypatch.setattr(weight_files, "OWN", tmp_path / "data")
    return tmp_path / "data"


@pytest.fixture
def networks():
    """The running networks of the default engine."""
    return Networks(SPAN)


BROKEN = {
    "missing": None,
    "empty": lambda _data: b"",
    "cut": lambda data: data[: len(data) // 2],
    "one bit": lambda data: data[:-1] + bytes([data[-1] ^ 1]),
    "longer": lambda data: data + b"\n",
    "other numbers": lambda data: bytes(byte ^ 0x55 for byte in data),
}


@pytest.mark.parametrize("suffix", ["param", "bin"])
@pytest.mark.parametrize("how", BROKEN)
def test_broken_weights_are_not_loaded(how, suffix, files, capfd):
    """Each is one sentence that names the network and no path, and nothing is printed."""
    path = files / f"{SPAN.base}.{suffix}"
    change = BROKEN[how]
    path.unlink() if change is None else path.write_bytes(change(path.read_bytes()))
    with pytest.raises(Unavailable, match=rf"^The engine cannot be used: .* {SPAN.base} are missing or damaged\.$"):
        Networks(SPAN)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("suffix", ["param", "bin"])
@pytest.mark.parametrize("how", ["empty", "cut"])
def test_broken_weights_without_a_digest_are_no_crash(how, suffix, files, monkeypatch):
    """Files of other packages are not verified: there ncnn and the rewriting find it out."""
    monkeypatch.setattr(weight_files, "verify", lambda _path: None)
    path = files / f"{SPAN.base}.{suffix}"
    path.write_bytes(BROKEN[how](path.read_bytes()))
    with pytest.raises(Unavailable):
        Networks(SPAN)


def test_weights_that_are_no_numbers_make_no_picture(files, monkeypatch):
    """A result that is not finite is an error, not a picture."""
    monkeypatch.setattr(weight_files, "verify", lambda _path: None)
    path = files / f"{SPAN.base}.bin"
    path.write_bytes(b"\xff" * 16 + path.read_bytes()[16:])
    with pytest.raises(InternalError):
        Networks(SPAN).base(TILE)


@pytest.mark.parametrize(("name", "blob"), [("_inputs", ["nowhere"]), ("_output", "nowhere")])
def test_a_wrong_name_is_an_error(name, blob, networks):
    """A network that lacks the blob is not run without it."""
    setattr(networks._networks[0][1], name, blob)
    with pytest.raises(InternalError):
        networks.base(TILE)


@pytest.mark.parametrize("shape", [(1, 8, 8), (4, 8, 8), (8, 8)])
def test_a_tile_of_another_shape_is_an_error(shape, networks):
    """The memory behind it would be read as pixels."""
    with pytest.raises(InternalError):
        networks.base(np.zeros(shape, np.float32))


SHORT = """
import resource
import numpy as np
from fluxvision.engine import BACKENDS
from fluxvision.engine.backends.ncnn import Networks
networks = Networks(BACKENDS[0])
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 40_000_000, -1))
tile = np.zeros((3, 600, 600), np.float32)
try:
    networks.base(tile)
except MemoryError:
    print("short")
resource.setrlimit(resource.RLIMIT_AS, (-1, -1))
print(networks.base(np.full((3, 16, 16), 0.5, np.float32)).shape)
"""


def test_no_memory_is_an_error_and_the_next_tile_is_made():
    """The network says so instead of ending the process, and goes on when there is memory again."""
    done = subprocess.run([sys.executable, "-c", SHORT], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["short", "(3, 64, 64)"]


def test_buffers_are_kept_while_there_is_work_and_freed_at_rest(networks):
    """The buffers of the last tile wait for the next one, and `release_memory` gives them to the system."""
    tile, most, process = np.zeros((3, 260, 260), np.float32), 60_000_000, psutil.Process()
    release_memory()
    before = process.memory_info().rss
    first = networks.base(tile)
    assert process.memory_info().rss - before > most
    release_memory()
    assert process.memory_info().rss - before < most
    assert (networks.base(tile) == first).all()
