"""FLUX.2 [klein]: 32 latent channels, normalised by the autoencoder's statistics; Qwen3 encodes the prompt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from fluxvision.engine.flux.latents import pack_latents, token_grid, unpack_latents
from fluxvision.engine.flux.prompts import Prompt
from fluxvision.engine.flux.shared_networks import Flux

LAYERS = (9, 18, 27)
"""Layers of the text encoder whose outputs are joined. Later layers are not run."""


class Flux2(Flux):
    """The FLUX.2 architecture. Positions have four axes: picture, row, column, text token."""

    def _text_parts(self, parts: Mapping[str, Any]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        encoder = parts["text_encoder"].model
        # One layer more than is used: what leaves the last layer is normalised once more.
        del encoder.layers[max(LAYERS) + 1 :]
        encoder.config.num_hidden_layers = len(encoder.layers)
        return (parts["tokenizer"],), (encoder,)

    def _encoded(self, words: str) -> Prompt:
        (tokenizer,), (encoder,) = self.tokenizers, self.texts
        asked = tokenizer.apply_chat_template(
            [{"role": "user", "content": words}], tokenize=False, add_generation_prompt=True, enable_thinking=False
        )
        read = tokenizer(
            asked, return_tensors="pt", padding="max_length", truncation=True, max_length=self.row.text_tokens
        ).to(self._text_device)
        states = encoder(
            input_ids=read["input_ids"],
            attention_mask=read["attention_mask"],
            output_hidden_states=True,
            use_cache=False,
        ).hidden_states
        return Prompt(torch.cat([states[layer] for layer in LAYERS], dim=-1))

    def _normalised(self, latents: Tensor) -> Tensor:
        mean, deviation = self._statistics()
        return (pack_latents(latents) - mean) / deviation

    def _plain(self, packed: Tensor) -> Tensor:
        mean, deviation = self._statistics()
        return unpack_latents(packed * deviation + mean)

    def _statistics(self) -> tuple[Tensor, Tensor]:
        norm = self.vae.bn
        mean, variance = (values.float()[None, :, None, None] for values in (norm.running_mean, norm.running_var))
        return mean, (variance + self.vae.config.batch_norm_eps).sqrt()

    def _positions(self, rows: int, columns: int, top: int, left: int) -> Tensor:
        down, across = token_grid(rows, columns, top, left, self._device)
        none = torch.zeros_like(down)
        return torch.stack([none, down, across, none], dim=-1)

    def _more(self, prompt: Prompt, _guidance: float, _many: int) -> dict[str, Tensor | None]:
        words = torch.arange(prompt.text.shape[1], device=self._device)
        none = torch.zeros_like(words)
        return {"txt_ids": torch.stack([none, none, none, words], dim=-1), "guidance": None}
