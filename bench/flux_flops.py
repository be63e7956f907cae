"""Counts the floating-point operations of FLUX: by a formula for a transformer's pass, operator by operator for others.

A multiplication and its addition count as two.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any


@dataclass(frozen=True, slots=True)
class Shape:
    """What counts of a transformer.

    `width` is its features per token. `double` blocks have weights of their own for image and text, `single` blocks
    share them. `weights` are those that one token meets in a block, in units of width².
    """

    width: int
    double: int
    single: int
    weights: int


def forward(shape: Shape, tokens: int) -> float:
    """Return the operations of one pass over tokens of image and text together.

    Every token meets the weights of every block once, and every other token twice, as a key and as a value. What is
    outside the blocks is less than one per cent and left out.
    """
    blocks = shape.double + shape.single
    return blocks * (2 * shape.weights * shape.width**2 * tokens + 4 * tokens**2 * shape.width)


def counted(run: Callable[[], object]) -> float:
    """Return the operations of what `run` does, as PyTorch counts matrix products, convolutions and attention."""
    counter: Any = import_module("torch.utils.flop_counter").FlopCounterMode(display=False)
    with counter:
        run()
    return float(counter.get_total_flops())
