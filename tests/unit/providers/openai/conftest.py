"""A server that speaks the images API, a provider for it, and a picture."""

from __future__ import annotations

import pytest
from PIL import Image

from fakes.openai import FakeOpenAI
from fluxvision import imaging
from fluxvision.core.openai_servers import OpenAIServer
from fluxvision.imaging import Limits
from fluxvision.providers.openai import Provider


@pytest.fixture
async def upstream():
    async with FakeOpenAI() as fake:
        yield fake


@pytest.fixture
async def provider(upstream):
    made = Provider(OpenAIServer("other", upstream.base_url, {}, key=upstream.key))
    yield made
    await made.aclose()


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    Image.linear_gradient("L").resize((48, 40)).convert("RGB").save(path)
    return imaging.probe(path, Limits())
