"""How many cores there are for us."""

from __future__ import annotations

import os

import pytest

from fluxvision.machine import cores


@pytest.mark.parametrize(
    ("text", "most"), [("max 100000", 10_000), ("100000 100000", 1), ("250000 100000", 3), ("", 10_000)]
)
def test_a_containers_quota_counts(tmp_path, text, most):
    """The answer is the affinity's, or the quota rounded up where that is less."""
    quota = tmp_path / "cpu.max"
    quota.write_text(text)
    assert cores(quota) == min(most, len(os.sched_getaffinity(0)))


def test_no_container_is_no_limit(tmp_path):
    """Without a quota file the affinity alone counts."""
    assert cores(tmp_path / "none") == len(os.sched_getaffinity(0))
