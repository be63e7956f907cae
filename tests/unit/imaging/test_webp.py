"""Frames of a WebP are counted without libwebp."""

import struct

import numpy as np
import pytest
from PIL import Image

from fluxvision.core.errors import PayloadTooLarge
from fluxvision.imaging import scan


@pytest.fixture
def animation(gradient, saved):
    """Return an animated file of five frames."""
    pages = [Image.fromarray(np.roll(gradient, step, axis=1)) for step in range(5)]
    return saved(pages[0], "WEBP", save_all=True, append_images=pages[1:])


def test_frames(animation, gradient, saved, store):
    """A still picture has one, an animation as many as it has; the count ends past the limit."""
    assert scan.count_webp_frames(store(saved(gradient, "WEBP")), 100) == 1
    assert scan.count_webp_frames(store(animation), 100) == 5
    assert scan.count_webp_frames(store(animation), 2) == 3
    assert scan.count_webp_frames(store(animation[:30]), 100) == 1


@pytest.mark.timeout(20)
def test_many_frames_are_refused_at_once(animation, probed):
    """Two hundred thousand frames are refused before they are looked at."""
    last = animation[animation.rindex(b"ANMF") :]
    body = b"WEBP" + animation[12:] + last * 200_000
    with pytest.raises(PayloadTooLarge, match="frames; this server accepts at most 1,000"):
        probed(b"RIFF" + struct.pack("<I", len(body)) + body)


@pytest.mark.timeout(20)
def test_many_empty_chunks_are_refused_at_once(animation, probed):
    """A million chunks of nothing are refused the same way."""
    body = b"WEBP" + animation[12:44] + (b"junk" + bytes(4)) * 1_000_000
    with pytest.raises(PayloadTooLarge, match="frames"):
        probed(b"RIFF" + struct.pack("<I", len(body)) + body)
