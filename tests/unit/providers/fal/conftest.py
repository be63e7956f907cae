"""A fal.ai on loopback, a provider for it, and a picture."""

from __future__ import annotations

import pytest
from PIL import Image
from skimage import data

from fakes.fal import FakeFal
from fluxvision.providers.fal import Provider


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    Image.fromarray(data.astronaut()[:80, 180:276]).save(path)
    return path


@pytest.fixture
async def fal():
    async with FakeFal() as running:
        yield running


@pytest.fixture
async def provider(fal):
    made = Provider(fal.key, fal.queue_url, fal.storage_url, time_scale=0.02)
    yield made
    await made.aclose()
