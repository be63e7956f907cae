"""Reads ncnn's files of a SPAN network into a trainable torch module, and writes them back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

HALF_FLAG = 0x01306B47


class SpanModel(nn.Module):
    """A SPAN network as ncnn's graph has it: (n, 3, rows, columns) to (n, 3, factor * rows, factor * columns)."""

    def __init__(self, graph: list[str]) -> None:
        """Take the lines of a .param file, without its two first."""
        super().__init__()
        self.graph = graph
        self.weights = nn.ParameterDict()

    @classmethod
    def read(cls, param: Path, binary: Path) -> SpanModel:
        """Read a network from its two files."""
        model = cls(param.read_text(encoding="ascii").splitlines()[2:])
        data, at = binary.read_bytes(), 0
        for line in model.graph:
            kind, name, _, _, values = parse(line)
            if kind == "Convolution":
                half = int.from_bytes(data[at : at + 4], "little") == HALF_FLAG
                count, at = int(values[6]), at + 4
                kernel = np.frombuffer(data, "<f2" if half else "<f4", count, at).astype(np.float32)
                at += kernel.size * (2 if half else 4)
                at += -at % 4
                out, side = int(values[0]), int(values[1])
                model.weights[f"{name}_w"] = nn.Parameter(torch.from_numpy(kernel.reshape(out, -1, side, side)))
                if int(values.get(5, 0)):
                    model.weights[f"{name}_b"] = nn.Parameter(torch.tensor(np.frombuffer(data, "<f4", out, at)))
                    at += 4 * out
            elif kind == "MemoryData":
                shape = [int(values.get(axis, 1)) for axis in (2, 1, 0)]
                constant = np.frombuffer(data, "<f4", int(np.prod(shape)), at).reshape(1, *shape)
                model.register_buffer(f"constant_{name}", torch.tensor(constant))
                at += 4 * constant.size
        if at != len(data):
            raise ValueError(binary.name)
        return model

    def files(self) -> tuple[str, bytes]:
        """Return the graph and the weights, kernels in 16-bit floats."""
        weights, blobs = b"", set()
        for line in self.graph:
            kind, name, inputs, outputs, _ = parse(line)
            blobs |= {*inputs, *outputs}
            if kind == "Convolution":
                data = self.weights[f"{name}_w"].detach().numpy().astype("<f2").tobytes()
                weights += HALF_FLAG.to_bytes(4, "little") + data + bytes(-len(data) % 4)
                if f"{name}_b" in self.weights:
                    weights += self.weights[f"{name}_b"].detach().numpy().astype("<f4").tobytes()
            elif kind == "MemoryData":
                weights += self.get_buffer(f"constant_{name}").numpy().astype("<f4").tobytes()
        return "\n".join(["7767517", f"{len(self.graph)} {len(blobs)}", *self.graph, ""]), weights

    def forward(self, image: Tensor) -> Tensor:
        """Enlarge a batch."""
        blobs: dict[str, Tensor] = {}
        for line in self.graph:
            kind, name, inputs, outputs, values = parse(line)
            taken = [blobs[one] for one in inputs]
            if kind == "Input":
                made = image
            elif kind == "MemoryData":
                made = self.get_buffer(f"constant_{name}")
            elif kind == "Convolution":
                bias = self.weights.get(f"{name}_b")
                made = functional.conv2d(taken[0], self.weights[f"{name}_w"], bias, padding=int(values.get(4, 0)))
            elif kind == "Split":
                made = taken[0]
            elif kind == "BinaryOp":
                second = float(values[2]) if int(values.get(1, 0)) else taken[1]
                made = (taken[0] + second, taken[0] - second, taken[0] * second)[int(values.get(0, 0))]
            elif kind == "Concat":
                made = torch.cat(taken, 1)
            elif kind == "PixelShuffle":
                made = functional.pixel_shuffle(taken[0], int(values[0]))
            else:
                made = functional.silu(taken[0]) if kind == "Swish" else torch.sigmoid(taken[0])
            blobs |= dict.fromkeys(outputs, made)
        return made


def parse(line: str) -> tuple[str, str, list[str], list[str], dict[int, str]]:
    """Return kind, name (fit for a parameter of torch), inputs, outputs and values of a line."""
    kind, name, into, out, *rest = line.split()
    first, second = int(into), int(into) + int(out)
    values = {int(key): value for key, _, value in (word.partition("=") for word in rest[second:])}
    return kind, name.replace(".", "_").replace("/", "_"), rest[:first], rest[first:second], values
