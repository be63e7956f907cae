"""Compares what a gateway costs: ours, LiteLLM's proxy and a floor pass edits on to the same fake provider.

    python bench/gateway.py
    python bench/gateway.py --litellm .litellm/bin

The fake provider reads the whole upload and gives a prepared PNG of 64 KB, twice the source's size on each side, as
b64_json; *direct* asks it without a gateway. The *floor* is the least that a gateway on our stack has to do: parse the
form in memory and send it on from there. The *relay* looks at nothing and copies the bytes of a connection to the
provider and back: what stands in between can hardly be quicker. With `--whole` there is also the least gateway by the
quickest way that was found in its libraries, which a server with limits could not go. Every server is one process
(LiteLLM: one worker) on one core; provider and callers have the others. Rounds take turns, so that noise hits all
alike: requests/s are medians of the rounds, percentiles are over all requests. Answers are asked for uncompressed, and
every status and the last picture of each round are checked. Prints Markdown tables and which goals were met; without
`--litellm` only the floor is compared.
Takes six minutes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from base64 import b64encode
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import gateway_servers
from gateway_report import RELAY, Cell, Need, Place, report
from gateway_servers import OTHERS, Server, pinned

LOAD = str(Path(__file__).with_name("gateway_load.py"))
KILO, MEGA = 1024, 1024 * 1024
ANSWER = 64 * KILO
UPLOADS = ((4 * KILO, 76), (2 * MEGA, 836))
"""Bytes of an upload and pixels of its side: few bytes need some flat rows, as the answer has four times the pixels."""
BIG = (40 * MEGA, 3740)
CALLERS = (1, 4, 16)
WARM = 0.5
"""Seconds of a round before those that are counted."""
STARTS = 2
Cells = dict[Place, dict[str, Cell]]


@dataclass(frozen=True, slots=True)
class Upload:
    """A source picture, its bytes, and the side of the picture that has to come back."""

    path: Path
    bytes: int
    side: int

    @property
    def title(self) -> str:
        """The size to show."""
        return f"{self.bytes / KILO:.0f} KB" if self.bytes < MEGA else f"{self.bytes / MEGA:.0f} MB"


def picture(path: Path, side: int, size: int) -> Path:
    """Write a square RGB PNG of about `size` bytes: rows of noise, then flat ones."""
    samples = np.full((side, side, 3), 128, np.uint8)
    flat = side * side * 3 // 1000  # what flat rows come to, compressed
    rows = max(0, min(side, (size - flat) // (side * 3 + 1)))
    samples[:rows] = np.random.default_rng(1).integers(0, 256, (rows, side, 3), np.uint8)
    Image.fromarray(samples).save(path, "PNG", compress_level=6 if rows < side else 1)
    return path


def prepare(folder: Path, size: int, side: int) -> Upload:
    """Write an upload, and its answer into `answers` under the number of bytes that the upload has."""
    path = picture(folder / f"{size}.png", side, size)
    upload = Upload(path, path.stat().st_size, side * 2)
    result = picture(folder / f"{size}-result.png", upload.side, ANSWER).read_bytes()
    answer = {"created": 1, "data": [{"b64_json": b64encode(result).decode()}]}
    answers = folder / "answers"
    answers.mkdir(exist_ok=True)
    (answers / f"{upload.bytes}.json").write_text(json.dumps(answer), encoding="ascii")
    return upload


def load(server: Server, upload: Upload, callers: int, seconds: float, warm: float = WARM) -> dict[str, Any]:
    """Run the callers as a process of its own; raises where an answer was not the picture."""
    order = {
        "port": server.port,
        "path": server.path,
        "key": server.key,
        "model": server.model,
        "picture": str(upload.path),
        "size": [upload.side, upload.side],
        "callers": callers,
        "warm": warm,
        "seconds": seconds,
    }
    command = [sys.executable, LOAD, json.dumps(order)]
    with pinned(OTHERS):
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    if found["failures"]:
        message = f"{server.name}, {upload.title}, {callers} callers: {found['failures'][0]}"
        raise RuntimeError(message)
    return found


def alone(server: Server, small: Upload, big: Upload) -> Need:
    """Start a server some times; return the quickest start, and the most that one big upload let its memory grow."""
    need = Need()
    for _ in range(STARTS):
        need.start = min(need.start, server.start())
        with server:
            load(server, small, 1, 0.3)
            need.growth = max(need.growth, server.growth(lambda: load(server, big, 1, 0.0, 0.0)))
    return need


def turn(cell: Cell, server: Server, upstream: Server, /, *, upload: Upload, callers: int, seconds: float) -> None:
    """Measure one round of one server, and add it to its cell."""
    busy, helped = server.cpu(), upstream.cpu()
    found = load(server, upload, callers, seconds)
    cell.rates.append(found["rate"])
    cell.seconds += found["seconds"]
    cell.cpu.append((server.cpu() - busy) / found["answers"])
    cell.others = max(cell.others, ((upstream.cpu() - helped) / found["wall"] + found["cores"]) / len(OTHERS))


def turns(servers: Sequence[Server], uploads: Sequence[Upload], rounds: int, seconds: float) -> Cells:
    """Put load on all servers in turn, each round in another order; the first server is the provider."""
    cells: Cells = {
        (upload.title, callers): {server.name: Cell() for server in servers}
        for upload in uploads
        for callers in CALLERS
    }  # fmt: skip
    for number in range(rounds):
        first = number % len(servers)
        for upload in uploads:
            for callers in CALLERS:
                for server in (*servers[first:], *servers[:first]):
                    cell = cells[upload.title, callers][server.name]
                    turn(cell, server, servers[0], upload=upload, callers=callers, seconds=seconds)
    return cells


def gateways(folder: Path, upstream: Server, arguments: argparse.Namespace) -> list[Server]:
    """Return the gateways to compare, not yet started."""
    made = (gateway_servers.relay, gateway_servers.floor, gateway_servers.fluxvision)
    found = [make(folder, upstream.port) for make in (*made, *((gateway_servers.whole,) if arguments.whole else ()))]
    if arguments.litellm is not None:
        found.append(gateway_servers.litellm(folder, upstream.port, arguments.litellm))
    return [server for server in found if server.name not in arguments.without]


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--litellm", type=Path, metavar="BIN_FOLDER", help="the bin folder of LiteLLM's environment")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0, help="of one round that are counted")
    parser.add_argument("--whole", action="store_true", help="measure the quickest way through the libraries as well")
    parser.add_argument("--without", nargs="*", default=[], metavar="NAME", help="gateways to leave out")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, ExitStack() as running:
        folder = Path(name)
        uploads, big = [prepare(folder, *row) for row in UPLOADS], prepare(folder, *BIG)
        upstream = gateway_servers.upstream(folder, folder / "answers")
        upstream.start()
        running.enter_context(upstream)
        compared = gateways(folder, upstream, arguments)
        needs = {server.name: alone(server, uploads[0], big) for server in compared if server.name != RELAY}
        for server in compared:
            server.start()
            running.enter_context(server)
        cells = turns([upstream, *compared], uploads, arguments.rounds, arguments.seconds)
        for server in compared:
            if server.name in needs:
                needs[server.name].rss, needs[server.name].pss = server.memory()
    for line in report(cells, needs, big.bytes):
        print(line)


if __name__ == "__main__":
    main()
