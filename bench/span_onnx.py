"""Reads a SPAN network from ncnn's two files and builds the same network in ONNX, for comparing runtimes.

Needs the packages `onnx` and `onnxruntime`, which nothing else in this project uses: pip install onnx onnxruntime.
Run it to compare the outputs of both runtimes.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fluxvision.engine.backends import weight_files
from fluxvision.engine.backends.ncnn import Networks
from fluxvision.engine.backends.registry import BY_NAME

Array = NDArray[np.float32]

TOLERANCE = 2e-5
"""Largest difference between the two runtimes' samples in 0..1."""
HALF_FLAG = 0x01306B47
"""What ncnn writes before a kernel that is stored in 16-bit floats; 0 stands before one of 32 bits."""
OPSET, IR_VERSION = 17, 9
ARITHMETIC = ("Add", "Sub", "Mul")


@dataclass(frozen=True, slots=True)
class Layer:
    """One line of a .param file: `values` are its numbered parameters as they are written."""

    kind: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    values: dict[int, str]

    def number(self, key: int, default: int = 0) -> int:
        """Return a whole-numbered parameter."""
        return int(self.values.get(key, default))


class Binary:
    """Reads the .bin file from front to back."""

    def __init__(self, path: Path) -> None:
        """Load the file."""
        self._data, self._at = path.read_bytes(), 0

    def plain(self, count: int) -> Array:
        """Return the next 32-bit floats."""
        return self._next(count, np.dtype("<f4")).astype(np.float32)

    def flagged(self, count: int) -> Array:
        """Return the next floats of the width that the flag before them tells; raises ValueError for any other."""
        flag = int(self._next(1, np.dtype("<u4"))[0])
        if flag not in {0, HALF_FLAG}:
            message = f"weights of the kind {flag:#x} are not read"
            raise ValueError(message)
        found = self._next(count, np.dtype("<f2" if flag else "<f4")).astype(np.float32)
        self._at += -self._at % 4
        return found

    def _next(self, count: int, dtype: np.dtype[Any]) -> NDArray[Any]:
        found = np.frombuffer(self._data, dtype, count, self._at)
        self._at += count * dtype.itemsize
        return found


@dataclass(slots=True)
class Graph:
    """The ONNX network while it is built."""

    binary: Binary
    nodes: list[Any] = field(default_factory=list)
    constants: list[Any] = field(default_factory=list)

    def node(self, kind: str, inputs: tuple[str, ...], outputs: tuple[str, ...], **attributes: Any) -> None:
        """Add an operation."""
        self.nodes.append(import_module("onnx.helper").make_node(kind, inputs, outputs, **attributes))

    def constant(self, name: str, values: Array) -> str:
        """Add an array and return its name."""
        self.constants.append(import_module("onnx.numpy_helper").from_array(values, name))
        return name


def _convolution(layer: Layer, graph: Graph) -> None:
    out, side, pad, size = layer.number(0), layer.number(1), layer.number(4), layer.number(6)
    kernel = graph.binary.flagged(size).reshape(out, -1, side, side)
    inputs = [layer.inputs[0], graph.constant(f"{layer.name}.kernel", kernel)]
    if layer.number(5):
        inputs.append(graph.constant(f"{layer.name}.bias", graph.binary.plain(out)))
    graph.node("Conv", tuple(inputs), layer.outputs, kernel_shape=[side, side], pads=[pad] * 4)


def _memory(layer: Layer, graph: Graph) -> None:
    across, down, bands = (layer.number(key) for key in range(3))
    graph.constant(layer.outputs[0], graph.binary.plain(across * down * bands).reshape(1, bands, down, across))


def _arithmetic(layer: Layer, graph: Graph) -> None:
    inputs = layer.inputs
    if layer.number(1):
        inputs = (*inputs, graph.constant(f"{layer.name}.scalar", np.array(float(layer.values[2]), np.float32)))
    graph.node(ARITHMETIC[layer.number(0)], inputs, layer.outputs)


