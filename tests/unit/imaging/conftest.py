"""Pictures made in memory, and the way from bytes to pixels."""

import io

import numpy as np
import pytest
from PIL import Image

from fluxvision.imaging import Limits, decode, probe


@pytest.fixture
def store(tmp_path):
    """Write bytes to a file whose name says nothing of its format."""

    def write(data, name="upload"):
        path = tmp_path / name
        path.write_bytes(data)
        return path

    return write


@pytest.fixture
def probed(store):
    """Probe bytes with the default limits."""
    return lambda data, limits=Limits(), param="image": probe(store(data), limits, param)  # noqa: B008, frozen


@pytest.fixture
def decoded(probed):
    """Decode bytes."""
    return lambda data: decode(probed(data))


@pytest.fixture
def saved():
    """Encode a Pillow picture or an array as bytes of a format."""

    def save(picture, form, **options):
        buffer = io.BytesIO()
        image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
        image.save(buffer, form, **options)
        return buffer.getvalue()

    return save


@pytest.fixture
def gradient():
    """Smooth colours, 24 high and 36 wide."""
    down, across = np.mgrid[0:24, 0:36]
    return np.stack([across * 7, down * 10, (across + down) * 4], axis=2).astype(np.uint8)
