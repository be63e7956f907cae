"""How many cores there are for us, and what becomes of freed memory."""

from __future__ import annotations

import os
import subprocess
import sys

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


MEMORY = """
import psutil
from fluxvision.machine import keep_memory, release_memory
def resident():
    return psutil.Process().memory_info().rss / 1e6
if not keep_memory():
    raise SystemExit("skip")
before = resident()
pictures = [b"x" * 2_000_000 for _ in range(12)]
used = resident()
del pictures
freed = resident()
release_memory()
print(used - before, freed - before, resident() - before)
"""


def test_freed_memory_is_kept_until_it_is_released():
    """24 MB of pictures are there again without the system's help; once released they are the system's."""
    done = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=False)
    if "skip" in done.stderr:
        pytest.skip("not the allocator of glibc")
    used, freed, released = map(float, done.stdout.split())
    assert used > 20
    assert freed > 20
    assert released < 8
