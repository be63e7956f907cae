"""How near to its source a result is held: the less, the freer it is and the less its source can be trusted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxvision.core.images import SourceDamage
from fluxvision.engine.flux.fidelity_target import color_lock, fidelity_target, lock_levels


def damage(noise=0.0, quality=None, blur=0.0):
    """Return what was measured of a source."""
    return SourceDamage(noise, quality, blur, False, 1.0)


@pytest.mark.parametrize(
    ("creativity", "found", "low", "high"),
    [
        (0.0, damage(), 45, 45),
        (0.05, damage(), 42, 45),
        (0.3, damage(), 32, 36),
        (1.0, damage(), 18, 22),
        (0.3, damage(noise=7), 25, 30),
        (0.3, damage(quality=75), 24, 30),
        (0.3, damage(blur=0.5), 16, 20),
        (0.0, damage(noise=2.5), 34, 38),
        (0.3, damage(quality=100), 32, 36),
    ],
)
def test_what_is_held(creativity, found, low, high):
    """45 dB at creativity 0 of a clean source alone; less of what is damaged, 34 at the default creativity."""
    assert low <= fidelity_target(creativity, found) <= high


@given(
    st.floats(0, 1),
    st.floats(0, 1),
    st.floats(0, 60),
    st.integers(1, 100) | st.none(),
    st.floats(0, 4),
    st.floats(0, 9),
)
def test_more_of_anything_is_held_less(low, high, noise, quality, blur, more):  # noqa: PLR0917, one of each
    """Neither creativity nor a damage ever raises the value, and each damage makes the lock coarser or leaves it."""
    low, high = sorted((low, high))
    before = damage(noise, quality, blur)
    value = fidelity_target(low, before)
    assert fidelity_target(high, before) <= value
    worse = [damage(noise + more, quality, blur), damage(noise, quality, blur + more)]
    worse.append(damage(noise, max(1, (100 if quality is None else quality) - round(more)), blur))
    for after in worse:
        assert fidelity_target(low, after) <= value
        assert lock_levels(after) >= lock_levels(before)


def test_colours_are_locked_by_as_much_as_is_held():
    """In full from 10 dB on, in half at 5, not at all at 0."""
    assert [color_lock(value) for value in (0, 5, 10, 45)] == [0, 0.5, 1, 1]


def test_the_lock_of_a_clean_source_is_the_finest():
    """Four levels where nothing is damaged, at most six."""
    assert [lock_levels(found) for found in (damage(), damage(noise=6), damage(noise=40))] == [4, 5, 6]
