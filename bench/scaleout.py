"""Measures what handing tiles out costs: the efficiency of 1, 2, 4 and 8 workers with tiles of a fixed cost.

    python bench/scaleout.py

A tile of this bench sleeps for a fixed time and computes next to nothing, so that two processor cores are enough for
eight workers: what is measured is the handing out and the way of the pixels, not the speed of a machine. Efficiency is
the time that the tiles sleep, divided by the workers and by the time that passed. Prints Markdown tables. Rows of
`ray_serve` need the extra `cluster`; a cluster is started on this machine for each number of replicas, and ended again.
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
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen

import msgspec
import numpy as np

from fluxvision.core.settings import Settings
from fluxvision.engine.backends.registry import BY_NAME, TileInput
from fluxvision.engine.executors.base import TileExecutor
from fluxvision.engine.executors.messages import EngineInfo
from fluxvision.engine.executors.ray_serve import RayServe
from fluxvision.engine.executors.threads import ThreadExecutor
from fluxvision.engine.pipeline import Request, plan_tiles
from fluxvision.engine.resample import Array
from fluxvision.engine.tile_inference import Stop, TileJob

WORKERS = (1, 2, 4, 8)
SECONDS = 0.4
"""What a tile costs: about that of a tile of FLUX on the fastest cards."""
TILES = 64
SIDE = 16


class Sleeper:
    """A backend whose tiles cost time and no work."""

    device = "none"

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


class SleepEngine:
    """What a replica runs."""

    def __init__(self, _settings: Settings) -> None:
        """Have nothing to load."""
        self.info = EngineInfo()

    def backend(self, options: bytes, _stop: Stop) -> Sleeper:
        """Return a backend that sleeps as long as the request says."""
        return Sleeper(msgspec.msgpack.decode(options, type=float))


def deploy(port: int, replicas: int) -> None:
    """Serve sleeping tiles until this process is ended."""
    import ray  # noqa: PLC0415, of the extra

    from fluxvision.engine.executors import deployment  # noqa: PLC0415

    ray.init(num_cpus=replicas, object_store_memory=500_000_000, include_dashboard=False, log_to_driver=False)
    engines = {**deployment.ENGINES, "sleep": "scaleout:SleepEngine"}
    app = deployment.create_app(deployment.Config(Settings(), engines), replicas=replicas, least=replicas)
    deployment.run(app, "127.0.0.1", port, blocking=False)
    print("ready", flush=True)
    time.sleep(3600)


@contextmanager
def cluster(replicas: int) -> Iterator[RayServe]:
    """Start a deployment on a cluster of this machine, and end it."""
    with socket.socket() as end:
        end.bind(("127.0.0.1", 0))
        port = end.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="ray", dir="/tmp", ignore_cleanup_errors=True) as folder:  # a short path
        facts = {"RAY_TMPDIR": folder, "RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}
        facts["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
        command = [sys.executable, __file__, "--deploy", str(port), str(replicas)]
        with Popen(command, env=os.environ | facts, stdout=PIPE, stderr=DEVNULL, text=True) as process:
            assert process.stdout is not None  # noqa: S101, it is a pipe
            try:
                if "ready\n" not in iter(process.stdout.readline, ""):
                    raise RuntimeError("The cluster did not start.")
                yield RayServe(f"http://127.0.0.1:{port}/fluxvision")
            finally:
                process.terminate()


def efficiency(executor: TileExecutor, count: int, seconds: float, rounds: int) -> str:
    """Return the cells of a row: the median and the worst."""
    work = job()
    took = [timed(executor, work) for _ in range(rounds)]
    least = work.total * seconds / count
    return f"{count} | {least / statistics.median(took):.3f} | {least / max(took):.3f}"


def small_pictures(client: RayServe, seconds: float = 5.0, at_once: int = 8) -> float:
    """Return how many pictures of one tile are made in a second, by the mock backend."""
    color = np.full((64, 64, 3), 128, np.uint8)
    row = BY_NAME["mock"]
    work = TileJob(color, None, None, 0.3, 0, row, *plan_tiles(Request(color, 128, 128), row))
    ends, counts = time.perf_counter() + seconds, [0] * at_once

    def ask(number: int) -> None:
        while time.perf_counter() < ends:
            for _ in client.executor("embedded", {"name": "mock"}).make(work, go_on):
                counts[number] += 1

    with ThreadPoolExecutor(at_once) as pool:
        list(pool.map(ask, range(at_once)))
    return sum(counts) / seconds


def table(seconds: float, rounds: int) -> list[str]:
    """Return the lines of the tables."""
    lines = ["| Where | Workers | Efficiency, median | worst |", "| --- | --- | --- | --- |"]
    for count in WORKERS:
        threads = ThreadExecutor([Sleeper(seconds) for _ in range(count)], 1)
        lines.append(f"| `threads` | {efficiency(threads, count, seconds, rounds)} |")
    rate = 0.0
    for count in WORKERS if find_spec("ray") else ():
        with cluster(count) as client:
            executor = client.executor("sleep", seconds)
            timed(executor, job())  # Ray has met all replicas
            lines.append(f"| `ray_serve` | {efficiency(executor, count, seconds, rounds)} |")
            if count == 2:
                rate = small_pictures(client)
    return [*lines, "", f"Pictures of one small tile over two replicas, eight callers: {rate:.0f} per second."]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--deploy", type=int, nargs=2, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.deploy:
        deploy(*asked.deploy)
        return
    tiles, day = job().total, datetime.now(UTC).date()
    print(
        f"{day}, {platform.machine()}, {os.cpu_count()} processor cores; {tiles} tiles of {asked.seconds:g} s each.\n"
    )
    print("\n".join(table(asked.seconds, asked.rounds)))


if __name__ == "__main__":
    main()
