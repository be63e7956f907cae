"""Compares requests/s of the gateway with and without its history of requests, and those of another checkout.

    python bench/history.py
    git worktree add /tmp/before COMMIT && python bench/history.py --before /tmp/before/src

Load, provider and pictures are those of gateway.py: free synchronous edits by four callers, the gateway on one core.
The servers take turns; each figure is the median of the rounds, against `off`. Prints Markdown.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import gateway_servers
from gateway import UPLOADS, prepare, turn
from gateway_report import Cell
from gateway_servers import Server

CALLERS = 4
ON, OFF, BEFORE = "on", "off", "before"


def server(folder: Path, upstream: Server, name: str, environment: Mapping[str, str]) -> Server:
    """Return our server in a folder of its own."""
    place = folder / name
    place.mkdir()
    found = gateway_servers.fluxvision(place, upstream.port)
    found.name, found.environment = name, {**found.environment, **environment}
    return found


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, metavar="SRC", help="the src folder of another checkout")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=2.0, help="of one round that are counted")
    arguments = parser.parse_args()
    settings = {name: {"FLUXVISION_HISTORY": str(name == ON).lower()} for name in (ON, OFF)}
    if arguments.before is not None:
        settings[BEFORE] = {"PYTHONPATH": str(arguments.before.absolute())}
    with tempfile.TemporaryDirectory() as name, ExitStack() as running:
        folder = Path(name)
        uploads = [prepare(folder, *row) for row in UPLOADS]
        upstream = gateway_servers.upstream(folder, folder / "answers")
        compared = [server(folder, upstream, *row) for row in settings.items()]
        for one in (upstream, *compared):
            one.start()
            running.enter_context(one)
        print(f"{datetime.now(UTC).date().isoformat()}, {arguments.rounds} rounds of {arguments.seconds:g} s\n")
        print("| upload | | requests/s | against off | CPU ms a request |\n|---|---|---|---|---|")
        for upload in uploads:
            cells = {one.name: Cell() for one in compared}
            for number in range(arguments.rounds):
                first = number % len(compared)
                for one in (*compared[first:], *compared[:first]):
                    turn(cells[one.name], one, upstream, upload=upload, callers=CALLERS, seconds=arguments.seconds)
            for title, cell in cells.items():
                ratio = median(mine / off for mine, off in zip(cell.rates, cells[OFF].rates, strict=True))
                cpu = 1000 * median(cell.cpu)
                print(f"| {upload.title} | {title} | {median(cell.rates):.1f} | {ratio:.3f} | {cpu:.2f} |")


if __name__ == "__main__":
    main()
