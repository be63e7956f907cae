"""How much of the disk the pictures of a job need: by a formula, and on a disk that has just so much."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from fluxvision import imaging
from fluxvision.catalog.geometry import Geometry
from fluxvision.core.images import InputImage, RawImage
from fluxvision.core.types import Fit, Job, PostprocessPlan
from fluxvision.gateway.finish import FinishState, finish
from fluxvision.gateway.resource_estimate import SPARE, disk_needed

RGB = InputImage("in.png", "png", 500, 400, 3, False, 8, 1000)
TWICE = Geometry(1000, 800, 1000, 800, 1000, 800, 2.0, "contain")
RAW = 1000 * 800 * 3
MASK = replace(RGB, alpha=True)


def job(image=RGB, mask=None):
    return Job("req_1", "m", image, {}, mask)


@pytest.mark.parametrize(
    ("geometry", "image", "plan", "parallel", "expected"),
    [
        (TWICE, RGB, PostprocessPlan(), 1, 2 * RAW),
        (replace(TWICE, engine_width=2000, engine_height=1600), RGB, PostprocessPlan(), 1, 2 * 4 * RAW),
        (TWICE, replace(RGB, bits=16), PostprocessPlan(), 1, 2 * 2 * RAW),
        (TWICE, replace(RGB, channels=1), PostprocessPlan(), 1, 2 * RAW // 3),
        (TWICE, replace(RGB, alpha=True), PostprocessPlan(), 1, 2 * RAW // 3 * 4),
        (replace(TWICE, fit="pad"), RGB, PostprocessPlan(), 1, 2 * RAW // 3 * 4),
        (TWICE, RGB, PostprocessPlan(apply_mask=True), 1, 3 * RAW),
        (TWICE, RGB, PostprocessPlan(n=4), 1, (4 + 1) * RAW),
        (TWICE, RGB, PostprocessPlan(n=4), 10, (4 + 4) * RAW),
        (TWICE, replace(RGB, content=bytes(1000)), PostprocessPlan(), 1, 2 * RAW + 1000),
    ],
)
def test_the_room_follows_from_the_geometry(geometry, image, plan, parallel, expected):
    """Two of the largest picture on its way; more with a mask, for several, and for what is still in memory."""
    assert disk_needed(geometry, job(image), plan, parallel) == expected + SPARE


@pytest.fixture
def disk(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", folder]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount a file system")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def noise(width, height, bands, kind=np.uint8):
    return np.random.default_rng(1).integers(0, np.iinfo(kind).max, (height, width, bands), kind, endpoint=True)


@pytest.mark.parametrize(
    ("provider", "plan", "geometry"),
    [
        ("raster", PostprocessPlan(), TWICE),
        ("file", PostprocessPlan(), TWICE),
        ("file", PostprocessPlan(output_format="tiff"), TWICE),
        ("raster", PostprocessPlan(output_format="jpeg", output_compression=100), TWICE),
        ("file", PostprocessPlan(output_format="webp", output_compression=100), TWICE),
        ("raster", PostprocessPlan(fit=Fit(700, 800, "cover")), replace(TWICE, width=700, fit="cover")),
        ("file", PostprocessPlan(fit=Fit(1200, 800, "pad")), replace(TWICE, width=1200, fit="pad")),
        pytest.param("raster", PostprocessPlan(apply_mask=True), TWICE, marks=pytest.mark.slow),
    ],
    ids=["png", "png from a file", "tiff", "jpeg", "webp", "cover", "pad", "mask"],
)
def test_it_is_enough(disk, tmp_path, provider, plan, geometry):
    """Noise, which no format makes small, is finished on a disk that has just so much, less what is spare."""
    path, mask = tmp_path / "in.png", tmp_path / "mask.png"
    Image.fromarray(noise(500, 400, 3)).save(path)
    Image.fromarray(noise(500, 400, 4)).save(mask)
    source = imaging.probe(path, imaging.Limits())
    large = noise(1000, 800, 3)
    size = disk_needed(geometry, job(source), plan, 1) - SPARE + 64 * 1024
    facts = os.statvfs(disk)
    (disk / "filler").write_bytes(bytes(facts.f_bavail * facts.f_frsize - size))
    made = disk / "made"
    if provider == "raster":
        large.tofile(made)
        picture = RawImage(made, 1000, 800, 3, 8)
    else:
        Image.fromarray(large).save(made, "PNG", compress_level=3)
        picture = made
    work = FinishState(
        picture,
        plan,
        source,
        disk,
        mask=imaging.decode_mask(imaging.probe(mask, imaging.Limits()), 500, 400),
        requested_size=(1000, 800),
    )
    assert finish(work).path.stat().st_size > 0
