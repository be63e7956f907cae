"""What the metrics of pictures say of known ones."""

from __future__ import annotations

from importlib import import_module
from math import isnan
from pathlib import Path

import numpy as np
import pytest

BENCH = Path(__file__).parents[3] / "bench"


@pytest.fixture
def metrics(monkeypatch):
    """Return the bench's metrics."""
    monkeypatch.syspath_prepend(str(BENCH))
    return import_module("metrics")


def noise(deviation):
    return np.random.default_rng(0).normal(0, deviation / 255, (96, 96, 3)).astype(np.float32)


@pytest.mark.parametrize(("deviation", "least", "most"), [(0, 0, 0), (1, 0.9, 1), (4, 3.8, 4)])
def test_grain_on_a_smooth_ground_is_its_deviation(metrics, deviation, least, most):
    """Noise on a plain truth is found as grain of its standard deviation in levels of 255."""
    plain = np.full((96, 96, 3), 0.5, np.float32)
    assert least <= metrics.grain(plain + noise(deviation), plain) <= most


def test_grain_is_not_looked_for_in_texture(metrics):
    """A truth without smooth parts has no grain to measure, and a smoother picture than the truth has none."""
    textured, plain = np.float32(0.5) + noise(20), np.full((96, 96, 3), 0.5, np.float32)
    assert isnan(metrics.grain(plain, textured))
    assert metrics.grain(plain, plain + noise(1)) == 0
