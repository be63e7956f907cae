"""Deep Zoom tiles: what is in them, and that a large picture is not held in memory."""

from __future__ import annotations

import re
import subprocess
import sys

import numpy as np
import pytest
import pyvips
from PIL import Image

from fluxvision.core.errors import InvalidRequest
from fluxvision.imaging.deep_zoom import TILE, write_pyramid

MEASURED = """
import resource, sys
from pathlib import Path
from fluxvision.imaging.deep_zoom import write_pyramid
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
write_pyramid(Path(sys.argv[1]), Path(sys.argv[2]))
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def gradient(width, height):
    across, down = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return np.dstack([across, down, np.full_like(across, 90)]).astype(np.uint8)


def loaded(path):
    with Image.open(path) as picture:
        picture.load()
        return picture


def test_the_document_and_the_tiles(tmp_path):
    """The document says size, overlap and format; the highest level is the picture, cut into tiles."""
    Image.fromarray(gradient(1200, 700)).save(tmp_path / "a.png")
    write_pyramid(tmp_path / "a.png", tmp_path)
    said = dict(re.findall(r'(\w+)="(\w+)"', (tmp_path / "image.dzi").read_text()))
    assert (said["Width"], said["Height"], said["Overlap"], said["Format"]) == ("1200", "700", "1", "jpeg")
    assert int(said["TileSize"]) == TILE
    top = tmp_path / "image_files" / "11"
    assert {path.name for path in top.iterdir()} == {f"{x}_{y}.jpeg" for x in range(3) for y in range(2)}
    tile = np.asarray(loaded(top / "1_0.jpeg"), float)
    expected = gradient(1200, 700)[: TILE + 1, TILE - 1 : 2 * TILE + 1]
    assert tile.shape == expected.shape
    assert np.abs(tile - expected).mean() < 2
    assert loaded(tmp_path / "image_files" / "0" / "0_0.jpeg").size == (1, 1)


def test_transparency_stays(tmp_path):
    """A picture with alpha has WebP tiles."""
    Image.fromarray(np.dstack([gradient(60, 40), np.full((40, 60), 128, np.uint8)])).save(tmp_path / "a.png")
    write_pyramid(tmp_path / "a.png", tmp_path)
    assert loaded(tmp_path / "image_files" / "6" / "0_0.webp").getpixel((20, 20))[3] == pytest.approx(128, abs=3)


def test_sixteen_bits_and_profiles_are_shown_in_srgb(tmp_path):
    """Deep samples are reduced, a profile is applied and left out, and so is everything else the picture says."""
    image = pyvips.Image.new_from_array(gradient(64, 64)).copy(interpretation="srgb")
    wide = image.icc_transform("p3", input_profile="srgb", depth=16)
    wide.pngsave(str(tmp_path / "a.png"), bitdepth=16)
    write_pyramid(tmp_path / "a.png", tmp_path)
    tile = loaded(tmp_path / "image_files" / "6" / "0_0.jpeg")
    assert "icc_profile" not in tile.info
    assert np.abs(np.asarray(tile, float) - gradient(64, 64)).mean() < 3


def test_a_damaged_file_leaves_nothing(tmp_path):
    """A file that ends early is refused in a sentence without a path."""
    Image.fromarray(gradient(800, 800)).save(tmp_path / "a.png")
    whole = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InvalidRequest, match="damaged") as caught:
        write_pyramid(tmp_path / "a.png", tmp_path)
    assert str(tmp_path) not in caught.value.message
    assert not (tmp_path / "image.dzi").exists()


@pytest.mark.slow
def test_a_large_picture_is_not_held(tmp_path):
    """48 megapixels, 144 MB as pixels, take less than half of that."""
    noise = pyvips.Image.gaussnoise(8000, 6000, mean=128, sigma=20).cast("uchar")
    noise.bandjoin([noise, noise]).copy(interpretation="srgb").pngsave(str(tmp_path / "a.png"), compression=1)
    command = [sys.executable, "-c", MEASURED, str(tmp_path / "a.png"), str(tmp_path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert int(done.stdout) < 72
