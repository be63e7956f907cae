"""The size words become one geometry; what is delivered is exactly what was asked for."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import assume, given, reject
from hypothesis import strategies as some

from fakes.jobs import job
from fluxvision.catalog.catalog import CATALOG
from fluxvision.catalog.geometry import (
    FRAMES,
    RESOLUTIONS,
    has_pixel_size,
    is_large_enough,
    requested_frame,
    smallest_factor,
    solve_geometry,
)
from fluxvision.catalog.normalize import normalize
from fluxvision.catalog.rules import ScaleRange
from fluxvision.core.errors import InvalidRequest

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
    ((960, 540), {"resolution": "1080p"}, (1920, 1080), (1920, 1080)),
    ((540, 960), {"resolution": "2160p"}, (2160, 3840), (2160, 3840)),
    ((400, 300), {"resolution": "720p"}, (1109, 831), (1109, 831)),
    ((1920, 1080), {"resolution": "720p"}, (1280, 720), (1920, 1080)),
    ((800, 600), {"resolution": "1440p", "aspect_ratio": "16:9", "fit": "stretch"}, (2560, 1440), (2560, 1440)),
    ((640, 360), {"resolution": "1080p", "size": "1920x1080"}, (1920, 1080), (1920, 1080)),
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
    ({"size": "1920x1200", "resolution": "1080p"}, "size", "resolution"),
    ({"resolution": "720p", "scale_factor": 2.0}, "resolution", "scale_factor"),
    ({"resolution": "1K", "scale_factor": 2.0}, "resolution", "scale_factor"),
    ({"resolution": "1K", "scale_factor": 2.0, "aspect_ratio": "1:1"}, "resolution", "scale_factor"),
]

REACH = [
    # source, values, factors, made
    ((400, 300), {}, ScaleRange(1, 8), (800, 600)),
    ((100, 100), {"size": "1000x1000"}, ScaleRange(1, 8), (800, 800)),
    ((100, 100), {"size": "1000x1000"}, ScaleRange(1, 10), (1000, 1000)),
    ((100, 100), {"size": "1000x500", "fit": "stretch"}, ScaleRange(1, 8), (800, 500)),
    ((100, 100), {"size": "50x1000", "fit": "stretch"}, ScaleRange(1, 4), (100, 400)),
    ((400, 300), {"size": "200x150"}, ScaleRange(1, 8), (400, 300)),
    ((400, 300), {}, ScaleRange(only=(4.0,)), (1600, 1200)),
    ((400, 300), {"size": "4000x3000"}, ScaleRange(only=(4.0,)), (1600, 1200)),
    ((400, 300), {"size": "100x75"}, ScaleRange(only=(4.0,)), (1600, 1200)),
    ((400, 300), {}, ScaleRange(only=(4.0, 2.0)), (800, 600)),
    ((400, 300), {"scale_factor": 2.1}, ScaleRange(only=(2.0, 4.0)), (1600, 1200)),
    ((400, 300), {"size": "801x600", "fit": "stretch"}, ScaleRange(only=(2.0, 4.0)), (1600, 1200)),
    ((3, 1000), {"resolution": "2K"}, ScaleRange(only=(2.0, 4.0)), (12, 4000)),
    ((401, 301), {"scale_factor": 1.5}, ScaleRange(only=(1.5, 4.0)), (602, 452)),
    ((400, 300), {"size": "9000x75", "fit": "stretch"}, None, (9000, 75)),
    ((400, 300), {"scale_factor": 3}, None, (1200, 900)),
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
        "resolution": some.sampled_from(["1K", "2K", "4K", "720p", "2160p"]),
        "fit": fits,
    },
)


@pytest.mark.parametrize(("source", "values", "delivered", "made"), CASES)
def test_words_become_pixels(source, values, delivered, made):
    """What is delivered, and what the engine is asked for."""
    found = solve_geometry(job(*source, **values))
    assert ((found.width, found.height), (found.engine_width, found.engine_height)) == (delivered, made)


@pytest.mark.parametrize(("values", "first", "second"), DISAGREEMENTS)
def test_words_that_disagree_are_refused_naming_both(values, first, second):
    """The caller learns which two words contradict each other."""
    with pytest.raises(InvalidRequest) as caught:
        solve_geometry(job(400, 300, **values))
    assert first in caught.value.message
    assert second in caught.value.message
    assert caught.value.param in {first, second}


@given(sides, sides, words)
def test_any_words_have_a_geometry_or_a_refusal(width, height, values):
    """A geometry is positive, and the engine makes 1 to 4 times the picture on each axis."""
    try:
        found = solve_geometry(job(width, height, **values))
    except InvalidRequest as error:
        named = [word for word in values if word in error.message]
        assert len(named) >= 2
        return
    assert min(found.width, found.height, found.inner_width, found.inner_height) >= 1
    assert width <= found.engine_width <= 4 * width
    assert height <= found.engine_height <= 4 * height
    if "resolution" not in values and "x" not in values.get("size", ""):
        assert found.inner_width >= width
        assert found.inner_height >= height
        assert found.factor >= values.get("scale_factor", 2.0) - 1 / min(width, height)


@given(sides, sides, sides, sides, fits)
def test_an_exact_size_is_met(width, height, box_width, box_height, fit):
    """Cover, pad and stretch deliver the box; contain lies inside it and touches it; cover covers it."""
    found = solve_geometry(job(width, height, size=f"{box_width}x{box_height}", fit=fit))
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
    found = solve_geometry(job(width, height, size=f"{box_width}x{box_height}", fit=fit))
    assume(min(found.inner_width, found.inner_height) > 1)
    error = abs(found.inner_width * height - found.inner_height * width)
    assert error <= max(width, height) / 2 + 1e-9


@given(sides, sides, factors, fits)
def test_a_factor_alone_never_shrinks_and_is_never_fitted(width, height, factor, fit):
    """With a factor, the engine's picture is the result, whatever the fit."""
    found = solve_geometry(job(width, height, scale_factor=factor, fit=fit))
    assert found.has_result_size
    assert abs(found.width - width * factor) <= 0.5
    assert abs(found.height - height * factor) <= 0.5


