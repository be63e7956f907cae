"""Measures what handing tiles out costs: the efficiency of 1, 2, 4 and 8 workers with tiles of a fixed cost.

    python bench/scaleout.py

A tile of this bench sleeps for a fixed time and computes next to nothing, so that two processor cores are enough for
eight workers: what is measured is the handing out and the way of the pixels, not the speed of a machine. Efficiency is
the time that the tiles sleep, divided by the workers and by the time that passed. Prints one Markdown table.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np

from fluxvision.engine.backends.registry import BY_NAME, TileInput
from fluxvision.engine.executors.base import TileExecutor
from fluxvision.engine.executors.threads import ThreadExecutor
from fluxvision.engine.pipeline import Request, plan_tiles
from fluxvision.engine.resample import Array
from fluxvision.engine.tile import TileJob

WORKERS = (1, 2, 4, 8)
SECONDS = 0.4
"""What a tile costs: about that of a tile of FLUX on the fastest cards."""
TILES = 64
SIDE = 16


class Sleeper:
    """A backend whose tiles cost time and no work."""

    def __init__(self, seconds: float) -> None:
        """Sleep so long for each batch."""
        self._seconds = seconds

    def base(self, tile: Array) -> Array:
        """Return a grey tile."""
        return np.full((3, tile.shape[1] * 4, tile.shape[2] * 4), 0.5, np.float32)

    def detail(self, windows: Sequence[TileInput]) -> list[Array]:
        """Sleep, and return the tiles as they are."""
        time.sleep(self._seconds)
        return [window.base.copy() for window in windows]


def job() -> TileJob:
    """Return a work of `TILES` tiles."""
    row = replace(BY_NAME["mock"], tile=SIDE + 32, iterations=0)
    side = int(TILES**0.5) * SIDE
    color = np.full((side, side, 3), 128, np.uint8)
    return TileJob(color, None, None, 0.3, 0, row, *plan_tiles(Request(color, side * 4, side * 4), row))


def go_on() -> None:
    """Never stop."""


def timed(executor: TileExecutor, work: TileJob) -> float:
    """Return the seconds that a job takes."""
    began = time.perf_counter()
    made = sum(len(batch) for batch in executor.make(work, go_on))
    assert made == work.total  # noqa: S101, a job that loses tiles has no speed
    return time.perf_counter() - began


def table(seconds: float, rounds: int) -> list[str]:
    """Return the lines of the table."""
    lines = ["| Where | Workers | Efficiency, median | worst |", "| --- | --- | --- | --- |"]
    work = job()
    for count in WORKERS:
        executor = ThreadExecutor([Sleeper(seconds) for _ in range(count)], 1)
        took = [timed(executor, work) for _ in range(rounds)]
        least = work.total * seconds / count
        lines.append(f"| `threads` | {count} | {least / statistics.median(took):.3f} | {least / max(took):.3f} |")
    return lines


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    asked = parser.parse_args()
    tiles, day = job().total, datetime.now(UTC).date()
    print(
        f"{day}, {platform.machine()}, {os.cpu_count()} processor cores; {tiles} tiles of {asked.seconds:g} s each.\n"
    )
    print("\n".join(table(asked.seconds, asked.rounds)))


if __name__ == "__main__":
    main()
