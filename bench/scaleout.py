"""Measures what handing tiles out costs: the efficiency of 1, 2, 4 and 8 workers with tiles of a fixed cost.

    python bench/scaleout.py

A tile of this bench sleeps for a fixed time and computes next to nothing, so that two processor cores are enough for
eight workers: what is measured is the handing out and the way of the pixels, not the speed of a machine. Efficiency is
the time that the tiles sleep, divided by the workers and by the time that passed. Prints one Markdown table. Rows of
`ray` need the extra `cluster`; a cluster is started on this machine and ended again.
"""

from __future__ import annotations

import argparse
import os
import platform
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from subprocess import DEVNULL, Popen

import numpy as np

from fluxvision.engine.backends.registry import BY_NAME, TileInput
from fluxvision.engine.pipeline import Request, plan_tiles
from fluxvision.engine.resample import Array
from fluxvision.engine.teams import TEAMS, Recipe, Team, Terms
from fluxvision.engine.tile import TileJob

WORKERS = (1, 2, 4, 8)
SECONDS = 0.4
"""What a tile costs: about that of a tile of FLUX on the fastest cards."""
TILES = 64
SIDE = 16
WARM, LOOSE, MOST = 2, 1.6, 40
"""Workers are all there when so many batches for each take no more than this over their time; tries at that."""
PORT = 6390


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


def timed(team: Team, work: TileJob, seconds: float, batches: Sequence[range]) -> float:
    """Return the seconds that some batches take, one tile each."""
    began = time.perf_counter()
    made = sum(len(batch) for batch in team.crew(Recipe("scaleout:Sleeper", (seconds,))).make(work, go_on, batches))
    assert made == len(batches)  # noqa: S101, a job that loses tiles has no speed
    return time.perf_counter() - began


def measured(team: Team, count: int, seconds: float, rounds: int) -> tuple[float, float]:
    """Return the median and the worst efficiency of a team, once all of its workers are there."""
    work = job()
    few = work.batches[: count * WARM]
    for _ in range(MOST):
        if timed(team, work, seconds, few) < LOOSE * WARM * seconds:
            break
    took = [timed(team, work, seconds, work.batches) for _ in range(rounds)]
    least = work.total * seconds / count
    return least / statistics.median(took), least / max(took)


@contextmanager
def cluster() -> Iterator[str]:
    """Start a cluster on this machine, and end it."""
    ray = str(Path(sys.executable).with_name("ray"))
    os.environ["RAY_AUTH_MODE"] = "disabled"
    facts = os.environ | {"PYTHONPATH": str(Path(__file__).parent), "RAY_USAGE_STATS_ENABLED": "0"}
    with tempfile.TemporaryDirectory(prefix="ray", dir="/tmp", ignore_cleanup_errors=True) as folder:  # a short path
        where = ["--node-ip-address=127.0.0.1", f"--port={PORT}", f"--temp-dir={folder}", "--include-dashboard=false"]
        size = [f"--num-cpus={max(WORKERS)}", "--object-store-memory=500000000", "--block"]
        with Popen([ray, "start", "--head", *where, *size], env=facts, stdout=DEVNULL, stderr=DEVNULL) as head:
            try:
                wait_for(PORT)
                yield f"127.0.0.1:{PORT}"
            finally:
                head.terminate()


def wait_for(port: int) -> None:
    """Wait until something listens."""
    for _ in range(600):
        with socket.socket() as end:
            if not end.connect_ex(("127.0.0.1", port)):
                return
        time.sleep(0.1)


def table(names: Sequence[str], seconds: float, rounds: int) -> list[str]:
    """Return the lines of the table."""
    lines = ["| Where | Workers | Efficiency, median | worst |", "| --- | --- | --- | --- |"]
    for row in TEAMS:
        if row.name not in names:
            continue
        with cluster() if row.name == "ray" else nullcontext("") as address:
            for count in WORKERS:
                team = row.open(Terms(count, cluster=address))
                median, worst = measured(team, count, seconds, rounds)
                team.close()
                lines.append(f"| `{row.name}` | {count} | {median:.3f} | {worst:.3f} |")
    return lines


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    asked = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).parent))  # workers find this file
    names = [row.name for row in TEAMS if row.name != "ray" or find_spec("ray")]
    tiles, day = job().total, datetime.now(UTC).date()
    print(
        f"{day}, {platform.machine()}, {os.cpu_count()} processor cores; {tiles} tiles of {asked.seconds:g} s each.\n"
    )
    print("\n".join(table(names, asked.seconds, asked.rounds)))


if __name__ == "__main__":
    main()
