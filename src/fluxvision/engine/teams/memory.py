"""Arrays in memory that processes share. It has no name: it is gone with the last process that has it open."""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

LINE = 64
"""Arrays begin at multiples of this."""


@dataclass(frozen=True, slots=True)
class Shape:
    """Where an array lies in a block, and what it is."""

    offset: int
    shape: tuple[int, ...]
    dtype: str

    @property
    def end(self) -> int:
        """The first byte after it."""
        return self.offset + prod(self.shape) * np.dtype(self.dtype).itemsize


def layout(shapes: Sequence[tuple[tuple[int, ...], str]]) -> tuple[Shape, ...]:
    """Return places for arrays of these shapes and types, one after the other."""
    found: list[Shape] = []
    for shape, dtype in shapes:
        end = found[-1].end if found else 0
        found.append(Shape(end + -end % LINE, shape, dtype))
    return tuple(found)


class Block:
    """Shared memory, open in this process. `number` is its file descriptor, which can be sent to another process."""

    def __init__(self, number: int) -> None:
        """Take over a file descriptor."""
        self.number = number

    @classmethod
    def fresh(cls, places: Sequence[Shape]) -> Block:
        """Return new memory with room for arrays."""
        if hasattr(os, "memfd_create"):
            number = os.memfd_create("fluxvision")  # not limited by the size of /dev/shm, unlike what has a name
        else:
            with tempfile.TemporaryFile() as file:
                number = os.dup(file.fileno())
        os.ftruncate(number, max(1, places[-1].end))
        return cls(number)

    def arrays(self, places: Sequence[Shape]) -> list[NDArray[Any]]:
        """Return the arrays; what is written into them is seen by every process. They outlive `close`."""
        whole = mmap.mmap(self.number, max(1, places[-1].end))
        return [
            np.frombuffer(whole, place.dtype, prod(place.shape), place.offset).reshape(place.shape) for place in places
        ]

    def close(self) -> None:
        """Give up the file descriptor."""
        os.close(self.number)
