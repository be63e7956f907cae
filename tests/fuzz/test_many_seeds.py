"""Ten thousand further requests against a real server, and ten thousand further pictures through the library.

They come in sixteen parts. `FUZZ_PARTS` names those to play by their hexadecimal digits; without it all are.
"""

from __future__ import annotations

import os
import random

import pytest

from fakes.server import Server
from fluxvision import Upscaler
from fluxvision.core.errors import InvalidRequest, PayloadTooLarge
from fuzz import campaign, pictures
from fuzz.test_seeds import PICTURES, SEEDS

MANY = 10_000
PART = MANY // 16
PARTS = [int(digit, 16) * PART for digit in os.environ.get("FUZZ_PARTS") or "0123456789abcdef"]


@pytest.mark.timeout(1500)
@pytest.mark.parametrize("start", PARTS)
def test_requests(tmp_path, start):
    """No 5xx, no hang, no error in another shape, no wrong picture; nothing is left, no error in the log."""
    with Server(tmp_path / "data", campaign.SETTINGS, module=("fluxvision", "serve")) as server:
        played = campaign.Campaign(server)
        played.run(range(SEEDS + start, SEEDS + start + PART))
        played.control()
        played.check_rest()
    assert played.findings == []
    assert played.played == PART
    assert {"200", "400", "401", "404", "405", "413", "415"} <= set(played.statuses)


@pytest.mark.timeout(1500)
@pytest.mark.parametrize("start", PARTS)
def test_pictures(tmp_path, start):
    """Each is read and written again, or refused in one line that names no file."""
    path, refused = tmp_path / "upload", 0
    with Upscaler(max_input_pixels=30_000, max_output_pixels=30_000) as upscaler:
        for seed in range(PICTURES + start, PICTURES + start + PART):
            path.write_bytes(pictures.picture(random.Random(seed)) or b"\0")  # noqa: S311, a seed has to give one file
            try:
                made = upscaler.upscale(path, scale_factor=1)
            except (InvalidRequest, PayloadTooLarge) as error:
                refused += 1
                assert "upload" not in error.message, seed  # noqa: PT017
                assert error.message.isprintable(), seed  # noqa: PT017
            else:
                assert made.width * made.height <= 30_000, seed
    assert PART // 4 < refused < PART
