"""An animation goes in and an animation comes out, each frame enlarged as it would be alone."""

from __future__ import annotations

import io
from uuid import uuid4

import numpy as np
import pytest
from PIL import Image, ImageSequence

from fluxvision.core.callbacks import JobCallbacks
from fluxvision.core.errors import InvalidRequest
from fluxvision.core.load_settings import load_settings
from fluxvision.create_gateway import create_gateway
from fluxvision.imaging import Limits, probe

DELAYS = [50, 100, 150, 200]


def scene(number):
    """Return a frame in which colours move."""
    down, across = np.mgrid[0:24, 0:36]
    return np.stack([(across * 5 + number * 20) % 200, down * 10, (across + down) * 3], axis=2).astype(np.uint8)


def animation(form, **options):
    """Return the frames as a file."""
    first, *others = (Image.fromarray(scene(number)) for number in range(len(DELAYS)))
    buffer = io.BytesIO()
    first.save(buffer, form, save_all=True, append_images=others, duration=DELAYS, loop=0, **options)
    return buffer.getvalue()


def frames(data):
    """Return the frames that a viewer shows, and how long each is shown."""
    with Image.open(io.BytesIO(data)) as image:
        found = []
        for frame in ImageSequence.Iterator(image):
            frame.load()
            found.append((np.asarray(frame.convert("RGB")).astype(int), frame.info["duration"]))
        return found, image.info["loop"]


@pytest.fixture
def enlarge(tmp_path):
    """Run a job on the CPU engine and return its result, and what was reported of its progress."""
    gateway = create_gateway(load_settings({}, {"max_output_pixels": 20_000}))

    async def run(data, **fields):
        (tmp_path / "source").write_bytes(data)
        source, folder, seen = probe(tmp_path / "source", Limits()), tmp_path / uuid4().hex, []
        folder.mkdir()
        job = gateway.admit("flux-vision-upscaler", {"creativity": 0, **fields}, source, None, "req_1")
        watch = JobCallbacks(progress=lambda done, total: seen.append((done, total)))
        result = (await gateway.prepare(job).run(watch, folder)).unwrap()
        assert list(folder.iterdir()) == [result.pictures[0].path]
        return result, seen

    return run


@pytest.mark.parametrize("form", ["GIF", "WEBP"])
@pytest.mark.parametrize("output", ["gif", "webp"])
async def test_every_frame_is_enlarged(form, output, enlarge):
    """Number, size, times and loops of the frames stay, and each frame is what it would be alone."""
    data = animation(form, **({"lossless": True} if form == "WEBP" else {}))
    result, seen = await enlarge(data, output_format=output, strict=output == "webp")
    found, loop = frames(result.pictures[0].path.read_bytes())
    assert ([delay for _, delay in found], loop) == (DELAYS, 0)
    assert (result.pictures[0].width, result.pictures[0].height) == (72, 48)
    assert next(line.became for line in result.receipt if line.parameter == "frames") == len(DELAYS)
    assert result.details["frames"] == len(DELAYS)
    assert seen[-1] == (len(DELAYS), len(DELAYS))
    assert result.pictures[0].fidelity.lr_psnr_db > 35
    for (picture, _), (before, _) in zip(found, frames(data)[0], strict=True):
        buffer = io.BytesIO()
        Image.fromarray(before.astype(np.uint8)).save(buffer, "PNG")
        alone, _ = await enlarge(buffer.getvalue(), output_format="png")
        wanted = np.asarray(Image.open(alone.pictures[0].path).convert("RGB")).astype(int)
        assert picture.shape == wanted.shape
        assert np.abs(picture - wanted).mean() < 6


async def test_too_many_pixels_together(enlarge):
    """The limit of pixels holds for all frames together."""
    with pytest.raises(
        InvalidRequest,
        match="frames: all frames together would have 55,296 pixels; at most 20,000 are made; send first",
    ):
        await enlarge(animation("GIF"), output_format="webp", scale_factor=4)
    result, _ = await enlarge(animation("GIF"), output_format="webp", scale_factor=4, frames="first")
    assert probe(result.pictures[0].path, Limits()).frames == 1


async def test_a_crop_of_every_frame(enlarge):
    """Each frame is cut to the size that is asked for."""
    result, _ = await enlarge(animation("GIF"), output_format="webp", size="40x40", fit="cover")
    found, _ = frames(result.pictures[0].path.read_bytes())
    assert [picture.shape for picture, _ in found] == [(40, 40, 3)] * len(DELAYS)
