"""Reads the ncnn files of a SPAN network as a trainable model, and writes its weights back in the same form.

The graphs of `spanx4_ch48` and `4xSPANkendata` have these layers only; torch and ncnn agree within 1e-4.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import DTypeLike, NDArray
from torch import Tensor, nn
from torch.nn import functional

HALF_FLAG = 0x01306B47
"""The word before the weights of a kernel in 16-bit floats; 0 stands before one of 32 bits."""
OPERATIONS: tuple[Callable[..., Tensor], ...] = (torch.add, torch.sub, torch.mul)
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"Swish": functional.silu, "Sigmoid": torch.sigmoid}


@dataclass(frozen=True, slots=True)
class Layer:
    """One line of a .param file."""

    kind: str
    key: str
    """Its name as a torch module may have it."""
    inputs: list[str]
    outputs: list[str]
    values: dict[int, str]

    def number(self, key: int) -> int:
        """Return one of the values, 0 where it is not given."""
        return int(self.values.get(key, "0"))


def read_layers(param: Path) -> list[Layer]:
    """Return the layers of a graph."""
    layers = []
    for line in param.read_text("ascii").splitlines()[2:]:
        kind, name, into, out, *rest = line.split()
        inputs, outputs = rest[: int(into)], rest[int(into) : int(into) + int(out)]
        values = dict(part.split("=") for part in rest[int(into) + int(out) :])
        key = name.replace(".", "_").replace("/", "_")
        layers.append(Layer(kind, key, inputs, outputs, {int(key): value for key, value in values.items()}))
    return layers


class NcnnModel(nn.Module):
    """A graph of convolutions, activations and sums: (n, 3, rows, columns) in 0..1 to (n, 3, 4 rows, 4 columns)."""

    def __init__(self, param: Path) -> None:
        """Read the graph and the weights, which are beside it."""
        super().__init__()
        self.layers = read_layers(param)
        self.weights = nn.ParameterDict()
        self.data, self.at = param.with_suffix(".bin").read_bytes(), 0
        for layer in self.layers:
            if layer.kind == "Convolution":
                out, side, size = layer.number(0), layer.number(1), layer.number(6)
                kernel = self._kernel(size).reshape(out, size // (out * side * side), side, side)
                self.weights[f"{layer.key}_kernel"] = nn.Parameter(torch.from_numpy(kernel))
                if layer.number(5):
                    self.weights[f"{layer.key}_bias"] = nn.Parameter(torch.from_numpy(self._numbers(out, "<f4")))
            elif layer.kind == "MemoryData":
                mean = self._numbers(layer.number(2), "<f4").reshape(1, -1, 1, 1)
                self.register_buffer(self._constant(layer), torch.from_numpy(mean))

    def _numbers(self, count: int, kind: DTypeLike) -> NDArray[np.float32]:
        found = np.frombuffer(self.data, kind, count, self.at)
        self.at += found.nbytes + -found.nbytes % 4
        return found.astype(np.float32)

    def _kernel(self, size: int) -> NDArray[np.float32]:
        flag = int.from_bytes(self.data[self.at : self.at + 4], "little")
        self.at += 4
        return self._numbers(size, "<f2" if flag == HALF_FLAG else "<f4")

    def forward(self, image: Tensor) -> Tensor:
        """Run the graph."""
        return self.blobs(image)[self.layers[-1].outputs[0]]

    def blobs(self, image: Tensor) -> dict[str, Tensor]:
        """Run the graph and return what each layer made, by the names of the graph."""
        blobs: dict[str, Tensor] = {}
        for layer in self.layers:
            seen = [blobs[name] for name in layer.inputs] or [image]
            blobs |= dict.fromkeys(layer.outputs, self._run(layer, seen))
        return blobs

    def _run(self, layer: Layer, seen: list[Tensor]) -> Tensor:
        match layer.kind:
            case "Input" | "Split":
                made = seen[0]
            case "MemoryData":
                made = self.get_buffer(self._constant(layer))
            case "Convolution":
                kernel = self.weights[f"{layer.key}_kernel"]
                bias = self.weights[f"{layer.key}_bias"] if layer.number(5) else None
                made = functional.conv2d(seen[0], kernel, bias, padding=layer.number(4))
            case "BinaryOp":
                other = float(layer.values[2]) if layer.number(1) else seen[1]
                made = OPERATIONS[layer.number(0)](seen[0], other)
            case "Concat":
                made = torch.cat(seen, 1)
            case "PixelShuffle":
                made = functional.pixel_shuffle(seen[0], layer.number(0))
            case _:
                made = ACTIVATIONS[layer.kind](seen[0])
        return made

    @staticmethod
    def _constant(layer: Layer) -> str:
        return f"constant_{layer.outputs[0]}".replace(".", "_")

    def binary(self) -> bytes:
        """Return the weights as ncnn stores them, kernels in 16-bit floats."""
        parts = []
        for layer in self.layers:
            if layer.kind == "Convolution":
                kernel = self.weights[f"{layer.key}_kernel"].detach().numpy().astype("<f2").tobytes()
                parts += [HALF_FLAG.to_bytes(4, "little"), kernel, bytes(-len(kernel) % 4)]
                if layer.number(5):
                    parts.append(self.weights[f"{layer.key}_bias"].detach().numpy().astype("<f4").tobytes())
            elif layer.kind == "MemoryData":
                parts.append(self.get_buffer(self._constant(layer)).numpy().tobytes())
        return b"".join(parts)
