"""Finished batches on disk: exact, private, bounded, and never in the way of a job."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest

from fluxvision.engine import checkpoint_store
from fluxvision.engine.checkpoint_store import DAY, FolderCheckpointStore, sweep_abandoned

JOB, OTHER = "a" * 40, "b" * 40
TILES = [np.random.default_rng(seed).random((3, 20 + seed, 30), np.float32) - 0.5 for seed in range(3)]
SIZE = sum(tile.nbytes for tile in TILES)


@pytest.fixture
def root(tmp_path):
    return tmp_path / "cache" / "jobs"


def same(found):
    return [tile.tobytes() for tile in found] == [tile.tobytes() for tile in TILES]


def test_bytes_come_back_as_they_were(root):
    """Every float, strange ones too, of every tile; the arrays may be written to. Nobody else can look."""
    TILES[0][0, 0, :3] = np.nan, -0.0, np.inf
    FolderCheckpointStore(root, JOB).put("one", [tile[:, ::-1] for tile in TILES])
    found = FolderCheckpointStore(root, JOB).get("one")
    assert [tile.tobytes() for tile in found] == [tile[:, ::-1].tobytes() for tile in TILES]
    found[0] += 1
    assert FolderCheckpointStore(root, JOB).has("one")
    assert not FolderCheckpointStore(root, JOB).has("two")
    assert FolderCheckpointStore(root, JOB).get("two") is None
    assert [path.stat().st_mode & 0o777 for path in (root, root / JOB, root / JOB / "one")] == [0o700, 0o700, 0o600]


@pytest.mark.parametrize("damage", [b"", b"short", None])
def test_what_is_damaged_is_not_there(root, damage):
    """A file that is cut or changed, as after a power cut, is no batch."""
    FolderCheckpointStore(root, JOB).put("one", TILES)
    file = root / JOB / "one"
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]) if damage is None else damage)
    assert FolderCheckpointStore(root, JOB).get("one") is None
    FolderCheckpointStore(root, JOB).put("one", TILES)
    assert same(FolderCheckpointStore(root, JOB).get("one"))


def test_a_job_that_is_done_leaves_nothing(root):
    """Its folder goes, others stay; a job that still runs beside it goes on."""
    one, two, other = (
        FolderCheckpointStore(root, JOB),
        FolderCheckpointStore(root, JOB),
        FolderCheckpointStore(root, OTHER),
    )
    for store in (one, other):
        store.put("one", TILES)
    one.forget()
    assert [path.name for path in root.iterdir()] == [OTHER]
    two.put("two", TILES)
    assert same(two.get("two"))
    one.forget()
    one.forget()


def test_only_so_much_is_kept(root):
    """All jobs together have a limit; beyond it nothing is written, and what is there stays."""
    store = FolderCheckpointStore(root, JOB, int(2.5 * SIZE))
    for name in ("one", "two", "three"):
        store.put(name, TILES)
    assert [store.has(name) for name in ("one", "two", "three")] == [True, True, False]
    FolderCheckpointStore(root, OTHER, int(2.5 * SIZE)).put("one", TILES)
    assert not FolderCheckpointStore(root, OTHER).has("one")


def test_half_of_the_disk_stays_free(root, monkeypatch):
    """A disk that is nearly full is not filled."""
    monkeypatch.setattr(checkpoint_store.shutil, "disk_usage", lambda _path: type("Usage", (), {"free": 3 * SIZE}))
    store = FolderCheckpointStore(root, JOB)
    for name in ("one", "two"):
        store.put(name, TILES)
    assert [store.has(name) for name in ("one", "two")] == [True, False]


def test_a_disk_that_fails_costs_no_job(root, tmp_path, monkeypatch):
    """Where nothing can be written nothing is kept, and nothing is raised; no half file is left."""
    (tmp_path / "file").write_text("")
    FolderCheckpointStore(tmp_path / "file", JOB).put("one", TILES)
    sweep_abandoned(tmp_path / "file")

    def full(*_args):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full)
        FolderCheckpointStore(root, JOB).put("one", TILES)
    assert list((root / JOB).iterdir()) == []


def test_old_jobs_are_swept(root):
    """A job that nothing was added to for a day goes; other folders and files are nobody's business."""
    for job in (JOB, OTHER):
        FolderCheckpointStore(root, job).put("one", TILES)
    (root / "somebody's").mkdir()
    (root / "file").write_text("")
    then = time.time() - DAY - 1
    for name in (JOB, "somebody's", "file"):
        os.utime(root / name, (then, then))
    sweep_abandoned(root)
    assert {path.name for path in root.iterdir()} == {OTHER, "somebody's", "file"}
    sweep_abandoned(root / "nowhere")


def test_the_oldest_make_room(root):
    """Where jobs take more than half of what they may, the oldest go first."""
    for age, job in enumerate((JOB, OTHER, "c" * 40)):
        FolderCheckpointStore(root, job).put("one", TILES)
        os.utime(root / job, (time.time() - 60 * age,) * 2)
    sweep_abandoned(root, limit=int(3 * SIZE))
    assert [path.name for path in root.iterdir()] == [JOB]
