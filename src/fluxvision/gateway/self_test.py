"""Tests that this process can still make a picture: reads, enlarges and writes one of a few pixels."""

from __future__ import annotations

from base64 import b64decode
from pathlib import Path

from fluxvision import engine, imaging
from fluxvision.core.errors import Unavailable
from fluxvision.core.images import Metadata
from fluxvision.engine import BACKENDS
from fluxvision.engine.enlarge_to_file import enlarge_to_raster
from fluxvision.imaging import Limits
from fluxvision.imaging.decode import Samples

PICTURE = b64decode("iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAIAAABLbSncAAAAD0lEQVR42mNowAEYhpYEAILzYAEllbNjAAAAAElFTkSuQmCC")
"""A PNG file of 8 x 8 grey pixels."""
GREY, NEAR = 128, 8
"""The value of its samples, and how far the mean of the result's samples may differ from it."""
FACTOR = 2


def run_self_test(folder: Path) -> None:
    """Read, enlarge and write a small picture in one tile and one thread.

    Raises `Unavailable` naming the stage that failed, with the original exception as its cause.
    """
    stage = "read"
    try:
        pixels = imaging.decode(imaging.probe(folder / "small.png", Limits(), content=PICTURE))
        _check_result(pixels.color)
        stage = "enlarged"
        height, width = (FACTOR * side for side in pixels.color.shape[:2])
        request = engine.Request(pixels.color, width, height, backend=BACKENDS[0].name, threads=1)
        raster, _ = enlarge_to_raster(request, folder)
        stage = "written"
        target = folder / "large.png"
        imaging.encode(raster, target, "png", quality=None, metadata=Metadata(), strip=True)
        _check_result(imaging.decode(imaging.probe(target, Limits())).color)
    except Exception as cause:
        message = f"a small picture cannot be {stage}"
        raise Unavailable(message) from cause


def _check_result(color: Samples) -> None:
    """Raise `ValueError` when the samples are not about those of the test picture."""
    if abs(float(color.mean()) - GREY) > NEAR:
        raise ValueError(color.shape)
