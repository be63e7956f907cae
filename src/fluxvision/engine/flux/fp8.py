"""Linear layers whose weights have 8 bits: float8_e4m3fn, with one scale for each row of the weight.

Where the device multiplies such numbers, activations are brought to 8 bits as well, each token by its own scale.
Elsewhere a weight is widened while its layer runs, which spares memory only.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

EIGHT = torch.float8_e4m3fn
LARGEST = torch.finfo(EIGHT).max
GRAIN = 16
"""What both sides of a matrix must be a multiple of, for the device to multiply it."""
BLOCKS = ("transformer_blocks", "single_transformer_blocks")
"""Where a transformer's repeated blocks are."""
KEPT = "norm"
"""Layers with this in their name steer others and stay as they are: errors there are not averaged out."""


class Linear8(nn.Module):  # type: ignore[misc,unused-ignore] # without the extra, its base has no type
    """A linear layer with a weight of 8 bits. The input's number format is the output's."""

    weight: Tensor
    scale: Tensor
    bias: Tensor | None

    def __init__(self, plain: nn.Linear, *, fast: bool) -> None:
        """Take over a layer. `fast`: multiply in 8 bits."""
        super().__init__()
        self.fast = fast and not (plain.in_features % GRAIN or plain.out_features % GRAIN)
        eight, scale = narrowed_layers(plain.weight.detach())
        self.register_buffer("weight", eight)
        self.register_buffer("scale", scale)
        self.register_buffer("bias", None if plain.bias is None else plain.bias.detach())

    def forward(self, given: Tensor) -> Tensor:
        """Return weight times input plus bias."""
        if not self.fast:
            wide = given.dtype if given.dtype == torch.bfloat16 else torch.float32  # 16 bits do not hold all scales
            return linear(given, (self.weight.to(wide) * self.scale.to(wide)).to(given.dtype), self.bias)
        rows = given.reshape(-1, given.shape[-1])
        eight, scale = narrowed_layers(rows)
        made = torch._scaled_mm(  # noqa: SLF001, the public way to it takes the same numbers and names more of them
            eight, self.weight.t(), scale, self.scale.t(), out_dtype=torch.bfloat16, use_fast_accum=given.is_cuda
        )
        made = made.to(given.dtype).reshape(*given.shape[:-1], -1)
        return made if self.bias is None else made + self.bias


def narrowed_layers(wide: Tensor) -> tuple[Tensor, Tensor]:
    """Return the rows of a matrix in 8 bits, and the float32 scale of each, (rows, 1): their product is the matrix."""
    wide = wide.float()
    scale = (wide.abs().amax(dim=-1, keepdim=True) / LARGEST).clamp(min=torch.finfo(torch.float32).tiny)
    return (wide / scale).clamp(-LARGEST, LARGEST).to(EIGHT), scale


def can_multiply(device: torch.device) -> bool:
    """Whether a device multiplies numbers of 8 bits, and faster than wider ones."""
    if device.type != "cuda":
        return False
    eight, scale = torch.zeros(GRAIN, GRAIN, device=device, dtype=EIGHT), torch.ones(GRAIN, 1, device=device)
    try:
        torch._scaled_mm(eight, eight.t(), scale, scale.t(), out_dtype=torch.bfloat16)  # noqa: SLF001, as above
    except (RuntimeError, NotImplementedError):
        return False
    return True


def narrow_layers(network: nn.Module, *, fast: bool) -> None:
    """Put 8-bit layers in the place of a transformer's linear ones, in its repeated blocks, one after another."""
    found = [
        (parent, name)
        for blocks in BLOCKS
        for path, parent in getattr(network, blocks).named_modules()
        for name, child in parent.named_children()
        if isinstance(child, nn.Linear) and KEPT not in f"{path}.{name}"
    ]
    for parent, name in found:
        setattr(parent, name, Linear8(getattr(parent, name), fast=fast))
