"""A finished file becomes raw pixels again."""

import errno
import gc
import os
import resource
import shutil
import subprocess
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import pytest
import pyvips
from PIL import Image

from fluxvision.core.callbacks import JobCallbacks
from fluxvision.core.errors import Cancelled, InternalError, InvalidRequest, Unavailable
from fluxvision.core.images import Metadata, RawImage
from fluxvision.core.types import Fit
from fluxvision.imaging import FORMATS, encode, find_format, fit_raster, open_raster, write_preview, write_raster
from fluxvision.imaging.load import translate_read_errors
from fluxvision.imaging.raster import open_stream, write_guard

WRITABLE = [row for row in FORMATS if row.writable]


def pixels(found):
    kind = np.uint8 if found.bits == 8 else np.uint16
    return np.fromfile(found.path, kind).reshape(found.height, found.width, found.bands)


@pytest.mark.parametrize("row", WRITABLE, ids=lambda row: row.name)
@pytest.mark.parametrize("bands", [1, 2, 3, 4])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_there_and_back(row, bands, kind, tmp_path):
    """Every written format is read back in its size; a lossless one sample by sample, a lossy one nearly."""
    ramp = np.linspace(0, np.iinfo(kind).max, 48).astype(kind)
    samples = np.repeat(np.repeat(ramp[None, :, None], 32, axis=0), bands, axis=2)
    if bands in {2, 4}:
        samples[..., -1] = np.iinfo(kind).max
    samples.tofile(tmp_path / "in.raw")
    picture = RawImage(tmp_path / "in.raw", 48, 32, bands, samples.itemsize * 8)
    encode(picture, tmp_path / "file", row.name, quality=None, metadata=Metadata(), strip=False)
    found = write_raster(tmp_path / "file", tmp_path / "out.raw")
    assert (found.path, found.width, found.height) == (tmp_path / "out.raw", 48, 32)
    out = pixels(found)
    if row.lossless:
        assert found.bits == picture.bits
        assert (out == samples).all()
    else:
        scale = np.iinfo(out.dtype).max / np.iinfo(kind).max
        assert np.abs(out[..., 0] - samples[..., 0] * scale).mean() <= np.iinfo(out.dtype).max * 0.02


def test_upright(gradient, saved, store, tmp_path):
    """A file that a viewer turns is turned."""
    made = Image.Exif()
    made[0x0112] = 6
    found = write_raster(store(saved(gradient, "PNG", exif=made)), tmp_path / "out.raw")
    assert (pixels(found) == np.rot90(gradient, -1)).all()


def test_damaged(gradient, saved, store, tmp_path):
    """A file that ends early is refused, and no raw file stays."""
    with pytest.raises(InvalidRequest, match="damaged or truncated"):
        write_raster(store(saved(gradient, "PNG")[:-40]), tmp_path / "out.raw")
    assert not (tmp_path / "out.raw").exists()


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize(
    ("bands", "interpretations"),
    [
        (1, {8: "b-w", 16: "grey16"}),
        (2, {8: "b-w", 16: "grey16"}),
        (3, {8: "srgb", 16: "rgb16"}),
        (4, {8: "srgb", 16: "rgb16"}),
    ],
)
@pytest.mark.parametrize("height", [1, 16, 37])
def test_every_sample_comes_back(tmp_path, bands, interpretations, bits, height):
    """Samples are those of the file, with the right number of bands, type and colours, and nothing else is said."""
    samples = np.random.default_rng(0).integers(0, 2**bits, (height, 53, bands)).astype(f"u{bits // 8}")
    raster = RawImage(tmp_path / "picture.raw", 53, height, bands, bits)
    samples.tofile(raster.path)
    image = open_raster(raster)
    assert image.interpretation == interpretations[bits]
    assert image.hasalpha() == (bands in {2, 4})
    assert not {"bits-per-sample", "resolution-unit", "orientation"}.intersection(image.get_fields())
    assert np.array_equal(image.numpy().reshape(samples.shape), samples)


def test_samples_stay_while_the_image_does(tmp_path):
    """The mapped file stays in memory after everything but the image is gone."""
    samples = np.random.default_rng(0).integers(0, 256, (37, 53, 3), np.uint8)
    samples.tofile(tmp_path / "picture.raw")
    image = open_raster(RawImage(tmp_path / "picture.raw", 53, 37, 3, 8))
    gc.collect()
    assert np.array_equal(image.numpy(), samples)


def test_a_file_that_is_gone_is_an_error_of_ours(tmp_path):
    """It raises `InternalError`, as everything does that goes wrong behind the port."""
    with pytest.raises(InternalError):
        open_raster(RawImage(tmp_path / "gone.raw", 5, 5, 3, 8))


@pytest.mark.parametrize("how", ["gone", "cut"])
def test_pixels_that_cannot_be_read_are_no_black_picture(how, tmp_path, capfd):
    """A raw file that goes away or ends early while it is read is an error, and nothing is printed."""
    path = tmp_path / "pixels.raw"
    np.full((300, 200, 3), 200, np.uint8).tofile(path)
    image = open_stream(RawImage(path, 200, 300, 3, 8))
    if how == "gone":
        path.unlink()
    else:
        os.truncate(path, 100_000)
    with pytest.raises(pyvips.Error):
        image.avg()
    assert capfd.readouterr() == ("", "")


