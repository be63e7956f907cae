"""Writing can be stopped, a full disk is told as such, and no half of a file stays."""

import errno
import os
import resource
import shutil
import subprocess
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import pytest
import pyvips

from fluxvision.core.errors import Cancelled, InvalidRequest, Unavailable
from fluxvision.core.types import Fit, JobCallbacks, Metadata, RawImage
from fluxvision.imaging import FORMATS, encode, find_format, fit_raster, transform, write_raster
from fluxvision.imaging.load import translate_read_errors
from fluxvision.imaging.raster import write_guard

WRITABLE = [row.name for row in FORMATS if row.writable]


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


def write(picture, target, form, watch=None, quality=None):
    encode(picture, target, form, quality=quality, metadata=Metadata(), strip=False, watch=watch)


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


@pytest.mark.parametrize("form", WRITABLE)
def test_no_room_for_a_file(form, full, tmp_path):
    """Every format says so where the disk is full, and leaves nothing."""
    with pytest.raises(Unavailable, match=NO_ROOM):
        write(noise(tmp_path, 800, 800), full / "result", form, quality=100)
    assert list(full.iterdir()) == []


def test_no_room_for_raw_pixels(full, tmp_path, saved, probed):
    """Fitting, a preview and a file read back say so too."""
    picture = noise(tmp_path, 500, 400)
    source = probed(saved(np.fromfile(picture.path, np.uint8).reshape(400, 500, 3), "PNG"))
    for work in (
        lambda: fit_raster(picture, Fit(400, 400, "stretch"), full / "out.raw"),
        lambda: transform(source, 400, 400, full / "out.raw"),
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


@pytest.mark.parametrize("form", WRITABLE)
def test_a_cancelled_result_is_not_kept(form, tmp_path):
    """A watch that is set before the work, in every format, ends it and leaves nothing."""
    picture, watch = noise(tmp_path, 34, 24), JobCallbacks()
    watch.cancel.set()
    with pytest.raises(Cancelled):
        write(picture, tmp_path / "result", form, watch)
    with pytest.raises(Cancelled):
        fit_raster(picture, Fit(120, 100, "stretch"), tmp_path / "out.raw", watch)
    assert [path.name for path in tmp_path.iterdir()] == ["noise.raw"]
