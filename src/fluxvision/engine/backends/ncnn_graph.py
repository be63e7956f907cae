"""Rewrites an ncnn network while it is loaded: a 1 × 1 convolution of joined maps becomes a sum of convolutions.

The sum is the same up to the order of additions (differences below 1e-6), but the joined copy of all maps is never
made, which is a third of a SPAN network's memory. Weights are only cut, never changed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

HALF_FLAG = 0x01306B47
"""The word before the weights of a kernel in 16-bit floats; 0 stands before one of 32 bits."""
WITHOUT_WEIGHTS = frozenset({"Input", "Split", "BinaryOp", "Swish", "Sigmoid", "Concat", "PixelShuffle"})
CONVOLUTION = {0: 0, 1: 0, 2: 1, 3: 1, 4: 0, 5: 0, 6: 0}
"""The supported parameters of a convolution, with their defaults; one with any other is not rewritten."""
OUT, SIDE, DILATION, STRIDE, PAD, BIAS, SIZE = CONVOLUTION


@dataclass(frozen=True, slots=True)
class Layer:
    """One line of a .param file, with the bytes that it has in the .bin file."""

    text: str
    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    values: dict[int, str]
    weights: bytes = b""

    def number(self, key: int) -> int:
        """Return a parameter of a convolution."""
        return int(self.values.get(key, CONVOLUTION[key]))


def load_layers(param: Path, binary: Path) -> tuple[str, bytes] | None:
    """Return the text and the weights of the rewritten network, None when there is nothing to rewrite."""
    layers = _read_param(param.read_text(encoding="ascii"), binary.read_bytes())
    if layers is None:
        return None
    joined = {layer.outputs[0]: layer for layer in layers if layer.kind == "Concat" and not layer.values}
    cut = [layer for layer in layers if layer.inputs and layer.inputs[0] in joined and _is_pointwise(layer)]
    gone = {layer.inputs[0] for layer in cut}
    if not cut:
        return None
    made = {name: number for number, layer in enumerate(layers) for name in layer.outputs}
    lines, weights = [], b""
    for layer in layers:
        if layer in cut:
            texts, parts = _split_layers(layer, joined[layer.inputs[0]].inputs, made)
            lines += texts
            weights += parts
        elif not gone.intersection(layer.outputs):
            lines.append(layer.text)
            weights += layer.weights
    blobs = {name for line in lines for name in _layer_names(line.split())}
    return "\n".join(["7767517", f"{len(lines)} {len(blobs)}", *lines, ""]), weights


def _read_param(text: str, data: bytes) -> list[Layer] | None:
    """Return the layers, None when the format of the weights of one of them is unknown."""
    layers, at = [], 0
    for line in text.splitlines()[2:]:
        words = line.split()
        inputs = int(words[2])
        names = _layer_names(words)
        values = {int(key): value for key, _, value in (word.partition("=") for word in words[4 + len(names) :])}
        layer = Layer(line, words[0], names[:inputs], names[inputs:], values)
        if layer.kind == "Convolution" and values.keys() <= CONVOLUTION.keys():
            half = int.from_bytes(data[at : at + 4], "little") == HALF_FLAG
            kernel = layer.number(SIZE) * (2 if half else 4)
            size = 4 + kernel + -kernel % 4 + 4 * layer.number(OUT) * layer.number(BIAS)
        elif layer.kind == "MemoryData" and values.keys() <= {0, 1, 2}:
            size = 4 * int(np.prod([int(value) for value in values.values()]))
        elif layer.kind in WITHOUT_WEIGHTS:
            size = 0
        else:
            return None
        layers.append(Layer(line, layer.kind, layer.inputs, layer.outputs, values, data[at : at + size]))
        at += size
    return layers if at == len(data) else None


def _layer_names(words: list[str]) -> tuple[str, ...]:
    """Return the inputs and outputs of a line."""
    return tuple(words[4 : 4 + int(words[2]) + int(words[3])])


def _is_pointwise(layer: Layer) -> bool:
    return layer.kind == "Convolution" and [layer.number(key) for key in (SIDE, STRIDE, PAD)] == [1, 1, 0]


def _split_layers(layer: Layer, inputs: tuple[str, ...], made: dict[str, int]) -> tuple[list[str], bytes]:
    """Return the lines and weights of a convolution of each input and of the additions; the bias goes with the first.

    Inputs are added in the order in which they are made, so that none waits for a later one. They have equal numbers
    of maps, as in every network that is read here.
    """
    out, share = layer.number(OUT), layer.number(SIZE) // len(inputs)
    half = int.from_bytes(layer.weights[:4], "little") == HALF_FLAG
    kernel = np.frombuffer(layer.weights, np.uint16 if half else np.uint32, layer.number(SIZE), 4)
    kernel = kernel.reshape(out, len(inputs), -1)
    bias = layer.weights[len(layer.weights) - 4 * out * layer.number(BIAS) :]
    target = layer.outputs[0]
    lines, weights = [], b""
    order = sorted(range(len(inputs)), key=lambda index: made[inputs[index]])
    for index, source in enumerate(order):
        name = inputs[source]
        part = f"{target}_part_{index}"
        has_bias = layer.number(BIAS) if index == 0 else 0
        lines.append(f"Convolution {part} 1 1 {name} {part} {OUT}={out} {SIDE}=1 {BIAS}={has_bias} {SIZE}={share}")
        packed = np.ascontiguousarray(kernel[:, source]).tobytes()
        weights += layer.weights[:4] + packed + bytes(-len(packed) % 4) + (bias if has_bias else b"")
        if index:
            before = f"{target}_part_0" if index == 1 else f"{target}_sum_{index - 1}"
            after = target if index == len(inputs) - 1 else f"{target}_sum_{index}"
            lines.append(f"BinaryOp {after} 2 1 {before} {part} {after} 0=0")
    return lines, weights
