"""Windows of a plan have one shape, keep to the row's area and leave little to the halo."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxvision.engine.backends.registry import BACKENDS, BY_NAME
from fluxvision.engine.pipeline import STRETCH, Request, plan_tiles


def planned(row, width, height, factor=4):
    color = np.broadcast_to(np.uint8(0), (height, width, 3))
    return plan_tiles(Request(color, width * factor, height * factor), row)


@given(st.sampled_from(BACKENDS), st.integers(1, 20_000), st.integers(1, 20_000))
def test_a_window_keeps_to_the_area_of_the_tile(row, width, height):
    """Memory follows the area of a window: it is at most the tile's, give or take a pixel on each side."""
    rows, columns = planned(row, width, height)
    assert rows.window * columns.window <= row.tile**2 + 2 * int(row.tile * STRETCH) + 1
    assert max(rows.window, columns.window) <= row.tile * STRETCH + 1


@pytest.mark.parametrize("size", [(1280, 854), (1920, 1080), (3062, 2041), (9682, 6455), (854, 1280)])
def test_little_work_is_halo(size):
    """For pictures of a megapixel and more the windows cover at most 1.15 times the picture."""
    rows, columns = planned(BY_NAME["span"], *size)
    work = len(rows.spans) * rows.window * len(columns.spans) * columns.window
    assert work / (size[0] * size[1]) < 1.15


@pytest.mark.parametrize("size", [(1280, 854), (500, 500), (640, 427), (1000, 250)])
def test_tiles_come_in_pairs(size):
    """The few tiles of a small picture are of an even number: two cores end together."""
    rows, columns = planned(BY_NAME["span"], *size)
    assert len(rows.spans) * len(columns.spans) % 2 == 0


@given(st.sampled_from(BACKENDS), st.booleans(), st.integers(1, 1500), st.integers(1, 1500), st.integers(1, 4))
def test_fades_fit_into_their_tiles(row, small, width, height, factor):
    """The cross-fades at both ends of a tile do not overlap each other, however small the picture."""
    row = dataclasses.replace(row, tile=2 * row.halo + 28) if small else row
    for line in planned(row, width, height, factor):
        assert all(span.rise + span.fall <= span.length for span in line.spans)
