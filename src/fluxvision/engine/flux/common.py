"""What both architectures share: packing into cells, tokens, precision, guidance, and where it all lies.

Packing is a pixel unshuffle by 2: channel, row and column within the cell, in this order, become the cell's channels.
Tokens are the cells row by row.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from fluxvision.engine.flux.loading import pick_device, pick_dtype, quiet, read_parts
from fluxvision.engine.flux.prompts import Kept, Prompt
from fluxvision.engine.flux.rows import FluxRow

SIDE = 2
"""Latent pixels per side of a cell."""
LEVELS = 1000.0
"""Noise levels in a trajectory, as the networks were told of them."""
PIXEL_DIMENSIONS = 4


class Flux(ABC):
    """A row's networks. See `networks.Networks` for what the methods promise."""

    def __init__(self, row: FluxRow, folder: Path, device: str, dtype: str) -> None:
        """Read the parts from a folder known to be whole, and move them to the device."""
        self.row = row
        self._device = pick_device(device)
        self._dtype = pick_dtype(dtype, self._device)
        with quiet():
            parts = read_parts(row, folder, self._dtype)
        self.transformer: Any = parts["transformer"]
        self.vae: Any = parts["vae"]
        self.tokenizers, self.texts = self._text_parts(parts)
        self._kept = Kept(self._embed)
        self.to(str(self._device))

    @property
    def device(self) -> torch.device:
        """Where the transformer is."""
        return self._device

    @property
    def dtype(self) -> torch.dtype:
        """The transformer's numbers."""
        return self._dtype

    def to(self, device: str, *, text: str | None = None) -> None:
        """Move everything, the text encoders elsewhere if so wished."""
        self._device = pick_device(device)
        self.transformer.to(self._device)
        self.vae.to(self._device)
        self._text_device = pick_device(text) if text else self._device
        for encoder in self.texts:
            encoder.to(self._text_device)
        self._kept.clear()

    def close(self) -> None:
        """Drop everything that holds memory."""
        self._kept.clear()
        self.transformer = self.vae = None
        self.texts = ()
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    @torch.inference_mode()
    def encode(self, pixels: Tensor) -> Tensor:
        """Return the packed, normalised latents of pixels in 0..1."""
        cell = self.row.cell
        if pixels.ndim != PIXEL_DIMENSIONS or pixels.shape[1] != 3:  # noqa: PLR2004, red, green, blue
            message = f"Pixels are (B, 3, H, W), not {tuple(pixels.shape)}."
            raise ValueError(message)
        if not pixels.numel() or pixels.shape[2] % cell or pixels.shape[3] % cell:
            message = f"Both sides must be multiples of {cell}, not {pixels.shape[2]} × {pixels.shape[3]}."
            raise ValueError(message)
        signed = pixels.to(self._device, torch.float32) * 2 - 1
        posterior = self.vae.encode(signed.to(self.vae.dtype)).latent_dist
        return self._normalised(posterior.mode().float())

    @torch.inference_mode()
    def decode(self, latents: Tensor) -> Tensor:
        """Return pixels in 0..1; again in float32 where fewer bits overflow."""
        plain = self._plain(latents.to(self._device, torch.float32))
        made: Tensor = self.vae.decode(plain.to(self.vae.dtype), return_dict=False)[0].float()
        if self.vae.dtype != torch.float32 and not bool(made.isfinite().all()):
            self.vae.float()
            made = self.vae.decode(plain, return_dict=False)[0]
        return (made / 2 + 0.5).clamp(0, 1)

    def embed(self, prompt: str) -> Prompt:
        """Return the prompt, and what guidance compares it with."""
        found = self._kept(prompt)
        if self.row.guidance != "cfg":
            return found
        return Prompt(found.text, found.pooled, self._kept(""))

    @torch.inference_mode()
    def velocity(
        self, latents: Tensor, sigma: float, prompt: Prompt, guidance: float, *, top: int = 0, left: int = 0
    ) -> Tensor:
        """Return the direction from picture to noise."""
        many, _, rows, columns = latents.shape
        tokens = latents.to(self._device, self._dtype).flatten(2).transpose(1, 2)
        # The networks know the level as a number of 0..1000, rounded as their own samplers round it.
        level = torch.full((many,), sigma * LEVELS, device=self._device).to(self._dtype) / LEVELS
        where = self._positions(rows, columns, top, left)
        prompt = prompt.to(self._device, self._dtype)
        made = self._forward(tokens, level, where, prompt, guidance)
        if self.row.guidance == "cfg" and guidance > 1:
            without = prompt.without
            if without is None:
                message = "This network's prompts are made by its own `embed`."
                raise ValueError(message)
            base = self._forward(tokens, level, where, without, guidance)
            made = base + guidance * (made - base)
        return made.transpose(1, 2).reshape(latents.shape)

    def _forward(self, tokens: Tensor, level: Tensor, where: Tensor, prompt: Prompt, guidance: float) -> Tensor:
        """Run the transformer once: float32 (B, tokens, channels)."""
        many = len(tokens)
        made: Tensor = self.transformer(
            hidden_states=tokens,
            timestep=level,
            img_ids=where,
            encoder_hidden_states=prompt.text.expand(many, -1, -1),
            return_dict=False,
            **self._more(prompt, guidance, many),
        )[0]
        return made.float()

    @torch.inference_mode()
    def _embed(self, words: str) -> Prompt:
        return self._encoded(words).to(self._device, self._dtype)

    @abstractmethod
    def _text_parts(self, parts: Mapping[str, Any]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        """Return the tokenizers and the text encoders."""

    @abstractmethod
    def _encoded(self, words: str) -> Prompt:
        """Run the text encoders."""

    @abstractmethod
    def _normalised(self, latents: Tensor) -> Tensor:
        """Pack the autoencoder's latents (B, channels, H / 8, W / 8) and bring them to mean 0 and deviation 1."""

    @abstractmethod
    def _plain(self, packed: Tensor) -> Tensor:
        """Undo `_normalised`."""

    @abstractmethod
    def _positions(self, rows: int, columns: int, top: int, left: int) -> Tensor:
        """Return each token's position, (rows * columns, axes)."""

    @abstractmethod
    def _more(self, prompt: Prompt, guidance: float, many: int) -> dict[str, Tensor | None]:
        """Return what else this architecture's transformer takes."""


def pack(latents: Tensor) -> Tensor:
    """(B, channels, 2 * rows, 2 * columns) to (B, 4 * channels, rows, columns)."""
    return pixel_unshuffle(latents, SIDE)


def unpack(cells: Tensor) -> Tensor:
    """Undo `pack`."""
    return pixel_shuffle(cells, SIDE)


def grid(rows: int, columns: int, top: int, left: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the row and the column of each cell in token order, two int64 of (rows * columns)."""
    down = torch.arange(top, top + rows, device=device)
    across = torch.arange(left, left + columns, device=device)
    return down.repeat_interleave(columns), across.repeat(rows)
