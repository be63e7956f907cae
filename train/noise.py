"""Trains the estimate of noise: statistics of a picture's blocks to the standard deviation of its noise.

    python train/noise.py --samples 12000

Crops of the training photographs are reduced, some are sharpened or blurred, most get noise and JPEG, as in
`degrade.py`; patterns and text have none. What the engine measures of them (`engine/noise_estimate.py`) goes to
`train/data/noise_samples.npz`, and a network of two hidden layers learns the logarithm of the noise that was added. A
sixth of the photographs is held out; what is wrong on those is printed.
"""

from __future__ import annotations

import argparse
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from torch import nn

from degrade import WEIGHTS, Bytes, Floats, compress, random_blotches, random_noise
from fluxvision.engine.noise_estimate import FARTHEST, OFFSET, level_of, noise_statistics
from fluxvision.engine.source_analysis import analysed_windows
from photos import DATA, reduced_photos, rendered_page

SIDES, REDUCTIONS = (96, 128, 128, 192, 256, 320), (1, 1, 1.5, 2, 2.7)
KERNELS = (Image.Resampling.BICUBIC, Image.Resampling.LANCZOS, Image.Resampling.BOX, Image.Resampling.HAMMING)
TEXT, PATTERN, CLEAN, ONLY_JPEG, PHONE, COMPRESSED, GREY, UNKNOWN = 0.05, 0.04, 0.3, 0.1, 0.35, 0.7, 0.12, 0.15
"""Shares of the crops: drawn ones, those without noise, with blotches of those with noise, those after JPEG, grey ones,
and those whose JPEG quality is not told."""
QUALITIES = (30, 97)
HIDDEN = 32
BATCH, EPOCHS, RATE, WEIGHT_DECAY, JITTER = 128, 80, 3e-3, 3e-2, 0.05
QUANTILE = 0.45
"""Below 0.5 it is rather too little noise than too much: a clean picture must not be smoothed."""
HELD_OUT = 6
NONE = -1
"""The number of the photograph of a drawn crop."""


def crop(photos: tuple[Bytes, ...], pages: list[Bytes], generator: np.random.Generator) -> tuple[int, Bytes]:
    """Return a reduced crop of a photograph or of a drawing, and the number of the photograph."""
    chance = generator.random()
    if chance < PATTERN:
        return NONE, pattern(generator)
    areas = np.sqrt([photo.shape[0] * photo.shape[1] for photo in photos])
    number = NONE if chance < PATTERN + TEXT else int(generator.choice(len(photos), p=areas / areas.sum()))
    photo = pages[generator.integers(len(pages))] if number == NONE else photos[number]
    scale, side = generator.choice(REDUCTIONS), int(generator.choice(SIDES))
    if min(photo.shape[:2]) < int(side * scale):
        scale, side = 1, min(side, *photo.shape[:2])
    needed = int(side * scale)
    top, left = (int(generator.integers(length - needed + 1)) for length in photo.shape[:2])
    found = np.rot90(photo[top : top + needed, left : left + needed], int(generator.integers(4)))
    if scale > 1:
        kernel = KERNELS[generator.integers(len(KERNELS))]
        found = np.asarray(Image.fromarray(np.ascontiguousarray(found)).resize((side, side), kernel))
    return number, found


def pattern(generator: np.random.Generator) -> Bytes:
    """Return a checkerboard, stripes or a dithered ramp in two levels of grey."""
    side, period, kind = int(generator.choice(SIDES)), int(generator.integers(1, 7)), int(generator.integers(5))
    rows, columns = np.indices((side, side)) // period
    ramp = Image.fromarray((np.indices((side, side)).sum(axis=0) / (2 * side) * 255).astype(np.uint8))
    is_light = (
        (rows + columns) % 2,
        rows % 2,
        (rows * period + columns) % 2,
        columns % 2,
        np.asarray(ramp.convert("1")),
    )
    low, high = generator.integers(0, 256, 2)
    grey = (low + (high - low) * is_light[kind].astype(np.float64))[:, :, None] * np.ones(3)
    if generator.random() < 0.3:
        grey = ndimage.gaussian_filter(grey, (*[generator.uniform(0.3, 1)] * 2, 0))
    return np.asarray(grey.clip(0, 255), np.uint8)


def damaged(clean: Bytes, generator: np.random.Generator) -> tuple[Bytes, float, int | None]:
    """Return a crop after noise and JPEG, the deviation of the noise in luma, and the quality that is told."""
    picture, added, quality = clean.astype(np.float64), 0.0, None
    chance = generator.random()
    if chance < CLEAN and generator.random() < 0.3:
        picture += generator.uniform(0.2, 0.8) * (picture - ndimage.gaussian_filter(picture, (1, 1, 0)))
    elif generator.random() < 0.25:
        picture = ndimage.gaussian_filter(picture, (*[generator.uniform(0.2, 1.2)] * 2, 0))
    if chance >= CLEAN + ONLY_JPEG:
        grain = phone_noise(picture, generator) if generator.random() < PHONE else random_noise(picture, generator)
        picture, added = picture + grain, float((grain @ WEIGHTS).std())
    pixels = (picture.clip(0, 255) + 0.5).astype(np.uint8)
    if generator.random() < GREY:
        pixels = np.repeat((pixels @ WEIGHTS).round().astype(np.uint8)[:, :, None], 3, axis=2)
    if generator.random() < COMPRESSED:
        told = int(generator.integers(*QUALITIES))
        pixels = compress(pixels, told, subsampling=2 * int(generator.integers(2)))
        quality = None if generator.random() < UNKNOWN else told
    return pixels, added, quality


