"""CUDA graphs: a forward pass recorded once for each shape of its inputs, and replayed as a single launch."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

Inputs = Mapping[str, Tensor | None]
Forward = Callable[[Inputs], Tensor]
Recording = tuple[Callable[[], object], Tensor]
"""What replays a pass, and where its result is then."""
Key = tuple[tuple[str, torch.Size, torch.dtype] | str, ...]

KEPT = 3
"""Recordings that are kept, each with the memory of its pass."""
WARMING = 3
"""Passes before a recording: kernels are compiled and chosen in them."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A recorded pass: the inputs it reads from, and its recording."""

    inputs: Inputs
    replay: Callable[[], object]
    made: Tensor


class Graphs:
    """A forward pass that is recorded when it meets new shapes, and replayed when it meets them again."""

    def __init__(self, forward: Forward, record: Callable[[Callable[[], Tensor]], Recording] | None = None) -> None:
        """Stand for `forward`, whose inputs are tensors by name. `record` is CUDA's unless it is said."""
        self._forward = forward
        self._record = record or recorded
        self._shapes: OrderedDict[Key, Shape] = OrderedDict()

    def __call__(self, inputs: Inputs) -> Tensor:
        """Return what the pass makes of its inputs."""
        with _on_device(inputs):
            return self._answer(inputs)

    def _answer(self, inputs: Inputs) -> Tensor:
        key = tuple(name if value is None else (name, value.shape, value.dtype) for name, value in inputs.items())
        shape = self._shapes.get(key)
        if shape is None:
            if len(self._shapes) == KEPT:
                self._shapes.popitem(last=False)
            shape = self._shapes[key] = self._new(inputs)
        self._shapes.move_to_end(key)
        for name, own in shape.inputs.items():
            given = inputs[name]
            if own is not None and given is not None:
                own.copy_(given)
        shape.replay()
        return shape.made.clone()

    def clear(self) -> None:
        """Forget all recordings, and give their memory back."""
        self._shapes.clear()

    def _new(self, inputs: Inputs) -> Shape:
        own = {name: None if value is None else value.clone() for name, value in inputs.items()}
        replay, made = self._record(lambda: self._forward(own))
        return Shape(own, replay, made)


def _on_device(inputs: Inputs) -> AbstractContextManager[object]:
    """Make the device on which the inputs are the current one, where it is CUDA's."""
    found = next((value.device for value in inputs.values() if value is not None and value.is_cuda), None)
    device: Any = torch.cuda.device
    return nullcontext() if found is None else cast("AbstractContextManager[object]", device(found))


def recorded(run: Callable[[], Tensor]) -> Recording:
    """Record what `run` does on the current CUDA device, after a few runs on a stream of their own."""
    cuda: Any = torch.cuda  # as the package has no types for all of it
    side = cuda.Stream()
    side.wait_stream(cuda.current_stream())
    with cuda.stream(side):
        for _ in range(WARMING):
            run()
    cuda.current_stream().wait_stream(side)
    graph = cuda.CUDAGraph()
    with cuda.graph(graph):
        made = run()
    return graph.replay, made
