"""What holds for all tests."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings

# Continuous integration shares its processors: how long a value takes to make says nothing of the code.
settings.register_profile("shared", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared")

# Tiny networks gain nothing by threads, which wait for each other on a busy machine. Read when PyTorch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture
def folder(tmp_path):
    """An empty folder for results."""
    made = tmp_path / "work"
    made.mkdir()
    return made
