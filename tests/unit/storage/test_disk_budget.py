"""Room on the disk: who gets it, who has to wait, and what is left of it."""

from __future__ import annotations

import os
import subprocess

import pytest

from fluxvision.core.errors import Unavailable
from fluxvision.core.system import delete_file
from fluxvision.storage import disk_budget
from fluxvision.storage.disk_budget import LARGE, LITTLE, DiskBudget, Reservation

MB = 1_000_000


@pytest.fixture
def disk(tmp_path):
    """A file system of 40 MB."""
    command = ["mount", "-t", "tmpfs", "-o", "size=40000k,nr_inodes=100", "tmpfs", tmp_path]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount a file system")
    yield tmp_path
    subprocess.run(["umount", "-l", tmp_path], check=True)


def reservation(budget, disk, name, size, *, solid=False):
    folder = disk / name
    folder.mkdir(exist_ok=True)
    return Reservation(budget, folder, size, solid)


def free(disk):
    facts = os.statvfs(disk)
    return facts.f_bavail * facts.f_frsize


@pytest.mark.parametrize("solid", [False, True])
def test_the_same_room_is_given_once(disk, solid):
    """What one job has reserved no other gets, until the first has ended."""
    budget = DiskBudget()
    with reservation(budget, disk, "one", 25 * MB, solid=solid) as one:
        one.take()
        with reservation(budget, disk, "two", 20 * MB) as two, pytest.raises(Unavailable, match="no room"):
            two.take()
        with reservation(budget, disk, "three", 10 * MB) as three:
            three.take()
    assert budget.held == set()
    with reservation(budget, disk, "two", 20 * MB) as two:
        two.take()


def test_what_is_written_counts_once(disk):
    """A job that has written what it reserved leaves the rest to the others."""
    budget = DiskBudget()
    with reservation(budget, disk, "one", 15 * MB) as one, reservation(budget, disk, "two", 20 * MB) as two:
        one.take()
        (one.folder / "result").write_bytes(bytes(15 * MB))
        assert one.left == 0
        two.take()


def test_what_was_there_before_is_not_the_result(disk):
    """The files that a job came with take nothing of its reservation."""
    with reservation(DiskBudget(), disk, "one", 5 * MB) as one:
        (one.folder / "upload").write_bytes(bytes(3 * MB))
        one.take()
        assert one.left == one.size


@pytest.mark.parametrize(
    ("size", "little", "blocks"), [(LARGE - 1, 0, 0), (LARGE, 0, LARGE), (LARGE - 1, LITTLE, LARGE - 1)]
)
def test_a_large_reservation_lies_on_the_disk(disk, monkeypatch, size, little, blocks):
    """It takes blocks of its own until the result comes, and leaves nothing; a small one does where little is left."""
    monkeypatch.setattr(disk_budget, "LITTLE", little)
    before = free(disk)
    with reservation(DiskBudget(), disk, "one", size, solid=True) as one:
        one.take()
        assert before - free(disk) == pytest.approx(blocks, abs=50_000)
        one.give_blocks()
        assert one.left == size
        assert before - free(disk) < 50_000
    assert list(one.folder.iterdir()) == []


def test_blocks_that_cannot_be_had_leave_nothing(disk, monkeypatch):
    """Where the file system has no blocks after all, as with a quota, that is the same error."""

    def refuse(_file, _size):
        raise OSError(122, "Disk quota exceeded")

    monkeypatch.setattr(disk_budget, "allocate", refuse)
    one = reservation(DiskBudget(), disk, "one", LARGE, solid=True)
    with pytest.raises(Unavailable, match="no room"), one:
        one.take()
    assert list(one.folder.iterdir()) == []


def test_a_file_system_without_fallocate_is_counted(disk, monkeypatch):
    """Where no blocks can be set aside the reservation counts all the same."""
    monkeypatch.setattr(disk_budget, "allocate", lambda _file, _size: False)
    budget = DiskBudget()
    with reservation(budget, disk, "one", 25 * MB, solid=True) as one:
        one.take()
        with reservation(budget, disk, "two", 20 * MB) as two, pytest.raises(Unavailable):
            two.take()


def test_files_run_out_too(disk):
    """A file system with room for bytes and for no further files has no room."""
    made = []
    for number in range(85):
        made.append(disk / f"{number}")
        made[-1].touch()
    budget = DiskBudget()
    with reservation(budget, disk, "one", MB) as one, reservation(budget, disk, "two", MB) as two:
        one.take()
        with pytest.raises(Unavailable, match="no room"):
            two.take()
        delete_file(*made)
        two.take()


def test_a_read_only_disk_is_told(disk):
    """What cannot be written has no room."""
    one = reservation(DiskBudget(), disk, "one", MB)
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    with one, pytest.raises(Unavailable, match="cannot be written"):
        one.take()
