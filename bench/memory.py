"""Measures peak memory and time of whole jobs, file to file, for results of 25 to 1,000 megapixels.

    python bench/memory.py 25 100
    python bench/memory.py 1000        (about 10 minutes on two cores, and 6 GB of disk)

Every job is a process of its own that goes through the gateway as the command line does. Prints one Markdown table and
ends with an error where a job needed more memory than it may. "Own" is the peak of the process's own memory (RssAnon),
"with files" that of everything resident (ru_maxrss), pages of files that are mapped included.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

FACTOR = 4
LIMITS = ((100, 1_500), (1_000, 2_000))
"""Up to so many megapixels of the result → the most megabytes of memory."""
BIG = 200
"""Megapixels from which a result is written as TIFF instead of PNG."""


def make(path: Path, megapixels: float) -> None:
    """Write a PNG of about this many megapixels: a photograph, repeated and mirrored, in a frame of 3:2."""
    import numpy as np  # noqa: PLC0415, a process that measures itself loads nothing that it does not need
    import pyvips  # noqa: PLC0415
    from skimage import data  # noqa: PLC0415

    width = round((megapixels * 1.5e6) ** 0.5)
    height = round(width / 1.5)
    photo = np.asarray(data.astronaut())  # type: ignore[no-untyped-call]
    photo = np.concatenate([photo, photo[:, ::-1]], axis=1)
    image = pyvips.Image.new_from_array(np.ascontiguousarray(photo))
    image = image.replicate(1 + width // image.width, 1 + height // image.height).crop(0, 0, width, height)
    image.pngsave(str(path), compression=1)


class Peak(threading.Thread):
    """Follows the process's own memory, in bytes."""

    def __init__(self) -> None:
        """Begin at nothing; `start` it."""
        super().__init__(daemon=True)
        self.bytes = 0

    def run(self) -> None:
        """Look twenty times a second."""
        while True:
            facts = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
            self.bytes = max(self.bytes, int(facts["RssAnon"].split()[0]) * 1024)
            time.sleep(0.05)


async def work(source: Path, creativity: float) -> dict[str, Any]:
    """Enlarge one file and return what it took."""
    from fluxvision.core.callbacks import JobCallbacks  # noqa: PLC0415
    from fluxvision.core.load_settings import load_settings  # noqa: PLC0415, counted as a part of the job's memory
    from fluxvision.create_gateway import create_gateway  # noqa: PLC0415
    from fluxvision.imaging import Limits, probe  # noqa: PLC0415

    peak = Peak()
    peak.start()
    gateway = create_gateway(load_settings({}, {"max_output_pixels": 2_000_000_000, "deadline": 86_400}))
    started, cpu = time.perf_counter(), time.process_time()
    picture = probe(source, Limits())
    pixels = picture.width * picture.height * FACTOR**2
    fields = {
        "scale_factor": FACTOR,
        "creativity": creativity,
        "output_format": "tiff" if pixels > BIG * 1e6 else "png",
    }
    job = gateway.admit("flux-vision-upscaler", fields, picture, None, "bench")
    delivery = (await gateway.prepare(job).run(JobCallbacks(), source.parent)).unwrap()
    return {
        "pixels": pixels,
        "seconds": time.perf_counter() - started,
        "cpu": time.process_time() - cpu,
        "own": peak.bytes,
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "file": delivery.pictures[0].path.stat().st_size,
        "stages": dict(delivery.timings),
    }


def line(found: dict[str, Any], creativity: float) -> tuple[str, bool]:
    """Return a line of the table, and whether the job kept to its limit."""
    megapixels, own, peak = found["pixels"] / 1e6, found["own"] / 1e6, found["peak"] / 1e6
    limit = next((most for size, most in LIMITS if megapixels <= size * 1.01), LIMITS[-1][1])
    kind = "TIFF" if megapixels > BIG else "PNG"
    stages = ", ".join(f"{name} {seconds:.1f}" for name, seconds in found["stages"].items())
    text = (
        f"| {megapixels:.0f} | {kind} | {creativity:g} | {own:.0f} | {limit} | {peak:.0f} "
        f"| {found['seconds']:.1f} ({stages}) | {megapixels / found['seconds']:.2f} | {found['cpu'] / megapixels:.2f} |"
    )
    return text, own <= limit


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("megapixels", type=float, nargs="*", default=[25.0, 100.0], help="sizes of the results")
    parser.add_argument("--creativity", type=float, default=0.0)
    parser.add_argument("--folder", type=Path, help="where the files are made; the system's temporary folder if absent")
    parser.add_argument("--source", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.source is not None:
        print(json.dumps(asyncio.run(work(arguments.source, arguments.creativity))))
        return
    print("| MP | format | creativity | own MB | at most | with files MB | seconds (of which) | MP/s | CPU-s per MP |")
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    kept = True
    for megapixels in arguments.megapixels:
        with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
            source = Path(folder) / "source.png"
            code = f"from memory import make; from pathlib import Path; make(Path({str(source)!r}), {megapixels / 16})"
            subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parent)
            order = [sys.executable, __file__, "--source", str(source), "--creativity", str(arguments.creativity)]
            done = subprocess.run(order, check=True, stdout=subprocess.PIPE, text=True)
            text, fits = line(json.loads(done.stdout), arguments.creativity)
            print(text, flush=True)
            kept = kept and fits
    if not kept:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