WRITING_WRITABLE = [row.name for row in FORMATS if row.writable]


class Usage(NamedTuple):
    """What a file system says of itself."""

    total: int
    used: int
    free: int


NO_ROOM = r"^There is no room on this server's disk at the moment\.$"


def noise(tmp_path, width, height):
    samples = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    samples.tofile(tmp_path / "noise.raw")
    return RawImage(tmp_path / "noise.raw", width, height, 3, 8)


def write(picture, target, form, callbacks=None, quality=None):
    encode(picture, target, form, quality=quality, metadata=Metadata(), strip=False, callbacks=callbacks)


@pytest.fixture
def full(tmp_path):
    """A folder on a file system of 256 kB."""
    folder = tmp_path / "full"
    folder.mkdir()
    mount = shutil.which("mount")
    command = [mount or "mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", folder]
    if not mount or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_an_earlier_error_text_is_no_full_disk(tmp_path):
    """What libvips left behind of an earlier call does not make a failure one of the disk."""
    pyvips.vips_lib.vips_source_new_from_file(b"/" + os.strerror(errno.ENOSPC).encode())
    with pytest.raises(pyvips.Error), write_guard(tmp_path / "result"):
        pyvips.Image.pngload("/later.png")


@contextmanager
def no_files():
    """Let this process open no further file."""
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, allowed[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, allowed)


def test_a_shortage_is_found_without_the_error_text(tmp_path):
    """Where another thread has cleared the text of libvips, a file that cannot be opened shows what has run out."""
    with pytest.raises(Unavailable, match="too many files"), no_files(), write_guard(tmp_path / "result"):
        raise pyvips.Error("unable to call pngsave")


def test_a_failure_without_a_shortage_leaves_no_file(tmp_path):
    """Nothing stays of the file that shows whether something has run out."""
    with pytest.raises(pyvips.Error), write_guard(tmp_path / "result"):
        raise pyvips.Error("unable to call pngsave")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_no_reason_for_a_damaged_file(tmp_path):
    """The text of libvips may have been left by another thread, whose file had no room."""
    (tmp_path / "damaged.png").write_bytes(b"damaged")

    def load():
        pyvips.vips_lib.vips_source_new_from_file(b"/" + os.strerror(errno.ENOSPC).encode())
        pyvips.Image.pngload(str(tmp_path / "damaged.png"))

    with (
        pytest.raises(InvalidRequest, match="damaged or truncated"),
        translate_read_errors(find_format("png"), "image"),
    ):
        load()


@pytest.mark.parametrize("form", WRITING_WRITABLE)
def test_no_room_for_a_file(form, full, tmp_path):
    """Every format says so where the disk is full, and leaves nothing."""
    with pytest.raises(Unavailable, match=NO_ROOM):
        write(noise(tmp_path, 560, 560), full / "result", form, quality=100)
    assert list(full.iterdir()) == []


def test_no_room_for_raw_pixels(full, tmp_path, saved, probed):
    """Fitting, a preview and a file read back say so too."""
    picture = noise(tmp_path, 500, 400)
    source = probed(saved(np.fromfile(picture.path, np.uint8).reshape(400, 500, 3), "PNG"))
    for work in (
        lambda: fit_raster(picture, Fit(400, 400, "stretch"), full / "out.raw"),
        lambda: write_preview(source, 400, 400, full / "out.raw"),
        lambda: write_raster(source.path, full / "out.raw"),
    ):
        with pytest.raises(Unavailable, match=NO_ROOM):
            work()
        assert list(full.iterdir()) == []


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
        OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)),
        pyvips.Error("unable to call pngsave", f"write error\nsystem error: {os.strerror(errno.ENOSPC)}"),
    ],
)
def test_the_error_says_it(error, tmp_path):
    """A library's own words for a full disk or a used-up quota are enough."""
    (tmp_path / "half").touch()
    with pytest.raises(Unavailable, match=NO_ROOM), write_guard(tmp_path / "half"):
        raise error
    assert list(tmp_path.iterdir()) == []


def test_the_file_system_shows_it(tmp_path, monkeypatch):
    """A vague error where hardly a byte is free is a full disk; elsewhere it stays what it is."""
    with pytest.raises(pyvips.Error), write_guard(tmp_path / "half"):
        raise pyvips.Error("write failed")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**9, 10**9, 4096))
    with pytest.raises(Unavailable, match=NO_ROOM), write_guard(tmp_path / "half"):
        raise pyvips.Error("write failed")
    with pytest.raises(InvalidRequest), write_guard(tmp_path / "half"):
        raise InvalidRequest("The picture is damaged.")


@pytest.mark.parametrize("form", WRITING_WRITABLE)
def test_a_cancelled_result_is_not_kept(form, tmp_path):
    """A watch that is set before the work, in every format, ends it and leaves nothing."""
    picture, callbacks = noise(tmp_path, 34, 24), JobCallbacks()
    callbacks.cancel.set()
    with pytest.raises(Cancelled):
        write(picture, tmp_path / "result", form, callbacks)
    with pytest.raises(Cancelled):
        fit_raster(picture, Fit(120, 100, "stretch"), tmp_path / "out.raw", callbacks)
    assert [path.name for path in tmp_path.iterdir()] == ["noise.raw"]
