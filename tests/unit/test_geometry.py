"""The size words become one geometry; what is delivered is exactly what was asked for."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as some

from fakes.jobs import job
from fluxvision.errors import InvalidRequest
from fluxvision.geometry import RESOLUTIONS, solve

CASES = [
    # source, values, delivered, made by the engine
    ((640, 427), {}, (1280, 854), (1280, 854)),
    ((640, 427), {"scale_factor": 1.5}, (960, 640), (960, 640)),
    ((640, 427), {"scale_factor": 1}, (640, 427), (640, 427)),
    ((101, 33), {"scale_factor": 1.1}, (111, 36), (111, 36)),
    ((512, 512), {"size": "1024x1024"}, (1024, 1024), (1024, 1024)),
    ((640, 427), {"size": "1024x1024"}, (1024, 683), (1024, 683)),
    ((640, 427), {"size": "1024x1024", "fit": "cover"}, (1024, 1024), (1535, 1024)),
    ((640, 427), {"size": "1024x1024", "fit": "pad"}, (1024, 1024), (1024, 683)),
    ((640, 427), {"size": "1024x1024", "fit": "stretch"}, (1024, 1024), (1024, 1024)),
    ((1024, 1024), {"size": "512x512"}, (512, 512), (1024, 1024)),
    ((100, 100), {"size": "1000x1000"}, (1000, 1000), (400, 400)),
    ((400, 300), {"aspect_ratio": "1:1"}, (800, 600), (800, 600)),
    ((400, 300), {"size": "1:1"}, (800, 600), (800, 600)),
    ((400, 300), {"aspect_ratio": "1:1", "fit": "cover"}, (600, 600), (800, 600)),
    ((400, 300), {"aspect_ratio": "1:1", "fit": "pad"}, (800, 800), (800, 600)),
    ((400, 300), {"aspect_ratio": "16:9", "fit": "pad", "scale_factor": 1}, (534, 300), (400, 300)),
    ((512, 256), {"resolution": "1K"}, (1024, 512), (1024, 512)),
    ((1000, 100), {"resolution": "1K"}, (1024, 102), (1024, 102)),
    ((100, 1000), {"resolution": "1K", "fit": "pad"}, (102, 1024), (102, 1024)),
    ((2048, 1024), {"resolution": "1K"}, (1024, 512), (2048, 1024)),
    ((400, 300), {"resolution": "1K", "aspect_ratio": "1:1", "fit": "cover"}, (1024, 1024), (1365, 1024)),
    ((400, 300), {"size": "auto"}, (800, 600), (800, 600)),
    ((400, 300), {"size": "800x600", "scale_factor": 2}, (800, 600), (800, 600)),
    ((400, 300), {"size": "4:3", "aspect_ratio": "8:6"}, (800, 600), (800, 600)),
    ((400, 300), {"size": "1024x768", "aspect_ratio": "4:3", "resolution": "1K"}, (1024, 768), (1024, 768)),
    ((1, 1), {"size": "1x1"}, (1, 1), (1, 1)),
    ((1000, 1), {"size": "400x400"}, (400, 1), (1000, 1)),
]
DISAGREEMENTS = [
    ({"size": "100x100", "scale_factor": 2.0}, "size", "scale_factor"),
    ({"size": "100x100", "aspect_ratio": "16:9"}, "size", "aspect_ratio"),
    ({"size": "1:1", "aspect_ratio": "16:9"}, "size", "aspect_ratio"),
    ({"size": "100x100", "resolution": "1K"}, "size", "resolution"),
    ({"resolution": "1K", "scale_factor": 2.0}, "resolution", "scale_factor"),
    ({"resolution": "1K", "scale_factor": 2.0, "aspect_ratio": "1:1"}, "resolution", "scale_factor"),
]

sides = some.integers(1, 3000)
ratios = some.builds("{}:{}".format, some.integers(1, 40), some.integers(1, 40))
fits = some.sampled_from(["contain", "cover", "pad", "stretch"])
factors = some.integers(100, 400).map(lambda hundredths: hundredths / 100)
words = some.fixed_dictionaries(
    {},
    optional={
        "scale_factor": factors,
        "size": some.builds("{}x{}".format, sides, sides) | ratios | some.just("auto"),
        "aspect_ratio": ratios,
        "resolution": some.sampled_from(["1K", "2K", "4K"]),
        "fit": fits,
    },
)


@pytest.mark.parametrize(("source", "values", "delivered", "made"), CASES)
def test_words_become_pixels(source, values, delivered, made):
    """What is delivered, and what the engine is asked for."""
    found = solve(job(*source, **values))
    assert ((found.width, found.height), (found.made_width, found.made_height)) == (delivered, made)


@pytest.mark.parametrize(("values", "first", "second"), DISAGREEMENTS)
def test_words_that_disagree_are_refused_naming_both(values, first, second):
    """The caller learns which two words contradict each other."""
    with pytest.raises(InvalidRequest) as caught:
        solve(job(400, 300, **values))
    assert first in caught.value.message
    assert second in caught.value.message
    assert caught.value.param in {first, second}


@given(sides, sides, words)
def test_any_words_have_a_geometry_or_a_refusal(width, height, values):
    """A geometry is positive, and the engine makes 1 to 4 times the picture on each axis."""
    try:
        found = solve(job(width, height, **values))
    except InvalidRequest as error:
        named = [word for word in values if word in error.message]
        assert len(named) >= 2
        return
    assert min(found.width, found.height, found.inner_width, found.inner_height) >= 1
    assert width <= found.made_width <= 4 * width
    assert height <= found.made_height <= 4 * height
    if "resolution" not in values and "x" not in values.get("size", ""):
        assert found.inner_width >= width
        assert found.inner_height >= height
        assert found.factor >= values.get("scale_factor", 2.0) - 1 / min(width, height)


@given(sides, sides, sides, sides, fits)
def test_an_exact_size_is_met(width, height, box_width, box_height, fit):
    """Cover, pad and stretch deliver the box; contain lies inside it and touches it; cover covers it."""
    found = solve(job(width, height, size=f"{box_width}x{box_height}", fit=fit))
    inner = found.inner_width, found.inner_height
    if fit == "contain":
        assert (found.width, found.height) == inner
    else:
        assert (found.width, found.height) == (box_width, box_height)
    if fit == "cover":
        assert inner[0] >= box_width
        assert inner[1] >= box_height
    else:
        assert inner[0] <= box_width
        assert inner[1] <= box_height
    assert inner[0] == box_width or inner[1] == box_height


@given(sides, sides, sides, sides, some.sampled_from(["contain", "cover", "pad"]))
def test_only_stretch_changes_the_shape(width, height, box_width, box_height, fit):
    """The enlarged picture has the source's shape, to half a pixel."""
    found = solve(job(width, height, size=f"{box_width}x{box_height}", fit=fit))
    assume(min(found.inner_width, found.inner_height) > 1)
    error = abs(found.inner_width * height - found.inner_height * width)
    assert error <= max(width, height) / 2 + 1e-9


@given(sides, sides, factors, fits)
def test_a_factor_alone_never_shrinks_and_is_never_fitted(width, height, factor, fit):
    """With a factor, the engine's picture is the result, whatever the fit."""
    found = solve(job(width, height, scale_factor=factor, fit=fit))
    assert found.finished
    assert abs(found.width - width * factor) <= 0.5
    assert abs(found.height - height * factor) <= 0.5


@given(sides, sides, some.sampled_from(["1K", "2K", "4K"]), fits)
def test_a_resolution_is_the_longer_side(width, height, resolution, fit):
    """The longer side has exactly the pixels of the word, the other one follows."""
    found = solve(job(width, height, resolution=resolution, fit=fit))
    assert max(found.width, found.height) == RESOLUTIONS[resolution]


@given(sides, sides, ratios)
def test_a_ratio_is_met(width, height, ratio):
    """A picture cropped or padded to a ratio is off by less than a pixel."""
    across, down = map(int, ratio.split(":"))
    for fit in ("cover", "pad", "stretch"):
        found = solve(job(width, height, aspect_ratio=ratio, fit=fit))
        assert (
            abs(found.width * down - found.height * across) < max(across, down) or min(found.width, found.height) == 1
        )
