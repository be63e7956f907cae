"""Networks in files of one's own."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from skimage import data

from fluxvision import engine
from fluxvision.core.errors import Unavailable
from fluxvision.engine.backends import registry, weight_files
from fluxvision.engine.backends.custom import CustomNetworks, probe_network
from fluxvision.engine.backends.registry import TileInput, TileOrigin
from fluxvision.engine.enlarge_to_file import enlarge_in_passes

FACE = np.ascontiguousarray(data.astronaut()[80:117, 200:241])
TILE = np.ascontiguousarray(FACE.transpose(2, 0, 1), np.float32) / np.float32(255)
TWICE = ("Input data 0 1 data", "Interp up 1 1 data out 0=1 1=2.0 2=2.0")
EVEN = (
    "Input data 0 1 data",
    "Reorg half 1 1 data half 0=2",
    "PixelShuffle whole 1 1 half whole 0=2",
    "Interp up 1 1 whole out 0=1 1=2.0 2=2.0",
)
"""Halves the sides before it enlarges, as networks with a pixel-unshuffle do."""


@pytest.fixture
def write(tmp_path):
    """Write a network of some layers without weights."""

    def write_network(*lines, name="mine"):
        blobs = {blob for line in lines for blob in line.split()[4:] if "=" not in blob}
        path = tmp_path / f"{name}.param"
        path.write_text("\n".join(["7767517", f"{len(lines)} {len(blobs)}", *lines, ""]))
        path.with_suffix(".bin").write_bytes(b"")
        return path

    return write_network


@pytest.fixture
def copied(tmp_path):
    """The detail network of SPAN under another name."""
    for suffix in ("param", "bin"):
        shutil.copy(weight_files.OWN / f"4xSPANkendata.{suffix}", tmp_path / f"4x-copy.{suffix}")
    return tmp_path / "4x-copy.param"


def test_a_copy_of_a_network_of_ours_is_found_out(copied):
    """Its factor is 4 and its halo is near that of our row; the samples are those of our own."""
    row = probe_network("4x-copy", copied)
    assert (row.name, row.factor, row.multiple) == ("4x-copy", 4, 1)
    assert 8 <= row.halo <= 16
    window = TileInput(TILE, TILE, TileOrigin(0, 0))
    mine, ours = (found.detail([window])[0] for found in (CustomNetworks(row), registry.load_backend("span")))
    assert (mine == ours).all()


@pytest.mark.parametrize(("lines", "multiple"), [(TWICE, 1), (EVEN, 2)])
def test_the_factor_and_the_multiple_are_found(lines, multiple, write):
    """A window of any size is made, and has the base's size."""
    row = probe_network("mine", write(*lines))
    assert (row.factor, row.multiple) == (2, multiple)
    networks = CustomNetworks(row)
    made = networks.detail([TileInput(TILE, TILE, TileOrigin(0, 0))])[0]
    assert made.shape == networks.base(TILE).shape == (3, 74, 82)
    assert (made == np.repeat(np.repeat(TILE, 2, axis=1), 2, axis=2)).all()


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (
            ("Input data 0 1 data", "Interp out 1 1 data out 0=1 1=1.0 2=1.0"),
            "it enlarges 1 times; 2 to 8 times can be used",
        ),
        (("Input data 0 1 data", "Interp out 1 1 data out 0=1 1=1.5 2=1.5"), "its results are no multiple|ncnn breaks"),
        (("Input data 0 1 data", "Reorg out 1 1 data out 0=2"), "it makes no picture of three colours"),
        (("Input data 0 1 data", "Interp out 1 1 data out 0=1 1=2.0 2=4.0"), "it makes no picture of three colours"),
    ],
)
def test_what_enlarges_no_picture_is_refused(lines, reason, write):
    """One sentence names the network and why, and no path."""
    path = write(*lines)
    with pytest.raises(Unavailable, match=f"^engine: the network mine cannot be used: {reason}") as caught:
        probe_network("mine", path)
    assert str(path.parent) not in caught.value.message


def test_files_that_are_no_network_are_refused(tmp_path):
    """The sentence names the network and no path."""
    path = tmp_path / "mine.param"
    path.write_text("hello")
    path.with_suffix(".bin").write_bytes(b"")
    with pytest.raises(Unavailable, match="mine cannot be used: its files are damaged"):
        probe_network("mine", path)


def test_four_times_by_a_network_of_two_is_two_passes(write, tmp_path):
    """Each pass enlarges as much as the network can."""
    row = probe_network("mine", write(*TWICE))
    request = engine.Request(FACE, 164, 148, engine=(row, None), threads=1)
    raster, passes = enlarge_in_passes(request, tmp_path)
    assert [(one.width, one.height) for one in passes] == [(82, 74), (164, 148)]
    assert raster.path.stat().st_size == 164 * 148 * 3
