"""Tiles cover the result once, see enough of the source, and all have one shape."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxvision.engine.tiling import plan_axis, reflect_indices

SIZES = st.integers(1, 3000)


@st.composite
def axes(draw):
    source = draw(SIZES)
    target = draw(st.integers(source, source * 4))
    halo = draw(st.integers(1, 20))
    overlap = draw(st.integers(0, min(halo, 4)))
    tile = draw(st.integers(2 * halo + 2 * overlap + 8, 400))
    return plan_axis(source, target, tile=tile, halo=halo, overlap=overlap), halo, overlap, tile


@given(axes())
def test_spans_cover_the_target_and_overlap_only_in_their_fades(case):
    """Walking the spans, each starts where the last one's fade began, and the last ends at the target's end."""
    line, *_ = case
    at = 0
    for span in line.spans:
        assert at == span.start
        assert span.length >= span.rise + span.fall
        at = span.stop - span.fall
    assert line.target == at
    assert line.spans[0].rise == 0
    assert line.spans[-1].fall == 0


@given(axes())
def test_a_border_has_a_full_halo_on_both_sides(case):
    """Every delivered pixel is at least halo - overlap source pixels away from its window's edge."""
    line, halo, overlap, _ = case
    ratio = line.source / line.target
    for span in line.spans:
        assert span.source <= span.start * ratio - (halo - overlap) + 1e-9
        assert span.source + line.window >= span.stop * ratio + (halo - overlap) - 1e-9


@given(axes())
def test_windows_stay_within_the_tile_size(case):
    """A window has at most two pixels more than the tile size, from rounding borders to result pixels."""
    line, _, _, tile = case
    assert line.window <= tile + 2


@given(axes())
def test_neighbours_agree_on_their_fade(case):
    """What one span lets fall is what the next lets rise."""
    line, *_ = case
    for first, second in zip(line.spans, line.spans[1:], strict=False):
        assert first.fall == second.rise
        assert first.stop - second.start == first.fall


@given(st.integers(-50, 50), st.integers(1, 120), st.integers(1, 40))
def test_reflection_is_that_of_numpy(first, length, size):
    """The indices are those of numpy's reflect padding, continued without end."""
    index = reflect_indices(first, length, size)
    if size == 1:
        assert (index == 0).all()
        return
    padded = np.pad(np.arange(size), 400, mode="reflect")
    assert np.array_equal(padded[400 + first : 400 + first + length], index)


@pytest.mark.parametrize(("tile", "halo", "overlap"), [(20, 10, 0), (8, 2, 3)])
def test_a_tile_without_room_is_refused(tile, halo, overlap):
    """A window of nothing but halo, or an overlap beyond the halo, is a mistake in a row."""
    with pytest.raises(ValueError, match="no room"):
        plan_axis(100, 200, tile=tile, halo=halo, overlap=overlap)
