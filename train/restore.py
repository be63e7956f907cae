"""Trains the restoration network: degraded pictures of any size to clean ones of the same size.

    python train/restore.py --minutes 60
    python train/restore.py --minutes 60 --resume

The network has the shape of FFDNet (K. Zhang et al., "FFDNet: Toward a Fast and Flexible Solution for CNN based Image
Denoising", 2018): 12 convolutions of 96 maps at half resolution, the last of which makes the picture, not a
difference. It sees the four pixels of a square as channels, and two constant planes: the noise (sigma of luma / 255)
and the compression ((100 - JPEG quality) / 100). Every `--every` minutes the averaged weights are written to
`train/data/restore.safetensors`, all that `--resume` needs beside it, and the losses to `train/restore.tsv`.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from queue import Queue
from threading import Thread

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from degrade import Sample, cuts, degrade
from photos import DATA, patches, reduced_photos

MAPS, LAYERS = 96, 12
CONDITIONS = 2
BATCH, SIDE = 8, 80
CROP, CUTS = 224, 2
"""Pictures of `CROP` are degraded and measured, and so many patches of `SIDE` are cut from each."""
RATE, DECAY, WARM, FALL = 4e-5, 0.98, 20, 0.7
TAKEN = 0.25
"""Share of the trained weights in the file, the rest those of the start: better than either (M. Wortsman et al., "Model
soups", 2022)."""
JITTER = 0.25
"""The conditions are off by up to half this share either way, as the engine's measurements are."""
SCALES = (1, 2, 4)
"""Reductions at which the loss is taken: the coarse ones keep colours and blotches in check."""
TEXTURE = 0.5
"""Weight of the loss of differences between neighbours, which keeps weak texture from being smoothed away."""


class RestorationModel(nn.Module):
    """(n, 3, rows, columns) in 0..1 of even sides and (n, 2) conditions to (n, 3, rows, columns)."""

    def __init__(self) -> None:
        """Build the network with random weights."""
        super().__init__()
        widths = [12 + CONDITIONS, *[MAPS] * (LAYERS - 1), 12]
        layers: list[nn.Module] = []
        for into, out in pairwise(widths):
            layers += [nn.Conv2d(into, out, 3, 1, 1), nn.ReLU()]
        self.model = nn.Sequential(*layers[:-1])

    def forward(self, image: Tensor, condition: Tensor) -> Tensor:
        """Restore a batch."""
        halves = functional.pixel_unshuffle(image, 2)
        planes = condition[:, :, None, None].expand(-1, -1, *halves.shape[-2:])
        return functional.pixel_shuffle(self.model(torch.cat((halves, planes), 1)), 2)


def restoration_loss(made: Tensor, truth: Tensor) -> Tensor:
    """Return the Charbonnier distance at several scales, and that of the differences between neighbours."""
    error = made - truth
    total = torch.zeros(())
    for scale in SCALES:
        part = functional.avg_pool2d(error, scale) if scale > 1 else error
        total = total + charbonnier(part) / len(SCALES)
    return total + TEXTURE * (charbonnier(error.diff(dim=2)) + charbonnier(error.diff(dim=3))) / 2


def charbonnier(error: Tensor) -> Tensor:
    """Return the mean of a smooth absolute value."""
    return torch.sqrt(error * error + 1e-6).mean()


def batches(seed: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield degraded patches, the clean ones and their conditions; made by a thread of their own."""
    queue: Queue[list[Sample]] = Queue(8)

    def feed() -> None:
        generator = np.random.default_rng(seed)
        clean = patches(reduced_photos(), CROP, generator)
        while True:
            samples = [degrade(next(clean), generator) for _ in range(BATCH // CUTS)]
            queue.put([one for sample in samples for one in cuts(sample, SIDE, CUTS, generator)])

    Thread(target=feed, daemon=True).start()
    while True:
        samples = queue.get()
        pictures = (np.stack([getattr(one, name) for one in samples]) for name in ("degraded", "clean"))
        degraded, clean = (torch.from_numpy(one).permute(0, 3, 1, 2).float() / 255 for one in pictures)
        yield degraded, clean, torch.tensor([one.condition for one in samples], dtype=torch.float32)


def train(minutes: float, every: float, start: Path, *, resume: bool) -> None:
    """Train for so many minutes; the rate rises over `WARM` steps and falls in the last part of the time."""
    torch.manual_seed(0)
    random.seed(0)
    model = RestorationModel()
    begun = load_file(start)
    model.load_state_dict(begun)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.Adam(model.parameters(), RATE)
    average = {name: value.clone() for name, value in model.state_dict().items()}
    state, log, step = DATA / "restore.pt", Path(__file__).with_suffix(".tsv"), 0
    if resume:
        saved = torch.load(state, weights_only=True)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        average, step = saved["average"], saved["step"]
    else:
        log.write_text("step\tloss\tloss of the input\n", encoding="ascii")
    began = last = time.monotonic()
    losses: list[tuple[float, float]] = []
    for degraded, clean, condition in batches(step):
        done = (time.monotonic() - began) / (60 * minutes)
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1, (step + 1) / WARM, max(0.0, 1 - done) / FALL)
        jittered = condition * (1 + JITTER * (torch.rand_like(condition) - 0.5))
        loss = restoration_loss(model(degraded.to(memory_format=torch.channels_last), jittered), clean)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        step += 1
        decay = min(DECAY, (1 + step) / (10 + step))
        for name, value in model.state_dict().items():
            average[name].mul_(decay).add_(value, alpha=1 - decay)
        with torch.no_grad():
            losses.append((loss.item(), restoration_loss(degraded, clean).item()))
        if len(losses) == 20:
            means = np.mean(losses, axis=0) * 255
            with log.open("a", encoding="ascii") as file:
                file.write(f"{step}\t{means[0]:.3f}\t{means[1]:.3f}\n")
            losses.clear()
        if done >= 1 or time.monotonic() - last > 60 * every:
            last = time.monotonic()
            mean = {name: torch.lerp(begun[name], value, TAKEN).contiguous() for name, value in average.items()}
            save_file(mean, DATA / "restore.safetensors")
            saved = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "average": average, "step": step}
            torch.save(saved, state)
        if done >= 1:
            return


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(description="Train the restoration network.")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--every", type=float, default=5, help="minutes between checkpoints")
    parser.add_argument("--start", type=Path, required=True, help="weights to start from (.safetensors)")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint")
    arguments = parser.parse_args()
    train(arguments.minutes, arguments.every, arguments.start, resume=arguments.resume)


if __name__ == "__main__":
    main()
