"""Keeps finished batches in a folder, so that a killed job goes on where it stopped.

::

    root/                    private to its owner
      <digest of the job>/   goes when the job is done, when it is a day old, or when room is short
        <digest of a batch>  a checksum, then the batch's tiles as float32

A file is written under another name and renamed when it is whole: at whatever moment a process ends, a batch is there
or it is not. Several processes may use one folder.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from uuid import uuid4

import numpy as np

from fluxvision.engine.resample import Array

DAY = 86_400.0
"""Seconds without a change after which a job is deleted."""
LIMIT = 16 * 2**30
"""Bytes that all jobs may take. The largest picture over HTTP takes 9 GB: 400 megapixels at 16 bytes, the overlap of
tiles and a first pass included."""
CHECK = 16
"""Bytes of a checksum."""
NAME = re.compile("[0-9a-f]{40}")
"""A job's digest: no other folder is ever deleted."""


class FolderCheckpointStore:
    """The batches of one job. Nothing here raises `OSError`: a disk error loses finished tiles, never the job."""

    def __init__(self, root: Path, job: str, limit: int = LIMIT) -> None:
        """Store a job's batches below `root`, where all jobs together use at most `limit` bytes."""
        self._root, self._folder, self._limit = root, root / job, limit
        self._room: int | None = None

    def get(self, name: str) -> list[Array] | None:
        """Return a batch, None when it is missing or damaged."""
        try:
            content = (self._folder / name).read_bytes()
        except OSError:
            return None
        if blake2b(content[CHECK:], digest_size=CHECK).digest() != content[:CHECK]:
            return None
        file, tiles = io.BytesIO(content[CHECK:]), []
        while file.tell() < len(content) - CHECK:
            tiles.append(np.load(file, allow_pickle=False))
        return tiles

    def has(self, name: str) -> bool:
        """Return whether there is a file of a batch."""
        return (self._folder / name).is_file()

    def put(self, name: str, tiles: Sequence[Array]) -> None:
        """Store a batch if there is space."""
        file = io.BytesIO()
        for tile in tiles:
            np.save(file, tile, allow_pickle=False)
        content = file.getbuffer()
        partial = self._folder / f"{uuid4().hex}.part"
        try:
            self._folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._folder.mkdir(mode=0o700, exist_ok=True)
            if not self._has_room(len(content)):
                return
            with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
                out.write(blake2b(content, digest_size=CHECK).digest())
                out.write(content)
            partial.replace(self._folder / name)
        except OSError:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)

    def _has_room(self, size: int) -> bool:
        """Make space for a file, within the limit of all jobs and half of the free disk space."""
        if self._room is None:
            free = shutil.disk_usage(self._root).free // 2
            self._room = min(free, self._limit - sum(taken for _, _, taken in _stored_jobs(self._root)))
        self._room -= size
        return self._room >= 0

    def forget(self) -> None:
        """Delete the job's batches."""
        shutil.rmtree(self._folder, ignore_errors=True)


def sweep_abandoned(root: Path, *, keep: float = DAY, limit: int = LIMIT) -> None:
    """Delete jobs without a change for `keep` seconds, and the oldest ones while all use over half of `limit`."""
    found = sorted(_stored_jobs(root))
    total = sum(size for _, _, size in found)
    for changed, folder, size in found:
        if changed < time.time() - keep or total > limit / 2:
            shutil.rmtree(folder, ignore_errors=True)
            total -= size


def _stored_jobs(root: Path) -> Iterator[tuple[float, Path, int]]:
    """Yield each job's time of last change, folder and size in bytes. Other files are ignored."""
    with contextlib.suppress(OSError):
        for entry in list(os.scandir(root)):
            with contextlib.suppress(OSError):
                if entry.is_dir(follow_symlinks=False) and NAME.fullmatch(entry.name):
                    size = sum(file.stat().st_size for file in os.scandir(entry.path))
                    yield entry.stat().st_mtime, Path(entry.path), size
