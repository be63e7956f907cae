"""The Python API: what goes in, what comes out, and how it ends."""

from __future__ import annotations

import asyncio
import io
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

import fluxvision
from fluxvision.core.errors import ConfigError, InvalidRequest

PHOTO = np.ascontiguousarray(data.astronaut()[60:84, 180:212])
GREY = np.ascontiguousarray(PHOTO[:, :, 1])


@pytest.fixture(scope="module")
def upscaler():
    with fluxvision.Upscaler(threads=1) as made:
        yield made


def png(samples):
    file = io.BytesIO()
    Image.fromarray(samples).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def as_kind(tmp_path):
    def convert(kind):
        path = tmp_path / "photo.png"
        path.write_bytes(png(PHOTO))
        return {
            "path": path,
            "text": str(path),
            "bytes": png(PHOTO),
            "pil": Image.fromarray(PHOTO),
            "numpy": PHOTO,
            "slice": np.dstack([PHOTO, PHOTO])[:, :, :3],
        }[kind]

    return convert


@pytest.mark.parametrize("kind", ["text", "bytes", "pil", "numpy", "slice"])
def test_each_kind_of_input_gives_the_same_picture(upscaler, as_kind, kind):
    """A path, a string, bytes, a Pillow image and an array of the same pixels give the same pixels."""
    wanted = upscaler.upscale(as_kind("path")).to_numpy()
    assert wanted.shape == (48, 64, 3)
    assert np.array_equal(upscaler.upscale(as_kind(kind)).to_numpy(), wanted)


@pytest.mark.parametrize(
    ("samples", "shape"),
    [
        (GREY, (48, 64)),
        (GREY[:, :, None], (48, 64)),
        (np.dstack([GREY, GREY]), (48, 64, 2)),
        (np.dstack([PHOTO, GREY]), (48, 64, 4)),
        (PHOTO.astype(np.uint16) * 257, (48, 64, 3)),
        (GREY.astype(np.uint16) * 257, (48, 64)),
    ],
)
def test_bands_and_bits_are_kept(upscaler, samples, shape):
    """Grey stays grey, alpha stays, and 16 bits stay 16 bits."""
    made = upscaler.upscale(samples).to_numpy()
    assert (made.shape, made.dtype) == (shape, samples.dtype)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "I"])
def test_pillow_modes_are_read(upscaler, mode):
    """An image of any mode with a known range is enlarged."""
    wide = mode.startswith("I")
    image = Image.fromarray(GREY.astype(np.uint16) * 257) if wide else Image.fromarray(PHOTO)
    made = upscaler.upscale(image.convert(mode) if mode != "I;16" else image)
    assert made.to_pil().size == (64, 48)
    assert made.to_numpy().dtype == (np.uint16 if wide else np.uint8)


def test_one_result_in_four_forms(upscaler, tmp_path):
    """The file, its bytes, the Pillow image and the array hold the same pixels, and the facts are those of the job."""
    made = upscaler.upscale(PHOTO, scale_factor=1.5, output_format="webp", output_compression=90)
    saved = made.save(tmp_path / "large.webp")
    assert saved.read_bytes() == made.to_bytes()
    assert np.array_equal(np.asarray(made.to_pil()), made.to_numpy())
    assert (made.format, made.width, made.height, made.provider, made.cost) == ("webp", 48, 36, "embedded", 0)
    assert made.fidelity.lr_psnr_db > 25
    assert {entry.parameter for entry in made.receipt} >= {"scale_factor", "output_format"}


def test_a_mask_of_another_kind_than_the_picture(upscaler):
    """The opaque half of a mask, given as a Pillow image, has the faithful pixels of creativity 0."""
    mask = Image.new("RGBA", (32, 24))
    mask.paste((255, 255, 255, 255), (0, 0, 16, 24))
    masked = upscaler.upscale(PHOTO, mask=mask, creativity=1).to_numpy()
    faithful = upscaler.upscale(PHOTO, creativity=0).to_numpy()
    assert np.array_equal(masked[:, :20], faithful[:, :20])
    assert not np.array_equal(masked[:, -20:], faithful[:, -20:])


