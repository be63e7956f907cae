"""The frames of an animation are read one by one as they are shown, and written with their times."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageSequence

from fluxvision.core.callbacks import JobCallbacks
from fluxvision.core.errors import InvalidRequest
from fluxvision.core.images import Animation, Metadata, RawImage
from fluxvision.imaging import Limits, encode, probe
from fluxvision.imaging.animation import extract_frame, read_timing

DELAYS = [40, 100, 250]


def pictures(mode="RGB"):
    """Return three frames of which only a small part changes."""
    frames = [np.full((24, 36, 3), 200, np.uint8) for _ in DELAYS]
    for number, frame in enumerate(frames):
        frame[4:12, 4 + 8 * number : 12 + 8 * number] = (255, 0, 40 * number)
    return [Image.fromarray(frame).convert(mode) for frame in frames]


def shown(data):
    """Return the frames that a viewer shows, (frames, H, W, 3)."""
    with Image.open(io.BytesIO(data)) as image:
        return np.stack([np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(image)]).astype(int)


@pytest.fixture(params=["GIF", "WEBP"])
def source(request, tmp_path, saved):
    """Return an animation of each format that is read by frames."""
    first, *others = pictures()
    options = {"lossless": True} if request.param == "WEBP" else {"disposal": 1}
    data = saved(first, request.param, save_all=True, append_images=others, duration=DELAYS, loop=0, **options)
    (tmp_path / "animation").write_bytes(data)
    return probe(tmp_path / "animation", Limits())


def test_timing(source):
    """Delays are in milliseconds; 0 is without end."""
    timing = read_timing(source)
    assert (list(timing.delays), timing.loop) == (DELAYS, 0)


def test_frames_are_what_is_shown(source, tmp_path):
    """A frame that states a part only is laid on the frame before it."""
    wanted = shown(source.path.read_bytes())
    for number in range(source.frames):
        target = tmp_path / f"{number}.png"
        found = extract_frame(source, number, target, alpha=False, callbacks=JobCallbacks())
        assert (found.format, found.width, found.height) == ("png", 36, 24)
        assert (np.asarray(Image.open(target).convert("RGB")) == wanted[number]).all()


def test_alpha_of_other_frames(source, tmp_path):
    """A frame gets an alpha channel where another one of the animation has it."""
    found = extract_frame(source, 0, tmp_path / "0.png", alpha=True, callbacks=JobCallbacks())
    assert found.alpha


@pytest.mark.parametrize("form", ["gif", "webp"])
def test_written(form, tmp_path):
    """All frames are there, also two that are alike, with their times and the number of loops."""
    frames = []
    for number, picture in enumerate(pictures()):
        path = tmp_path / f"{number}.raw"
        path.write_bytes(picture.tobytes())
        frames.append(RawImage(path, 36, 24, 3, 8))
    animation, target = Animation(frames, DELAYS, 2), tmp_path / f"result.{form}"
    assert encode(animation, target, form, quality=None, metadata=Metadata(), strip=False) == ()
    found = probe(target, Limits())
    timing = read_timing(found)
    assert (found.frames, found.width, found.height) == (3, 36, 24)
    assert (list(timing.delays), timing.loop) == (DELAYS, 2)
    wanted = np.stack([np.asarray(picture) for picture in pictures()]).astype(int)
    assert np.abs(shown(target.read_bytes()) - wanted).mean() < 4


def test_a_gif_keeps_frames_that_are_alike(tmp_path):
    """Their number stays the same."""
    path, target = tmp_path / "0.raw", tmp_path / "result.gif"
    path.write_bytes(bytes(36 * 24 * 3))
    frames = [RawImage(path, 36, 24, 3, 8)] * 3
    encode(Animation(frames, DELAYS, 0), target, "gif", quality=None, metadata=Metadata(), strip=False)
    assert probe(target, Limits()).frames == 3


def test_a_cut_animation(source, tmp_path):
    """A frame that is not there is a damaged file."""
    data = source.path.read_bytes()
    source.path.write_bytes(data[: len(data) // 2])
    with pytest.raises(InvalidRequest, match="damaged or truncated"):
        extract_frame(source, 2, tmp_path / "2.png", alpha=False, callbacks=JobCallbacks())
