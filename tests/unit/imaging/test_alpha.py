"""Colour under transparent pixels comes from the visible ones beside them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fluxvision.imaging.decode import extend_colour


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3])
def test_one_colour_spreads_everywhere(kind, channels):
    """A red disc on transparent black becomes red throughout."""
    colour, alpha = np.zeros((37, 53, channels), kind), np.zeros((37, 53), kind)
    colour[10:14, 30:35], alpha[10:14, 30:35] = 200, 255
    extend_colour(colour, alpha)
    assert (colour == 200).all()


def test_visible_pixels_keep_their_values():
    """Wherever alpha is not 0 nothing changes, however faint the pixel."""
    random = np.random.default_rng(4)
    colour = random.integers(0, 256, (40, 30, 3), np.uint8)
    alpha = random.integers(0, 3, (40, 30), np.uint8)
    result = colour.copy()
    extend_colour(result, alpha)
    assert (result[alpha > 0] == colour[alpha > 0]).all()


def test_neighbours_are_alike():
    """Pixels beside an edge take the colour of their own side."""
    colour, alpha = np.zeros((32, 64, 3), np.uint8), np.zeros((32, 64), np.uint8)
    colour[:, :16], alpha[:, :16] = (250, 10, 10), 255
    colour[:, 48:], alpha[:, 48:] = (10, 10, 250), 255
    extend_colour(colour, alpha)
    assert np.abs(colour[:, 16].astype(int) - (250, 10, 10)).max() < 30
    assert np.abs(colour[:, 47].astype(int) - (10, 10, 250)).max() < 30


@pytest.mark.parametrize("value", [0, 255])
def test_nothing_to_do(value):
    """A fully transparent and a fully visible picture keep their colour."""
    colour = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)
    before = colour.copy()
    extend_colour(colour, np.full((4, 5), value, np.uint8))
    assert (colour == before).all()


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_any_size_stays_within_the_visible_colours(height, width, seed):
    """Filled values lie between the darkest and the brightest visible ones, for any size and any alpha."""
    random = np.random.default_rng(seed)
    colour = random.integers(0, 256, (height, width, 3), np.uint8)
    alpha = (random.random((height, width)) > random.random()).astype(np.uint8) * 255
    result = colour.copy()
    extend_colour(result, alpha)
    seen = colour[alpha > 0]
    if len(seen):
        assert (result >= seen.min(axis=0)).all()
        assert (result <= seen.max(axis=0)).all()


@pytest.mark.parametrize("shape", [(1100, 4), (4, 3100)])
def test_blocks_join(shape):
    """A picture taller or wider than one block is filled without a step between blocks."""
    colour, alpha = np.zeros((*shape, 1), np.uint8), np.zeros(shape, np.uint8)
    ends = [0, -1]
    if shape[0] > shape[1]:
        alpha[ends], colour[-1] = 255, 250
    else:
        alpha[:, ends], colour[:, -1] = 255, 250
    extend_colour(colour, alpha)
    steps = np.abs(np.diff(colour[..., 0].astype(int), axis=int(shape[0] < shape[1])))
    assert np.sort(steps.ravel())[: -2 * min(shape)].max() <= 4, "all but the steps beside the two ends"


def test_deep_white_stays_white():
    """The brightest 16-bit sample does not wrap round."""
    colour, alpha = np.full((300, 40, 3), 65535, np.uint16), np.zeros((300, 40), np.uint16)
    colour[10:], alpha[:10] = 0, 65535
    extend_colour(colour, alpha)
    assert (colour == 65535).all()
