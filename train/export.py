"""Writes trained weights as ncnn files in 16-bit floats and checks that ncnn computes what torch does.

python train/export.py train/data/restore.safetensors src/fluxvision/engine/data
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import ncnn
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from scipy import ndimage
from torch import Tensor, nn

from restore import CONDITIONS, RestorationModel

MAGIC = "7767517"
HALF_FLAG = 0x01306B47
CLOSE = 2e-3
"""Largest difference between ncnn and torch on samples of 0..1: that of weights rounded to 16 bits, with a margin."""


def packed(kernel: Tensor) -> bytes:
    """Return a kernel as ncnn stores it in 16-bit floats."""
    data = kernel.detach().numpy().astype("<f2").tobytes()
    return HALF_FLAG.to_bytes(4, "little") + data + bytes(-len(data) % 4)


def restoration_files(model: RestorationModel) -> tuple[str, bytes]:
    """Return the graph and the weights of the restoration network; its inputs are `image` and `condition`."""
    lines = [
        "Input image 0 1 image",
        "Input condition 0 1 condition",
        "Reorg halves 1 1 image halves 0=2",
        "Concat planes 2 1 halves condition planes",
    ]
    weights, source = b"", "planes"
    convolutions = [layer for layer in model.model if isinstance(layer, nn.Conv2d)]
    for number, layer in enumerate(convolutions):
        name, relu = f"conv_{number}", " 9=1" if number < len(convolutions) - 1 else ""
        size = layer.weight.numel()
        lines.append(f"Convolution {name} 1 1 {source} {name} 0={layer.out_channels} 1=3 4=1 5=1 6={size}" + relu)
        bias = model.get_parameter(f"model.{2 * number}.bias")
        weights += packed(layer.weight) + bias.detach().numpy().astype("<f4").tobytes()
        source = name
    lines.append(f"PixelShuffle output 1 1 {source} output 0=2")
    return "\n".join([MAGIC, f"{len(lines)} {len(lines)}", *lines, ""]), weights


def run_ncnn(param: Path, binary: Path, inputs: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Run written files in 32-bit arithmetic."""
    net = ncnn.Net()
    net.opt.use_vulkan_compute = False
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    net.opt.use_bf16_storage = False
    if net.load_param(str(param)) or net.load_model(str(binary)):
        raise ValueError(param.name)
    extractor = net.create_extractor()
    for name, array in zip(net.input_names(), inputs, strict=True):
        extractor.input(name, ncnn.Mat(array).clone())
    return np.array(extractor.extract(net.output_names()[-1])[1])


def export(weights: Path, folder: Path) -> float:
    """Write restore.param and .bin and return the largest difference to torch on a random smooth picture."""
    image = ndimage.gaussian_filter(np.random.default_rng(0).random((3, 72, 96), np.float32), (0, 1, 1)) * 2 - 0.5
    condition = np.array([15 / 255, 0.3], np.float32)
    model = RestorationModel()
    model.load_state_dict(load_file(weights))
    text, data = restoration_files(model)
    with torch.no_grad():
        wanted = model(torch.from_numpy(image)[None], torch.from_numpy(condition)[None])[0].numpy()
    param, binary = folder / "restore.param", folder / "restore.bin"
    param.write_text(text, encoding="ascii")
    binary.write_bytes(data)
    planes = np.broadcast_to(condition[:, None, None], (CONDITIONS, 36, 48)).copy()
    return float(np.abs(run_ncnn(param, binary, [image, planes]) - wanted).max())


def main() -> None:
    """Read the command line and export."""
    parser = argparse.ArgumentParser(description="Torch weights to ncnn files.")
    parser.add_argument("weights", type=Path)
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    difference = export(arguments.weights, arguments.folder)
    print(f"largest difference to torch {difference:.6f}")
    if difference > CLOSE:
        raise SystemExit("ncnn and torch differ.")


if __name__ == "__main__":
    main()