@given(sides, sides, some.sampled_from(sorted(FRAMES)), fits)
def test_a_frame_is_as_many_pixels_in_the_pictures_own_shape(width, height, frame, fit):
    """Whatever the shape, the result has the pixels of the frame but for the rounding of its sides."""
    asked = job(width, height, resolution=frame, fit=fit)
    found = solve_geometry(asked)
    assert abs(found.width - (FRAMES[frame] * width / height) ** 0.5) < 1
    assert abs(found.height - (FRAMES[frame] * height / width) ** 0.5) < 1
    assert requested_frame(asked) == frame


@pytest.mark.parametrize(
    ("values", "frame"),
    [
        ({"resolution": "1080p"}, "1080p"),
        ({"resolution": "1080p", "size": "auto"}, "1080p"),
        ({"resolution": "1080p", "aspect_ratio": "1:1"}, None),
        ({"resolution": "1080p", "aspect_ratio": "4:3", "fit": "stretch"}, "1080p"),
        ({"resolution": "1K"}, None),
        ({"scale_factor": 2.0}, None),
        ({}, None),
    ],
)
def test_a_box_goes_before_a_frame(values, frame):
    """A frame is that of the picture only where no box makes it larger or smaller."""
    assert requested_frame(job(400, 300, **values)) == frame


@given(sides, sides, some.sampled_from(["1K", "2K", "4K"]), fits)
def test_a_resolution_is_the_longer_side(width, height, resolution, fit):
    """The longer side has exactly the pixels of the word, the other one follows."""
    found = solve_geometry(job(width, height, resolution=resolution, fit=fit))
    assert max(found.width, found.height) == RESOLUTIONS[resolution]


@given(sides, sides, ratios)
def test_a_ratio_is_met(width, height, ratio):
    """A picture cropped or padded to a ratio is off by less than a pixel."""
    across, down = map(int, ratio.split(":"))
    for fit in ("cover", "pad", "stretch"):
        found = solve_geometry(job(width, height, aspect_ratio=ratio, fit=fit))
        assert (
            abs(found.width * down - found.height * across) < max(across, down) or min(found.width, found.height) == 1
        )


reaches = some.integers(1, 10).map(lambda high: ScaleRange(1, high))
sets = some.lists(some.sampled_from([1.0, 1.5, 2.0, 3.0, 4.0, 8.0]), min_size=1, unique=True).map(
    lambda known: ScaleRange(only=tuple(known))
)


def solved(width, height, values, factors):
    """Return a geometry, or give the case up when the words contradict each other."""
    try:
        return solve_geometry(job(width, height, **values), factors)
    except InvalidRequest:
        return reject()


@pytest.mark.parametrize(("source", "values", "factors", "made"), REACH)
def test_an_engine_makes_what_its_factors_allow(source, values, factors, made):
    """A range reaches exact sizes between its ends, a closed set its own multiples; an unknown reach makes anything."""
    found = solve_geometry(job(*source, **values), factors)
    assert (found.engine_width, found.engine_height) == made