def phone_noise(picture: Floats, generator: np.random.Generator) -> Floats:
    """Return blotches of grey, of colour or of both, most often with white noise."""
    shape, share, sigma = picture.shape[:2], generator.random(), np.exp(generator.uniform(np.log(2), np.log(22)))
    colored, other = random_blotches(shape, generator), random_blotches(shape, generator)
    grey = colored[:, :, :1] + np.zeros(3)
    found = (grey, colored, grey * np.sqrt(share) + other * np.sqrt(1 - share))[generator.integers(3)] * sigma
    if generator.random() < 0.5:
        white = sigma * generator.uniform(0.3, 1.5)
        found = found + generator.normal(0, white * np.sqrt(share), (*shape, 1))
        found = found + generator.normal(0, white * np.sqrt(1 - share), picture.shape)
    if generator.random() < 0.3:
        found = found * np.sqrt(0.2 + 1.6 * (picture @ WEIGHTS)[:, :, None] / 255)
    return np.asarray(found)


def make_samples(count: int, saved: Path) -> None:
    """Write statistics, added noise and number of the photograph of so many crops."""
    generator = np.random.default_rng(0)
    pages = [rendered_page(generator) for _ in range(12)]
    rows: list[tuple[NDArray[np.float32], float, int]] = []
    while len(rows) < count:
        number, clean = crop(reduced_photos(), pages, generator)
        pixels, added, quality = damaged(clean, generator)
        found = noise_statistics(analysed_windows(pixels), quality)
        if found is not None:
            rows.append((found, added, number))
        if len(rows) % 500 == 0 or len(rows) == count:
            statistics, noises, numbers = zip(*rows, strict=True)
            np.savez(saved, statistics=np.stack(statistics), noise=np.array(noises), photo=np.array(numbers))


def fit(saved: Path, written: Path) -> None:
    """Train on the samples, write the weights and print the errors on the photographs held out."""
    torch.manual_seed(0)
    with np.load(saved) as arrays:
        statistics, added, numbers = (arrays[name] for name in ("statistics", "noise", "photo"))
    # Each photograph is there in two sizes, one after the other.
    held_out = (numbers // 2 % HELD_OUT == 0) & (numbers != NONE)
    mean, deviation = statistics[~held_out].mean(axis=0), statistics[~held_out].std(axis=0) + 1e-3
    inputs = torch.from_numpy(((statistics - mean) / deviation).astype(np.float32)).clamp(-FARTHEST, FARTHEST)
    level = level_of(statistics)
    wanted = torch.from_numpy((np.log(added + OFFSET) - level).astype(np.float32))
    widths = (inputs.shape[1], HIDDEN, HIDDEN, 1)
    layers: list[nn.Module] = []
    for into, out in pairwise(widths):
        layers += [nn.Linear(into, out), nn.ReLU()]
    model = nn.Sequential(*layers[:-1])
    optimizer = torch.optim.AdamW(model.parameters(), RATE, weight_decay=WEIGHT_DECAY)
    numbered = torch.from_numpy(np.flatnonzero(~held_out))
    for epoch in range(EPOCHS):
        for group in optimizer.param_groups:
            group["lr"] = RATE * (1 - epoch / EPOCHS)
        order = numbered[torch.randperm(len(numbered))]
        for first in range(0, len(order), BATCH):
            chosen = order[first : first + BATCH]
            seen = inputs[chosen] + JITTER * torch.randn(len(chosen), widths[0])
            error = wanted[chosen] - model(seen)[:, 0]
            loss = torch.maximum(QUANTILE * error, (QUANTILE - 1) * error).mean()
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    with torch.no_grad():
        found = np.exp(model(inputs)[:, 0].numpy() + level)[held_out] - OFFSET
    truth = added[held_out]
    clean, noisy = found[truth == 0], (found / np.maximum(truth, 1))[truth >= 4]
    print(f"held out, clean: {np.mean(clean > 2):.1%} above 2, {np.mean(clean > 4):.1%} above 4")
    print(f"held out, noise of 4 and more: percentiles 5, 50, 95 of found / added {np.percentile(noisy, (5, 50, 95))}")
    weights = [value.detach().numpy() for value in model.parameters()]
    names = ("mean", "deviation", *(f"{kind}_{number}" for number in range(3) for kind in ("kernel", "bias")))
    np.savez(
        written, **dict(zip(names, [part.astype(np.float32) for part in (mean, deviation, *weights)], strict=True))
    )


def main() -> None:
    """Read the command line, make samples and train."""
    parser = argparse.ArgumentParser(description="Train the estimate of noise.")
    parser.add_argument("--samples", type=int, default=12_000)
    parser.add_argument("--fit-only", action="store_true", help="use the samples of an earlier run")
    parser.add_argument("--written", type=Path, default=DATA / "noise.npz", help="the file of weights to write")
    arguments = parser.parse_args()
    saved = DATA / "noise_samples.npz"
    if not arguments.fit_only:
        make_samples(arguments.samples, saved)
    fit(saved, arguments.written)


if __name__ == "__main__":
    main()