def _swish(layer: Layer, graph: Graph) -> None:
    graph.node("Sigmoid", layer.inputs, (f"{layer.name}.sigmoid",))
    graph.node("Mul", (*layer.inputs, f"{layer.name}.sigmoid"), layer.outputs)


def _split(layer: Layer, graph: Graph) -> None:
    for output in layer.outputs:
        graph.node("Identity", layer.inputs, (output,))


LAYERS: dict[str, Callable[[Layer, Graph], None]] = {
    "Input": lambda _layer, _graph: None,
    "MemoryData": _memory,
    "Convolution": _convolution,
    "BinaryOp": _arithmetic,
    "Swish": _swish,
    "Split": _split,
    "Sigmoid": lambda layer, graph: graph.node("Sigmoid", layer.inputs, layer.outputs),
    "Concat": lambda layer, graph: graph.node("Concat", layer.inputs, layer.outputs, axis=1),
    "PixelShuffle": lambda layer, graph: graph.node(
        "DepthToSpace", layer.inputs, layer.outputs, blocksize=layer.number(0), mode="CRD"
    ),
}
"""ncnn layer → what it is in ONNX; every layer that SPAN has, and no other."""


def layers(path: Path) -> list[Layer]:
    """Read a .param file."""
    found = []
    for line in path.read_text(encoding="ascii").splitlines()[2:]:
        kind, name, inputs, outputs, *rest = line.split()
        blobs, pairs = rest[: int(inputs) + int(outputs)], rest[int(inputs) + int(outputs) :]
        values = {int(key): value for key, _, value in (pair.partition("=") for pair in pairs)}
        found.append(Layer(kind, name, tuple(blobs[: int(inputs)]), tuple(blobs[int(inputs) :]), values))
    return found


def build(network: str, rows: int, columns: int) -> bytes:
    """Return the network as an ONNX file for tiles of one size: (1, 3, rows, columns) in 0..1."""
    helper, kind = import_module("onnx.helper"), import_module("onnx").TensorProto.FLOAT
    param, binary = weight_files.find(network, None)
    found, graph = layers(param), Graph(Binary(binary))
    for layer in found:
        LAYERS[layer.kind](layer, graph)
    body = helper.make_graph(
        graph.nodes,
        network,
        [helper.make_tensor_value_info(found[0].outputs[0], kind, [1, 3, rows, columns])],
        [helper.make_tensor_value_info(found[-1].outputs[0], kind, [1, 3, rows * 4, columns * 4])],
        graph.constants,
    )
    opset = [helper.make_opsetid("", OPSET)]
    return bytes(helper.make_model(body, opset_imports=opset, ir_version=IR_VERSION).SerializeToString())


def runner(network: str, tile: int, threads: int) -> Callable[[Array], Array]:
    """Return a function that enlarges tiles (3, tile, tile) in onnxruntime on `threads` threads."""
    runtime = import_module("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = runtime.InferenceSession(build(network, tile, tile), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def run(image: Array) -> Array:
        found: Array = session.run(None, {name: image[None]})[0][0]
        return found

    return run


def difference(tile: int = 96) -> float:
    """Return the largest difference between both runtimes on a tile of noise over a gradient."""
    ramp = np.linspace(0, 1, tile, dtype=np.float32)
    noise = np.random.default_rng(0).random((3, tile, tile), np.float32)
    image = np.ascontiguousarray(0.7 * np.broadcast_to(ramp, noise.shape) + 0.3 * noise, np.float32)
    row = BY_NAME["span"]
    return float(np.abs(runner(row.base, tile, 1)(image) - Networks(row).base(image)).max())


def main() -> None:
    """Compare, and end with an error where the runtimes differ."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    found = difference()
    print(f"largest difference between onnxruntime and ncnn: {found:.2e} (allowed: {TOLERANCE:.0e})")
    if found > TOLERANCE:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
