"""The loops that `engine.py` compares; each run is a process of its own, so that its peak memory is its own.

Takes one JSON object (a loop's name and its arguments) and prints one JSON object: wall seconds, CPU-seconds, peak
memory in bytes, input and output pixels. Loading and one warm-up tile are not counted.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ncnn
import numpy as np
import pyvips
from numpy.typing import NDArray

import span_onnx
from fluxvision.core.images import RawImage
from fluxvision.engine import Request, enlarge
from fluxvision.engine.backends import weight_files
from fluxvision.engine.backends.registry import BY_NAME
from fluxvision.engine.fidelity import measure_fidelity

Report = dict[str, float]
Samples = NDArray[np.uint8]
FACTOR = 4
WARM = 64
"""Side of the warm-up tile."""


@contextmanager
def measured(report: Report, prefix: str = "") -> Iterator[None]:
    """Add the seconds and CPU-seconds of a block, and the process's peak memory after it."""
    wall, cpu = time.perf_counter(), time.process_time()
    yield
    report[prefix + "seconds"] = time.perf_counter() - wall
    report[prefix + "cpu"] = time.process_time() - cpu
    report[prefix + "peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def tiles(picture: Samples, tile: int) -> list[NDArray[np.float32]]:
    """Cut a picture into tiles of one size that have about as many pixels as it has; the rest is left out."""
    height, width = picture.shape[:2]
    count = max(1, round(height * width / tile**2))
    places = [(row, column) for row in range(0, height - tile + 1, tile) for column in range(0, width - tile + 1, tile)]
    cut = [picture[row : row + tile, column : column + tile] for row, column in places]
    return [
        np.ascontiguousarray(cut[index % len(cut)].transpose(2, 0, 1), np.float32) / np.float32(255)
        for index in range(count)
    ]


def bare(
    picture: Samples,
    *,
    networks: list[str],
    package: str | None,
    tile: int,
    threads: int,
    at_once: int,
    pool: bool,
    factor: int = FACTOR,
) -> Report:
    """Run networks that enlarge by `factor` in ncnn on tiles without halo, and throw the output away."""
    pools = ncnn.PoolAllocator(), ncnn.PoolAllocator()
    nets = []
    for name in networks:
        net = ncnn.Net()
        net.opt.use_vulkan_compute = False
        net.opt.num_threads = threads
        net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
        if pool:
            net.opt.blob_allocator, net.opt.workspace_allocator = pools
        param, binary = weight_files.find(name, package)
        if net.load_param(str(param)) or net.load_model(str(binary)):
            raise RuntimeError(name)
        nets.append(net)

    def run(image: NDArray[np.float32]) -> None:
        for net in nets:
            extractor = net.create_extractor()
            extractor.input(net.input_names()[0], ncnn.Mat(image))
            failed, _ = extractor.extract(net.output_names()[-1])
            if failed:
                raise MemoryError

    run(np.zeros((3, WARM, WARM), np.float32))
    return _over(tiles(picture, tile), run, at_once, factor)


def onnx(picture: Samples, *, network: str, tile: int, threads: int) -> Report:
    """Run a network in onnxruntime on tiles without halo, and throw the output away."""
    run = span_onnx.runner(network, tile, threads)
    images = tiles(picture, tile)
    run(images[0])
    return _over(images, run, 1, FACTOR)


def _over(
    images: list[NDArray[np.float32]], run: Callable[[NDArray[np.float32]], Any], at_once: int, factor: int
) -> Report:
    report: Report = {}
    with ThreadPoolExecutor(at_once) as threads, measured(report):
        for _ in threads.map(run, images):
            pass
    pixels = sum(image[0].size for image in images)
    return {**report, "input": pixels, "output": pixels * factor**2}


def pipeline(picture: Samples, *, factor: int, creativity: float, engine: str = "span") -> Report:
    """Enlarge by an engine into a raw file, then measure its fidelity as the service does."""
    height, width = picture.shape[:2]
    warm = np.ascontiguousarray(picture[:WARM, :WARM])
    enlarge(Request(warm, WARM * factor, WARM * factor, creativity=creativity, backend=engine), lambda _: None)
    report: Report = {"input": height * width, "output": height * width * factor**2}
    with tempfile.TemporaryDirectory() as folder:
        raster = RawImage(Path(folder) / "result.raw", width * factor, height * factor, 3, 8)
        request = Request(picture, raster.width, raster.height, creativity=creativity, backend=engine)
        with raster.path.open("wb") as file, measured(report):
            result = enlarge(request, lambda strip: strip.tofile(file))
        with measured(report, "fidelity_"):
            measure_fidelity(raster, picture, seam_ratio=result.seam_ratio)
    return report


def lanczos(picture: Samples, *, factor: int) -> Report:
    """Enlarge by libvips into a raw file."""
    image = pyvips.Image.new_from_array(picture)
    image.crop(0, 0, WARM, WARM).resize(factor, kernel="lanczos3").avg()
    report: Report = {"input": picture[..., 0].size, "output": picture[..., 0].size * factor**2}
    with tempfile.TemporaryDirectory() as folder, measured(report):
        image.resize(factor, kernel="lanczos3").rawsave(str(Path(folder) / "result.raw"))
    return report


LOOPS: dict[str, Callable[..., Report]] = {"bare": bare, "onnx": onnx, "pipeline": pipeline, "lanczos": lanczos}


def available(needs: str) -> bool:
    """Whether the weights of an engine row, or the packages of ONNX, are installed."""
    if needs in BY_NAME:
        return BY_NAME[needs].installed
    try:
        return span_onnx.difference() <= span_onnx.TOLERANCE
    except ModuleNotFoundError:
        return False


def main() -> None:
    """Do what the JSON object on the command line says."""
    order = json.loads(sys.argv[1])
    if "needs" in order:
        print(json.dumps({"available": available(order["needs"])}))
        return
    picture = np.load(order.pop("picture"))
    print(json.dumps(LOOPS[order.pop("loop")](picture, **order)))


if __name__ == "__main__":
    main()
