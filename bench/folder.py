"""Compares `fluxvision upscale FOLDER` with the engine alone on the same pictures, in one process and in turns.

    python bench/folder.py --pictures 24 --width 320 --height 240

The engine alone analyses, restores and enlarges pixels that were decoded before, with the same threads, and throws its
strips away. The command also reads, checks and decodes files, measures, encodes and moves them. Prints the ratio of the
throughputs of each round, by the clock and by the CPU time, which other programs on the machine disturb less.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image

from fluxvision import engine, imaging
from fluxvision.__main__ import create_dependencies
from fluxvision.cli import Dependencies, run_cli
from fluxvision.core.system import count_cores
from fluxvision.engine.backends.registry import BY_NAME, choose_variant
from fluxvision.engine.restore import restore_source
from fluxvision.imaging.decode import DecodedImage

CREATIVITY, QUALITY = 0.3, 95
SOURCE = Path(__file__).parents[1] / "examples" / "chelsea.jpg"


def write_pictures(folder: Path, count: int, size: tuple[int, int]) -> list[Path]:
    """Write JPEG files that differ in a shift of one photograph."""
    pixels = np.asarray(Image.open(SOURCE).convert("RGB").resize(size, Image.Resampling.LANCZOS))
    paths = [folder / f"{number:04}.jpg" for number in range(count)]
    for number, path in enumerate(paths):
        Image.fromarray(np.roll(pixels, number, axis=1)).save(path, quality=QUALITY)
    return paths


Seconds = tuple[float, float]
"""Of a clock, and of the processor's cores together."""


def clock() -> Seconds:
    """Return the time now."""
    return time.perf_counter(), time.process_time()


def since(began: Seconds) -> Seconds:
    """Return the seconds since a time."""
    return time.perf_counter() - began[0], time.process_time() - began[1]


def time_engine(pixels: list[DecodedImage], factor: int) -> Seconds:
    """Return the time in which the engine alone enlarges pictures."""
    threads = count_cores()
    began = clock()
    for one in pixels:
        rows, columns = one.color.shape[:2]
        source = restore_source(one.color, QUALITY, 1, threads=threads)
        row = choose_variant(BY_NAME["span"], source.damage, factor, faithful=False)
        width, height = columns * factor, rows * factor
        request = engine.Request(source.color, width, height, creativity=CREATIVITY, backend=row.name, threads=threads)
        engine.enlarge(request, lambda _strip: None)
    return since(began)


def time_command(folder: Path, out: Path, factor: int, dependencies: Dependencies) -> Seconds:
    """Return the time in which the command enlarges a folder."""
    began = clock()
    arguments = ["upscale", str(folder), "--out", f"{out}/", "--scale", str(factor), "--quiet", "--device", "cpu"]
    code = run_cli(arguments, dependencies)
    if code:
        raise SystemExit(code)
    return since(began)


def main() -> None:
    """Measure, and print one line per round and the medians."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pictures", type=int, default=24)
    parser.add_argument("--width", type=int, default=320)
    parser.add_argument("--height", type=int, default=240)
    parser.add_argument("--scale", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()

    dependencies = create_dependencies()
    ratios: list[Seconds] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "in")
        folder.mkdir()
        paths = write_pictures(folder, given.pictures, (given.width, given.height))
        pixels = [imaging.decode(imaging.probe(path, imaging.Limits())) for path in paths]
        time_engine(pixels[:1], given.scale)
        for number in range(given.rounds):
            alone = time_engine(pixels, given.scale)
            whole = time_command(folder, Path(name, "out"), given.scale, dependencies)
            shutil.rmtree(Path(name, "out"))
            ratios.append((alone[0] / whole[0], alone[1] / whole[1]))
            print(
                f"round {number + 1}: engine {alone[0]:.1f} s, {alone[1]:.1f} CPU-s; folder {whole[0]:.1f} s", end=", "
            )
            print(f"{whole[1]:.1f} CPU-s; ratios {ratios[-1][0]:.2f} and {ratios[-1][1]:.2f}")
    wall, cpu = (median(column) for column in zip(*ratios, strict=True))
    print(f"throughput of the folder over that of the engine alone: {wall:.2f}, by CPU time {cpu:.2f} (medians)")


if __name__ == "__main__":
    main()