@pytest.mark.parametrize(
    ("picture", "fields", "param"),
    [
        (PHOTO.astype(float), {}, "image"),
        (PHOTO[:0], {}, "image"),
        (np.zeros((4, 4, 5), np.uint8), {}, "image"),
        (Image.new("F", (4, 4)), {}, "image"),
        (b"no picture", {}, "image"),
        (b"", {}, "image"),
        ("missing.png", {}, "image"),
        (3, {}, "image"),
        (PHOTO, {"scale_factor": 19}, "scale_factor"),
        (PHOTO, {"n": 2}, "n"),
        (PHOTO, {"num_images": 2}, "num_images"),
        (PHOTO, {"stream": True}, "stream"),
        (PHOTO, {"mask": 3}, "mask"),
    ],
)
def test_bad_input_names_the_parameter(upscaler, picture, fields, param):
    """What cannot be used is an `InvalidRequest` that names its parameter."""
    with pytest.raises(InvalidRequest) as caught:
        upscaler.upscale(picture, **fields)
    assert caught.value.param == param


def test_progress_is_told(upscaler):
    """The callback gets the number of finished tiles and of all, the last time with all finished."""
    told = []
    upscaler.upscale(PHOTO, progress=lambda done, total: told.append((done, total)))
    assert told[-1][0] == told[-1][1] >= 1


def test_many_threads_and_loops_share_one(upscaler):
    """Threads and an event loop of its own use the same upscaler at once and get what each asked for."""

    async def several():
        made = await asyncio.gather(*(upscaler.upscale_async(PHOTO, scale_factor=factor) for factor in (1, 2, 3)))
        return [picture.width for picture in made]

    found = []
    thread = threading.Thread(target=lambda: found.append(upscaler.upscale(PHOTO, scale_factor=4).width))
    thread.start()
    assert asyncio.run(several()) == [32, 64, 96]
    thread.join()
    assert found == [128]


def test_the_function_keeps_one_upscaler():
    """`upscale` needs no object and no setting."""
    assert fluxvision.upscale(PHOTO).width == 64


async def test_a_cancelled_task_stops_and_leaves_nothing(tmp_path, monkeypatch):
    """Cancelling the awaiting task ends the work, and its folder is removed."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    async with fluxvision.Upscaler(threads=1) as upscaler:
        begun = asyncio.Event()
        loop = asyncio.get_running_loop()
        large = np.tile(PHOTO, (24, 16, 1))
        work = asyncio.create_task(
            upscaler.upscale_async(large, progress=lambda *_: loop.call_soon_threadsafe(begun.set))
        )
        await begun.wait()
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work
    assert list(tmp_path.iterdir()) == []


def test_files_go_with_the_object(tmp_path, monkeypatch):
    """The folder of a result exists as long as the result does."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with fluxvision.Upscaler(threads=1) as upscaler:
        made = upscaler.upscale(PHOTO)
        assert len(list(tmp_path.iterdir())) == 1
    assert made.to_bytes()
    del made
    assert list(tmp_path.iterdir()) == []


def test_after_closing_nothing_is_taken():
    """A closed upscaler refuses, and closing twice is the same as once."""
    upscaler = fluxvision.Upscaler(threads=1)
    upscaler.close()
    upscaler.close()
    with pytest.raises(RuntimeError):
        upscaler.upscale(PHOTO)


def test_settings_are_checked():
    """A setting that is unknown or wrong is a `ConfigError`."""
    with pytest.raises(ConfigError):
        fluxvision.Upscaler(thread=1)
    with pytest.raises(ConfigError):
        fluxvision.Upscaler(threads="many")


def test_no_paid_provider_by_itself(monkeypatch):
    """With a key in the environment, a call that allows no cost is made by a provider that costs nothing."""
    monkeypatch.setenv("FAL_KEY", "a:b")
    with fluxvision.Upscaler(threads=1) as upscaler:
        assert upscaler.upscale(PHOTO).provider == "embedded"


def test_reading_needs_a_path_of_a_file(upscaler):
    """A folder is no picture."""
    with pytest.raises(InvalidRequest):
        upscaler.upscale(Path())
