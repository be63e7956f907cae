"""`fluxvision upscale --watch`."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest
from PIL import Image

from fakes.cli_process import FAKE, environment
from fluxvision.cli.watch import FolderWatch


@pytest.fixture
def watch(folder):
    """A watched folder, with the results in a folder inside it."""
    (folder / "in" / "out").mkdir(parents=True)
    return FolderWatch("in", "in/out")


def scanned(watch):
    return [picture.path.name for picture in watch.scan()]


def test_a_picture_is_found_when_it_has_stopped_growing(watch, folder):
    """Not at its first sight, nor while it grows, nor while it is empty; once, and again when it has changed."""
    path = folder / "in" / "a.jpg"
    path.touch()
    assert scanned(watch) == scanned(watch) == []
    path.write_bytes(b"1")
    assert scanned(watch) == []
    path.write_bytes(b"12")
    assert scanned(watch) == []
    assert scanned(watch) == ["a.jpg"]
    assert scanned(watch) == []
    path.write_bytes(b"123")
    assert scanned(watch) == []
    assert scanned(watch) == ["a.jpg"]


def test_results_and_hidden_files_are_not_found(watch, folder):
    """The folder of the results may lie in the watched one."""
    for name in ("out/a.png", "b.jpg", "b@2x.png", ".c.jpg", "notes.txt", "sub/d.jpg"):
        (folder / "in" / name).parent.mkdir(exist_ok=True)
        (folder / "in" / name).write_bytes(b"1")
    watch.scan()
    assert scanned(watch) == ["b.jpg", "d.jpg"]


def test_pictures_are_enlarged_as_they_come_until_ctrl_c(picture, folder, names):
    """What is there already comes first; a result that exists is left alone; a broken file stops nothing."""
    picture("in/first.jpg")
    command = [*FAKE, "upscale", "in", "--out", "out", "--watch"]
    with subprocess.Popen(command, env=environment(FAKE_TILES="1"), stderr=subprocess.PIPE, text=True) as process:
        lines = [process.stderr.readline()]
        (folder / "in" / "broken.jpg").write_bytes(b"no picture")
        with (folder / "in" / "second.jpg").open("wb") as file:
            Image.new("RGB", (12, 8)).save(file, "JPEG")
            os.fsync(file.fileno())
        lines += sorted(process.stderr.readline() for _ in range(2))
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 1  # the broken one
    for line, begin in zip(lines, ("in/first.jpg ", "Failed: in/broken.jpg: ", "in/second.jpg "), strict=True):
        assert line.startswith(begin)
    assert "1 of 3 failed" in err
    assert {"out/first@2x.png", "out/second@2x.png"} < set(names())
    assert not [name for name in names() if "fluxvision-run" in name]


def test_an_idle_watch_ends_with_0(picture):
    """Ctrl-C is its usual end."""
    picture("in/first.jpg")
    command = [*FAKE, "upscale", "in", "--out", "out", "--watch"]
    with subprocess.Popen(command, env=environment(FAKE_TILES="1"), stderr=subprocess.PIPE, text=True) as process:
        assert "first.jpg" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 0, err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("a.jpg", "--out", "out"), "--watch takes one folder."),
        ((".", "in", "--out", "out"), "--watch takes one folder."),
        ((".",), "--watch needs a folder for the results"),
        ((".", "--out", "out", "--dry-run"), "--watch and --dry-run contradict each other"),
    ],
)
def test_what_cannot_be_watched_is_refused(line, arguments, words):
    """A usage error says what is missing."""
    assert line("upscale", "--watch", *arguments) == 2
    assert words in line.err
