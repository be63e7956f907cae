"""The receipt of an animated picture says which frames are enlarged, at every offer."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fakes.jobs import job
from fluxvision.catalog.catalog import CATALOG
from fluxvision.catalog.normalize import normalize
from fluxvision.core.errors import InvalidRequest

OFFERS = [pytest.param(row, offer, id=f"{row.id} at {offer.provider}") for row in CATALOG for offer in row.offers]
NOTE = "Only the first of its 3 frames is enlarged; frames=first agrees to that."


def animated(model, frames=3, **values):
    """Return a job for a GIF with some frames."""
    made = job(model=model.id, **values)
    return replace(made, image=replace(made.image, format="gif", frames=frames))


def line(receipt, name):
    """Return a parameter's line, None without one."""
    return next((found for found in receipt if found.parameter == name), None)


@pytest.mark.parametrize(("model", "offer"), OFFERS)
def test_left_out(model, offer):
    """One frame is made of a picture with three: the line of the picture says so, and `strict` refuses."""
    _, plan, receipt = normalize(animated(model, output_format="png"), offer)
    assert plan.frames == 1
    assert (line(receipt, "image").honoured, line(receipt, "frames")) == (False, None)
    assert NOTE in line(receipt, "image").note
    with pytest.raises(InvalidRequest, match=r"^image cannot be honoured exactly, and strict is set: .*frames=first"):
        normalize(animated(model, output_format="png", strict=True), offer)


@pytest.mark.parametrize(("model", "offer"), OFFERS)
def test_the_first_is_enough(model, offer):
    """frames=first is honoured."""
    _, plan, receipt = normalize(first(model), offer)
    assert plan.frames == 1
    assert line(receipt, "image").honoured
    assert (line(receipt, "frames").became, line(receipt, "frames").honoured) == (1, True)


def first(model):
    """Return a job that asks for the first frame."""
    made = animated(model)
    return replace(made, values={**made.values, "frames": "first"})


def every(model, frames=3, **values):
    """Return a job that asks for all frames."""
    made = animated(model, frames, **values)
    return replace(made, values={**made.values, "frames": "all"})


@pytest.mark.parametrize(("model", "offer"), OFFERS)
def test_all_where_only_the_first_is_made(model, offer):
    """frames=all is not honoured by a file format without animation, nor by any provider in a network."""
    _, plan, receipt = normalize(every(model, output_format="png"), offer)
    assert (plan.frames, line(receipt, "image").honoured, line(receipt, "frames").honoured) == (1, True, False)


@pytest.mark.parametrize("asked", [None, "first", "all"])
@pytest.mark.parametrize(("model", "offer"), OFFERS)
def test_a_still_picture(model, offer, asked):
    """There is nothing to say of a picture with one frame."""
    made = animated(model, frames=1)
    made = replace(made, values={**made.values, **({"frames": asked} if asked else {})})
    _, plan, receipt = normalize(made, offer)
    assert plan.frames == 1
    assert all(found.honoured for found in receipt if found.parameter in {"image", "frames"})


LOCAL = [case for case in OFFERS if case.values[1].accepts is None]


@pytest.mark.parametrize("asked", [None, "all"])
@pytest.mark.parametrize("output", ["gif", "webp"])
@pytest.mark.parametrize("source", ["gif", "webp"])
@pytest.mark.parametrize(("model", "offer"), LOCAL)
def test_all_frames_on_this_machine(model, offer, source, output, asked):
    """Where picture and result can be animated, all frames are made, asked for or not."""
    made = every(model, output_format=output) if asked else animated(model, output_format=output)
    made = replace(made, image=replace(made.image, format=source))
    _, plan, receipt = normalize(made, offer)
    assert (plan.frames, line(receipt, "frames").became) == (3, 3)
    assert line(receipt, "image").honoured
    assert line(receipt, "frames").honoured


@pytest.mark.parametrize(("model", "offer"), LOCAL)
@pytest.mark.parametrize(
    ("source", "output", "mask", "reason"),
    [
        ("gif", "png", False, "PNG is written here without animation; output_format=gif or webp keeps it."),
        ("png", "png", False, "Only the frames of GIF and WebP are read one by one."),
        ("png", "webp", False, "Only the frames of GIF and WebP are read one by one."),
        ("heic", "gif", False, "Only the frames of GIF and WebP are read one by one."),
        ("gif", "webp", True, "A mask is applied to one frame."),
    ],
)
def test_the_reason_for_the_first_alone(model, offer, source, output, mask, reason):  # noqa: PLR0917
    """It is in the picture's line, or in that of frames=all."""
    made = animated(model, output_format=output, mask=mask)
    made = replace(made, image=replace(made.image, format=source))
    _, plan, receipt = normalize(made, offer)
    assert (plan.frames, line(receipt, "image").honoured) == (1, False)
    assert line(receipt, "image").note == f"{NOTE} {reason}"
    _, _, receipt = normalize(replace(made, values={**made.values, "frames": "all"}), offer)
    assert line(receipt, "frames").note == f"Only the first frame is enlarged. {reason}"
    assert not line(receipt, "frames").honoured
