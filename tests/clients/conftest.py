"""One real server with the real engine for all client tests, and a real photo."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image
from skimage import data

from fakes.server import Server


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """`fluxvision serve`, as a user starts it."""
    with Server(tmp_path_factory.mktemp("served") / "data", module=("fluxvision", "serve")) as running:
        yield running


@pytest.fixture
def photo(tmp_path, request) -> Path:
    """A folder's source.png: a square photo of 128 pixels, or of a module's `SIDE`."""
    path, side = tmp_path / "source.png", getattr(request.module, "SIDE", 128)
    Image.fromarray(data.astronaut()[:256, 120:376]).resize((side, side), Image.Resampling.BICUBIC).save(path)
    return path
