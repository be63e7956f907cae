"""How many cores and open files there are for us, and what becomes of freed memory."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import weakref

import pytest

from fluxvision.core.errors import InvalidRequest, Unavailable
from fluxvision.core.system import (
    cached_until_rest,
    count_cores,
    delete_file,
    release_memory,
    resource_error,
    translate_resource_errors,
)


@pytest.mark.parametrize(
    ("text", "most"), [("max 100000", 10_000), ("100000 100000", 1), ("250000 100000", 3), ("", 10_000)]
)
def test_a_containers_quota_counts(tmp_path, text, most):
    """The answer is the affinity's, or the quota rounded up where that is less."""
    quota = tmp_path / "cpu.max"
    quota.write_text(text)
    assert count_cores(quota) == min(most, len(os.sched_getaffinity(0)))


def test_no_container_is_no_limit(tmp_path):
    """Without a quota file the affinity alone counts."""
    assert count_cores(tmp_path / "none") == len(os.sched_getaffinity(0))


FILES = """
import resource, sys
from fluxvision.core.system import raise_file_limit
resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]), int(sys.argv[2])))
print(raise_file_limit(1_000), *resource.getrlimit(resource.RLIMIT_NOFILE))
"""


@pytest.mark.parametrize(
    ("soft", "hard", "expected"), [(100, 2_000, 1_000), (100, 500, 500), (1_500, 2_000, 1_500), (1_000, 1_000, 1_000)]
)
def test_the_limit_of_open_files_is_raised_as_far_as_it_may_be(soft, hard, expected):
    """The hard limit bounds it, and a higher limit stays."""
    words = [sys.executable, "-c", FILES, str(soft), str(hard)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(expected), str(expected), str(hard)]


MEMORY = """
import psutil
from fluxvision.core.system import keep_memory, release_memory
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


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "x"), "no room on this server's disk"),
        (OSError(errno.EDQUOT, "x"), "no room on this server's disk"),
        (RuntimeError("unix error: No space left on device\n"), "no room on this server's disk"),
        (OSError(errno.EROFS, "x"), "disk cannot be written"),
        (PermissionError(errno.EACCES, "x"), "disk cannot be written"),
        (OSError(errno.EMFILE, "x"), "too many files"),
        (OSError(errno.ENFILE, "x"), "too many files"),
        (MemoryError(), "no memory"),
        (OSError(errno.ENOMEM, "x"), "no memory"),
        (RuntimeError("out of memory --- size == 48MB"), "no memory"),
        (RuntimeError("can't start new thread"), "no further thread"),
        (BlockingIOError(errno.EAGAIN, "x"), "no further thread"),
    ],
)
def test_a_shortage_is_one_error_that_may_pass(error, words):
    """Whatever this machine has run out of is a 503 that says of what, and when to try again."""
    found = resource_error(error)
    assert found is not None
    assert (found.status, found.retryable, words in found.message) == (503, True, True)
    assert found.retry_after > 0
    with pytest.raises(Unavailable, match=words), translate_resource_errors():
        raise error


@pytest.mark.parametrize("error", [ValueError("x"), FileNotFoundError(errno.ENOENT, "x"), OSError("x"), KeyError(28)])
def test_other_errors_stay_what_they_are(error):
    """A fault is not taken for a shortage."""
    assert resource_error(error) is None
    with pytest.raises(type(error)), translate_resource_errors():
        raise error


def test_an_error_of_ours_is_kept():
    """What already says what it is is raised as it is, whatever its words."""
    with pytest.raises(InvalidRequest), translate_resource_errors():
        raise InvalidRequest("No space left on device")


def test_what_cannot_be_deleted_hides_nothing(tmp_path):
    """Neither a file that is gone nor one that cannot be deleted is an error."""
    (tmp_path / "full").mkdir()
    (tmp_path / "file").touch()
    delete_file(tmp_path / "none", tmp_path / "full", tmp_path / "file")
    assert [path.name for path in tmp_path.iterdir()] == ["full"]


def test_what_a_function_remembers_is_forgotten_at_rest():
    """A cached result is computed once, and again after `release_memory`."""
    asked = []

    @cached_until_rest(2)
    def square(number: int) -> int:
        asked.append(number)
        return number * number

    assert [square(3), square(3)] == [9, 9]
    assert asked == [3]
    release_memory()
    assert square(3) == 9
    assert asked == [3, 3]


class Ring:
    """An object that holds another one."""

    other: object = None


def test_garbage_is_collected_at_rest():
    """Objects that hold each other are gone after `release_memory`, though nothing else runs."""
    ring = Ring()
    ring.other = ring
    gone = weakref.ref(ring)
    del ring
    release_memory()
    assert gone() is None
