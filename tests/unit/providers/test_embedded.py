"""The provider that is always there."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from PIL import Image
from skimage import data

from fluxvision import imaging
from fluxvision.core.errors import Cancelled, InvalidRequest
from fluxvision.core.types import Call, JobCallbacks
from fluxvision.engine import BACKENDS
from fluxvision.providers.embedded import Provider, choose_backend


def call(path, size, mask=None, **body):
    source = imaging.probe(path, imaging.Limits())
    return Call("embedded", "span", {"size": size, "creativity": 0.3, **body}, source, mask)


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    Image.fromarray(data.astronaut()[:80, 180:276]).save(path)
    return path


async def test_pixels_and_facts(photo, folder):
    """The raster has the size asked for; engine, seed and fidelity are told."""
    outcome = await Provider().run(call(photo, (144, 120)), JobCallbacks(), folder)
    raster = outcome.picture
    assert (raster.width, raster.height, raster.bands, raster.bits) == (144, 120, 3, 8)
    assert raster.path.stat().st_size == 144 * 120 * 3
    assert outcome.details["engine"] == "span"


async def test_depth_and_alpha_survive(tmp_path, folder):
    """16-bit RGBA comes out as 16-bit RGBA."""
    import pyvips  # noqa: PLC0415, Pillow cannot write 16-bit colour

    samples = np.random.default_rng(0).integers(0, 65536, (24, 24, 4), np.uint16)
    path = tmp_path / "deep.png"
    pyvips.Image.new_from_array(samples).copy(interpretation="rgb16").pngsave(str(path), bitdepth=16)
    outcome = await Provider().run(call(path, (48, 48)), JobCallbacks(), folder)
    assert (outcome.picture.bands, outcome.picture.bits) == (4, 16)


async def test_a_cancelled_job_leaves_no_file(photo, folder):
    """Cancelling ends with `Cancelled` and an empty folder."""
    callbacks = JobCallbacks()
    callbacks.cancel.set()
    with pytest.raises(Cancelled):
        await Provider().run(call(photo, (384, 320)), callbacks, folder)
    assert list(folder.iterdir()) == []


async def test_cancelling_the_task_leaves_no_file(photo, folder):
    """The same when the task is cancelled in the middle of the work."""
    task = asyncio.create_task(Provider().run(call(photo, (384, 320)), JobCallbacks(), folder))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert list(folder.iterdir()) == []


async def test_a_damaged_picture_is_the_callers(tmp_path, folder):
    """A file that breaks while its pixels are read is an `InvalidRequest` naming image."""
    path = tmp_path / "cut.jpg"
    Image.effect_noise((200, 200), 90).convert("RGB").save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InvalidRequest) as caught:
        await Provider().run(call(path, (400, 400)), JobCallbacks(), folder)
    assert caught.value.param == "image"
    assert list(folder.iterdir()) == []


def test_the_engine_fits_the_picture(photo):
    """Asked for, it is that one; missing weights name the extra; by itself a clean picture gets SPAN."""
    source = imaging.probe(photo, imaging.Limits())
    assert choose_backend(None, source).name == "span"
    for row in BACKENDS:
        if row.installed:
            assert choose_backend(row.name, source) is row
        else:
            with pytest.raises(InvalidRequest, match=rf"fluxvision\[{row.extra}\]"):
                choose_backend(row.name, source)
    with pytest.raises(InvalidRequest, match="no engine"):
        choose_backend("nonsense", source)
