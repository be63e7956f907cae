"""The FLUX networks on diffusers' models: what both architectures share (tokens, precision, guidance, placement)."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from fluxvision.engine.flux import acceleration
from fluxvision.engine.flux.loading import pick_device
from fluxvision.engine.flux.memory_budget import is_out_of_memory
from fluxvision.engine.flux.options import AccelerationConfig
from fluxvision.engine.flux.prompts import Prompt, PromptCache, stack_prompts
from fluxvision.engine.flux.registry import FluxRow

LEVELS = 1000.0
"""Noise levels of a trajectory by which the networks were trained."""
PIXEL_DIMENSIONS = 4
COMPILED, FAILED = "blocks", "failed"
"""The state of `compile` while blocks are compiled, and after it has failed."""
LOG = logging.getLogger(__name__)

Inputs = Mapping[str, Tensor | None]
"""The transformer's inputs by name; `held` has the tokens of the source for the ControlNet."""


class Flux(ABC):
    """A row's networks. See `networks.Networks` for the methods."""

    def __init__(
        self,
        row: FluxRow,
        parts: Mapping[str, Any],
        device: torch.device,
        dtype: torch.dtype,
        speed: AccelerationConfig,
    ) -> None:
        """Take the parts, whose numbers are of this `dtype`, and move them to the device.

        Without text encoders among the parts there is no `embed`.
        """
        self.row = row
        self._device, self._dtype = device, dtype
        self.transformer: Any = parts["transformer"]
        self.control: Any = parts.get("control")
        self.vae: Any = parts["vae"]
        self.tokenizers, self.texts = self._text_parts(parts) if "text_encoder" in parts else ((), ())
        self._text_device = device
        self._kept = PromptCache(self._embed)
        self._pulled: dict[str, str] = {}
        if speed.fp8:
            self.quantize()  # before the device has to hold it all
        self.to(str(self._device))
        self.accelerate(speed)

    @property
    def device(self) -> torch.device:
        """Where the transformer is."""
        return self._device

    @property
    def dtype(self) -> torch.dtype:
        """The transformer's numbers."""
        return self._dtype

    @property
    def accelerations(self) -> Mapping[str, str]:
        """The state of each acceleration."""
        return dict(self._pulled)

    def accelerate(self, speed: AccelerationConfig) -> None:
        """Apply the accelerations of `speed` that the device supports and that are not applied yet."""
        wanted, pulled = self._networks(), self._pulled
        if speed.fp8:
            self.quantize()
        if not acceleration.is_cuda(self._device):
            return
        if speed.attention and "attention" not in pulled:
            kernel = acceleration.set_attention(wanted, self._device)
            pulled["attention"] = (kernel or "native").strip("_")
        if speed.channels_last and "channels_last" not in pulled:
            acceleration.set_channels_last(self.vae)
            pulled["channels_last"] = "autoencoder"
        if speed.compile and not {"compile", "fp8"} & pulled.keys() and acceleration.can_compile(self._device):
            acceleration.compile_blocks(wanted)
            pulled["compile"] = COMPILED

    def quantize(self) -> bool:
        """Store the blocks' weights in 8 bits; return whether anything changed. The blocks then run uncompiled."""
        if "fp8" in self._pulled:
            return False
        if self._is_compiled:
            del self._pulled["compile"]
            acceleration.disable_compilation(self._networks())
        acceleration.store_in_8_bits(self._networks(), self._dtype)
        self._pulled["fp8"] = "weights"
        self._forget()
        return True

    def offload_text(self) -> bool:
        """Move the text encoders to the CPU; return whether they were elsewhere. Cached prompts stay."""
        if not self.texts or self._text_device.type == "cpu":
            return False
        self._text_device = torch.device("cpu")
        for encoder in self.texts:
            encoder.to(self._text_device)
        self._forget()
        return True

    def to(self, device: str, *, text: str | None = None) -> None:
        """Move everything to a device, the text encoders to `text` if given."""
        self._device = pick_device(device)
        for network in self._networks():
            network.to(self._device)
        self.vae.to(self._device)
        self._text_device = pick_device(text) if text else self._device
        for encoder in self.texts:
            encoder.to(self._text_device)
        self._kept.clear()
        self._forget()

    def close(self) -> None:
        """Free all memory."""
        self._kept.clear()
        self.transformer = self.control = self.vae = None
        self.texts = ()
        self._forget()

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
        """Return pixels in 0..1; decoded again in float32 when fewer bits overflow."""
        plain = self._plain(latents.to(self._device, torch.float32))
        made: Tensor = self.vae.decode(plain.to(self.vae.dtype), return_dict=False)[0].float()
        if self.vae.dtype != torch.float32 and not bool(made.isfinite().all()):
            self.vae.float()
            made = self.vae.decode(plain, return_dict=False)[0]
        return (made / 2 + 0.5).clamp(0, 1)

    def embed(self, prompt: str | Sequence[str]) -> Prompt:
        """Return the prompt, or one for each picture, with the negative prompt for guidance."""
        found = (
            self._kept(prompt) if isinstance(prompt, str) else stack_prompts([self._kept(words) for words in prompt])
        )
        if self.row.guidance != "cfg":
            return found
        return Prompt(found.text, found.pooled, self._kept(""))

    @torch.inference_mode()
    def velocity(
        self,
        latents: Tensor,
        sigma: float,
        prompt: Prompt,
        guidance: float,
        *,
        source: Tensor | None = None,
        top: int = 0,
        left: int = 0,
    ) -> Tensor:
        """Return the velocity from picture to noise."""
        many, _, rows, columns = latents.shape
        prompt.check(many)
        tokens = self._tokens_of(latents)
        held = None
        if self.row.control is not None:
            if source is None or source.shape != latents.shape:
                message = f"{self.row.name} is held to its source: that has the latents' shape."
                raise ValueError(message)
            held = self._tokens_of(source)
        # The networks know the level as a number of 0..1000, rounded as their own samplers round it.
        level = torch.full((many,), sigma * LEVELS, device=self._device).to(self._dtype) / LEVELS
        where = self._positions(rows, columns, top, left)
        prompt = prompt.to(self._device, self._dtype)
        made = self._forward(tokens, level, where, prompt, guidance, held)
        if self.row.guidance == "cfg" and guidance > 1:
            without = prompt.without
            if without is None:
                message = "This network's prompts are made by its own `embed`."
                raise ValueError(message)
            base = self._forward(tokens, level, where, without, guidance, held)
            made = base + guidance * (made - base)
        return made.transpose(1, 2).reshape(latents.shape)

    def _tokens_of(self, latents: Tensor) -> Tensor:
        return latents.to(self._device, self._dtype).flatten(2).transpose(1, 2)

    def _forward(  # noqa: PLR0917, what a pass takes
        self, tokens: Tensor, level: Tensor, where: Tensor, prompt: Prompt, guidance: float, held: Tensor | None
    ) -> Tensor:
        """Run the transformer once: float32 (B, tokens, channels)."""
        many = len(tokens)
        inputs = {
            "hidden_states": tokens,
            "timestep": level,
            "img_ids": where,
            "encoder_hidden_states": prompt.text.expand(many, -1, -1),
            "held": held,
            **self._more(prompt, guidance, many),
        }
        return self._run_compiled(inputs) if self._is_compiled else self._run(inputs)

    @property
    def _is_compiled(self) -> bool:
        return self._pulled.get("compile") == COMPILED

    def _run_compiled(self, inputs: Inputs) -> Tensor:
        """Run the transformer like `_run`; if only the uncompiled blocks work, do without compilation from now on.

        An out-of-memory error is not caused by compilation and is raised at once.
        """
        try:
            return self._run(inputs)
        except Exception as reason:  # compilers and drivers fail in all ways
            if is_out_of_memory(reason):
                raise
        with acceleration.without_compilation(self._networks()):
            made = self._run(inputs)
        acceleration.disable_compilation(self._networks())
        self._pulled["compile"] = FAILED
        LOG.warning("FLUX goes on without the lever compile: it failed on this machine.")
        return made

    def _run(self, inputs: Inputs) -> Tensor:
        """Run the transformer once with these inputs."""
        inputs = dict(inputs)
        held = inputs.pop("held")
        more = {} if held is None else self._held(inputs, held)
        made: Tensor = self.transformer(**inputs, **more, return_dict=False)[0]
        return made.float()

    def _held(self, inputs: Inputs, _held: Tensor) -> dict[str, Any]:
        """Return the ControlNet's additions to the transformer's inputs."""
        message = f"{len(inputs)} inputs and a source: nothing holds this architecture to one."
        raise ValueError(message)

    def _networks(self) -> list[Any]:
        return [self.transformer] if self.control is None else [self.transformer, self.control]

    def _forget(self) -> None:
        """Return unused memory to the device."""
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

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
        """Return the further inputs of this architecture's transformer."""