@given(sides, sides, words, reaches | sets | some.none())
def test_the_result_does_not_depend_on_the_engine(width, height, values, factors):
    """Whatever the engine can make, the result and the picture inside it have the same size."""
    found, exact = (solved(width, height, values, reach) for reach in (factors, None))
    assert (found.width, found.height, found.fit) == (exact.width, exact.height, exact.fit)
    assert (found.inner_width, found.inner_height) == (exact.inner_width, exact.inner_height)
    assert found.is_resampled == ((found.engine_width, found.engine_height) != (found.inner_width, found.inner_height))


@given(sides, sides, words, reaches)
def test_a_range_is_kept(width, height, values, factors):
    """What is made is never below the source or beyond the range, and holds the inner size where the range does."""
    found = solved(width, height, values, factors)
    assert width <= found.engine_width <= width * factors.high
    assert height <= found.engine_height <= height * factors.high
    if found.inner_width <= width * factors.high and found.inner_height <= height * factors.high:
        assert found.engine_width >= found.inner_width
        assert found.engine_height >= found.inner_height


@given(sides, sides, words, sets)
def test_a_closed_set_is_kept(width, height, values, factors):
    """What is made is the source times one of the factors: the smallest that holds the inner size, or the largest."""
    found = solved(width, height, values, factors)
    inner = found.inner_width, found.inner_height
    factor = smallest_factor(width, height, inner, factors.only)
    assert (found.engine_width, found.engine_height) == (round(width * factor), round(height * factor))
    enough = [one for one in factors.only if is_large_enough(width, height, inner, Fraction(str(one)))]
    assert factor == (min(enough) if enough else max(factors.only))


@given(sides, sides, words, some.sampled_from([offer for model in CATALOG for offer in model.offers]))
def test_the_factor_sent_is_enough(width, height, values, offer):
    """A provider is told a factor within its range that makes the inner size, unless the range ends before that."""
    found = solved(width, height, values, None)
    model = next(model for model in CATALOG if offer in model.offers)
    body = normalize(job(width, height, model=model.id, **values), offer)[0].body
    sent = body.get("upscale_factor", body.get("scale"))
    if sent is None:
        framed_there = values.get("resolution") == body.get("target_resolution", "")
        assert framed_there or offer.provider != "fal" or offer.factors is None or offer.factors.only
        return
    assert offer.factors.low <= sent <= offer.factors.high
    inner = found.inner_width, found.inner_height
    assert sent == offer.factors.high or is_large_enough(width, height, inner, Fraction(str(sent)))
    if "scale_factor" in values and "aspect_ratio" not in values and ":" not in values.get("size", ""):
        assert sent == values["scale_factor"]


@given(sides, sides, words, some.sampled_from([offer for model in CATALOG for offer in model.offers]))
def test_a_quote_is_for_what_the_factor_makes(width, height, values, offer):
    """What is priced is within a pixel, and a ten-thousandth, of what the factor sent makes of the source."""
    model = next(model for model in CATALOG if offer in model.offers)
    asked = job(width, height, model=model.id, **values)
    found = solved(width, height, values, offer.factors)
    sent = normalize(asked, offer)[0].body.get("upscale_factor")
    if sent is not None and found.fit != "stretch":
        assert abs(found.engine_width - width * sent) <= 1 + width / 10_000 + width / (2 * height)
        assert abs(found.engine_height - height * sent) <= 1 + height / 10_000 + height / (2 * width)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({}, False),
        ({"size": "auto"}, False),
        ({"size": "16:9"}, False),
        ({"scale_factor": 2.0}, False),
        ({"size": "10x10"}, True),
        ({"resolution": "1K"}, True),
    ],
)
def test_a_size_in_pixels_leaves_no_room_for_a_default_factor(values, told):
    """Only a size in pixels, by its numbers or by its word, takes the default factor's place."""
    assert has_pixel_size(job(**values)) == told


@pytest.mark.parametrize(("model", "width"), [("flux-vision-upscaler", 800), ("aura-sr", 1600)])
def test_the_models_own_factor_applies_when_nothing_is_said(model, width):
    """Without a word the result is as large as the model makes it; a shape is a box around that."""
    assert solve_geometry(job(400, 300, model=model)).inner_width == width
    assert solve_geometry(job(400, 300, model=model, aspect_ratio="1:1", fit="pad")).width == width
