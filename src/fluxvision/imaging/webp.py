"""Counts the frames of a WebP file, which libwebp does in time that grows with their square."""

from __future__ import annotations

from pathlib import Path

_CHUNK_HEAD = 8  # name and size
_RIFF_HEAD = 12
_MAX_OTHERS = 10_000


def frames(path: Path, most: int) -> int:
    """Return how many frames an animation has, counting no further than `most` + 1; 1 for a still picture.

    A file of more than 10,000 other chunks counts as over `most`, too.
    """
    count = 0
    with path.open("rb") as file:
        file.seek(_RIFF_HEAD)
        for _ in range(most + _MAX_OTHERS):
            head = file.read(_CHUNK_HEAD)
            if len(head) < _CHUNK_HEAD or count > most:
                return max(count, 1)
            count += head[:4] == b"ANMF"
            size = int.from_bytes(head[4:], "little")
            file.seek(file.tell() + size + size % 2)
    return most + 1
