"""Measures FLUX tile by tile on one GPU: lever by lever and batch by batch, with random weights of full size.

    python bench/flux.py

Needs no files. Prints one Markdown table and writes it to bench/results/flux.md. Every tile has 1,024 × 1,024 pixels,
is encoded, goes through 6 forward passes and is decoded. It is held against a *floor*, its operations at the rate at
which this device multiplies large matrices of bfloat16, and against diffusers' own pipeline, one tile after another in
the same run. Levers add up from row to row. When time is over, what is left is skipped and said to be.
`--device cpu --tiny` runs the same on small networks, which says nothing of speed.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import diffusers
import torch

from flux_meter import Meter
from flux_networks import FORWARDS, SIZES, Size, build, operations, ours, prompt, theirs, tiny
from fluxvision.engine.flux.options import PLAIN, AccelerationConfig
from fluxvision.engine.flux.prompts import Prompt

RESULTS = Path(__file__).with_name("results") / "flux.md"
TITLE = "# FLUX engine: speed"
BATCHES = (1, 2, 4)
SHARED = 128
"""Pixels of a tile's side that its neighbours make as well: halo and cross-fade."""
MINUTES = 6.5
NOTE = (
    f"Output is counted without {SHARED} pixels of each tile's side, which its neighbours make as well. *Off from"
    " plain* is how far a velocity moves, in the mean, with random weights."
)

LEVERS: tuple[tuple[str, str, AccelerationConfig], ...] = (
    ("plain", "", PLAIN),
    ("+ attention", "attention", replace(PLAIN, attention=True)),
    ("+ channels-last", "channels_last", replace(PLAIN, channels_last=True)),
    ("+ compiled blocks", "compile", replace(PLAIN, compile=True)),
    ("+ fp8, blocks not compiled", "fp8", replace(PLAIN, fp8=True)),
)
"""Title, name and wish of each lever, in the order in which they are pulled."""
HEAD = (
    "| network | levers | batch | s per tile | s per output MP | TFLOP/s | floor reached | speed against diffusers"
    " | peak GB | off from plain |\n|---|---|---|---|---|---|---|---|---|---|"
)


