"""FLUX.1: 16 latent channels with a fixed shift and scale; T5 encodes the prompt, CLIP adds one vector."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from fluxvision.engine.flux.latents import pack_latents, token_grid, unpack_latents
from fluxvision.engine.flux.prompts import Prompt
from fluxvision.engine.flux.shared_networks import Flux, Inputs


class Flux1(Flux):
    """The FLUX.1 architecture. Positions have three axes: picture, row, column; all text tokens are at 0, 0, 0."""

    def _text_parts(self, parts: Mapping[str, Any]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        return (parts["tokenizer"], parts["tokenizer_2"]), (parts["text_encoder"], parts["text_encoder_2"])

    def _encoded(self, words: str) -> Prompt:
        (short, long), (clip, t5) = self.tokenizers, self.texts
        pooled = clip(self._tokens(short, words, short.model_max_length)).pooler_output
        text = t5(self._tokens(long, words, self.row.text_tokens))[0]
        return Prompt(text, pooled)

    def _tokens(self, tokenizer: Any, words: str, length: int) -> Tensor:
        read = tokenizer(words, return_tensors="pt", padding="max_length", truncation=True, max_length=length)
        found: Tensor = read["input_ids"].to(self._text_device)
        return found

    def _normalised(self, latents: Tensor) -> Tensor:
        facts = self.vae.config
        shift, scale = float(facts.shift_factor), float(facts.scaling_factor)
        return pack_latents((latents - shift) * scale)

    def _plain(self, packed: Tensor) -> Tensor:
        facts = self.vae.config
        shift, scale = float(facts.shift_factor), float(facts.scaling_factor)
        return unpack_latents(packed) / scale + shift

    def _positions(self, rows: int, columns: int, top: int, left: int) -> Tensor:
        down, across = token_grid(rows, columns, top, left, self._device)
        return torch.stack([torch.zeros_like(down), down, across], dim=-1).float()

    def _held(self, inputs: Inputs, held: Tensor) -> dict[str, Any]:
        control = self.row.control
        assert control is not None  # noqa: S101, only then there is something to be held to
        own = dict(inputs)
        if not self.control.config.guidance_embeds:
            own["guidance"] = None
        double, single = self.control(controlnet_cond=held, conditioning_scale=control.scale, **own, return_dict=False)
        return {"controlnet_block_samples": double, "controlnet_single_block_samples": single}

    def _more(self, prompt: Prompt, guidance: float, many: int) -> dict[str, Tensor | None]:
        if prompt.pooled is None:
            message = "This network's prompts are made by its own `embed`."
            raise ValueError(message)
        scale = torch.full((many,), guidance, device=self._device) if self.row.guidance == "embedded" else None
        return {
            "pooled_projections": prompt.pooled.expand(many, -1),
            "txt_ids": torch.zeros(prompt.text.shape[1], 3, device=self._device),
            "guidance": scale,
        }