@dataclass(slots=True)
class Line:
    """One row of the table: what was measured, or why it was not."""

    network: str
    levers: str
    batch: int
    seconds: float | None = None
    peak: float | None = None
    off: float | None = None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Bench:
    """One network on one device, and what its figures are held against."""

    size: Size
    meter: Meter
    operations: float
    rate: float
    deadline: float

    def lines(self) -> Iterator[Line]:
        """Measure diffusers' pipeline, then the engine with one lever more each time."""
        device = self.meter.device
        dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
        try:
            networks = build(self.size, device, dtype)
        except torch.OutOfMemoryError:
            yield Line(self.size.row.name, "any", 1, why="the device is too small for it")
            return
        words = prompt(self.size, device, dtype)
        yield self._measured("diffusers' pipeline", 1, partial(theirs, self.size, networks, words))
        sample = self._sample(networks)
        plain = self._velocity(networks, words, sample)
        for title, name, wish in LEVERS:
            networks.accelerate(wish)
            told = f"{title} ({networks.accelerations[name]})" if name in networks.accelerations else title
            if name and name not in networks.accelerations:
                yield Line(self.size.row.name, told, 1, why="not on this device")
                continue
            for batch in BATCHES:
                line = self._measured(told, batch, partial(ours, self.size, networks, words, batch))
                if name and batch == 1 and line.seconds is not None:
                    line.off = float(
                        (self._velocity(networks, words, sample) - plain).abs().mean() / plain.abs().mean()
                    )
                yield line
        networks.close()
        self.meter.free()

    def _measured(self, levers: str, batch: int, make: Callable[[], Callable[[], object]]) -> Line:
        line = Line(self.size.row.name, levers, batch)
        if time.monotonic() > self.deadline:
            line.why = "skipped, time was over"
            return line
        try:
            line.seconds = self.meter.seconds(make()) / batch
            line.peak = self.meter.peak
        except torch.OutOfMemoryError:
            line.why = "out of memory"
        except Exception as reason:  # noqa: BLE001, whatever a device or compiler says: the other rows still count
            line.why = f"failed: {type(reason).__name__}"
        self.meter.free()
        return line

    def _sample(self, networks: Any) -> torch.Tensor:
        cells = self.size.side // self.size.row.cell
        return torch.randn(1, self.size.row.packed_channels, cells, cells, device=networks.device)

    def _velocity(self, networks: Any, words: Prompt, sample: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = networks.velocity(sample, 0.5, words, self.size.row.guidance_scale)
        return found


def told(line: Line, bench: Bench, naive: float | None) -> str:
    """Return a row of the table."""
    start = f"| {line.network} | {line.levers} | {line.batch} |"
    if line.seconds is None:
        return f"{start} {line.why} | | | | | | |"
    pixels = (bench.size.side - SHARED) ** 2 if bench.size.side > SHARED else bench.size.side**2
    cells = (
        f"{line.seconds:.3f}",
        f"{line.seconds / pixels * 1e6:.3f}",
        f"{bench.operations / line.seconds / 1e12:.4g}",
        f"{bench.operations / bench.rate / line.seconds:.2f}",
        "" if naive is None else f"{naive / line.seconds:.2f}",
        "" if line.peak is None else f"{line.peak / 1e9:.1f}",
        "" if line.off is None else f"{line.off:.2%}",
    )
    return f"{start} {' | '.join(cells)} |"


def measured(device: torch.device, sizes: tuple[Size, ...], minutes: float) -> str:
    """Measure all networks, print the table line by line, and return the page."""
    started, meter, page = time.monotonic(), Meter(device), [TITLE, ""]
    rate = meter.rate()
    versions = f"PyTorch {torch.__version__}, diffusers {diffusers.__version__}"
    page += [f"{datetime.now(UTC).date()}, {meter.card}, {versions}.", "", "`python bench/flux.py`", ""]
    page += [f"Large matrix products run at {rate / 1e12:.4g} TFLOP/s here. {FORWARDS} forward passes per tile.", ""]
    page += HEAD.splitlines()
    print("\n".join(page[2:]))
    for index, size in enumerate(sizes, 1):
        # The last network's share of the time is not spent by the first.
        bench = Bench(size, meter, operations(size), rate, started + 60 * minutes * index / len(sizes))
        lines = bench.lines()
        first = next(lines)
        for line in chain([first], lines):
            page.append(told(line, bench, first.seconds))
            print(page[-1], flush=True)
        floor = bench.operations / rate
        page.append(f"| {size.row.name} | floor: {bench.operations / 1e12:.4g} TFLOP | | {floor:.3f} | | | 1 | | | |")
        print(page[-1], flush=True)
    page += [
        "",
        NOTE,
    ]
    return "\n".join(page) + "\n"


def nothing() -> str:
    """Return the page of a machine without a GPU."""
    return (
        f"{TITLE}\n\n{datetime.now(UTC).date()}: no GPU was at hand, so there is no figure. `python bench/flux.py` on a"
        " machine with one CUDA GPU measures for less than 8 minutes and writes this page.\n"
    )


def main() -> None:
    """Measure and write the page; without a GPU, say so there, but never in place of figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1 or cpu")
    parser.add_argument("--tiny", action="store_true", help="small networks, to see that all of it runs")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="when to skip the rest")
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the page is written")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        print("There is no GPU here.")
        if not (arguments.out.is_file() and HEAD in arguments.out.read_text(encoding="utf-8")):
            arguments.out.write_text(nothing(), encoding="utf-8")
        return
    sizes = tuple(tiny(size) for size in SIZES) if arguments.tiny else SIZES
    page = measured(device, sizes, arguments.minutes)
    if arguments.out == RESULTS and arguments.tiny:
        print("Figures of small networks are not kept.")
        return
    arguments.out.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
