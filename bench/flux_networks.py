"""FLUX networks of full size with random weights, made on the device without files, and diffusers' pipelines of them.

What numbers are in the weights does not change what a pass costs. Text encoders are left out: a prompt is read once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any, cast

import diffusers
import torch
from torch import Tensor

from flux_flops import Shape, counted, forward
from fluxvision.engine.flux import networks as ports
from fluxvision.engine.flux.options import PLAIN
from fluxvision.engine.flux.prompts import Prompt
from fluxvision.engine.flux.registry import BY_NAME, FluxRow
from fluxvision.engine.flux.sampling import denoise

FORWARDS = 6
START = 0.5
"""Forward passes per tile, and the noise level of the first."""
STEPS, STRENGTH = 20, 0.3
"""What diffusers is asked for, to make as many."""
Config = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Size:
    """A network as it was published, or a tiny one of the same architecture.

    `text` and `pooled` are the features of a prompt's tokens and of its sum, `words` its tokens, `side` the pixels of
    a tile's side.
    """

    row: FluxRow
    transformer: Config
    autoencoder: Config
    shape: Shape
    text: int
    pooled: int | None
    words: int = 512
    side: int = 1024

    @property
    def tokens(self) -> int:
        """Tokens of a pass: the tile's cells and the words."""
        return (self.side // self.row.cell) ** 2 + self.words


BLOCKS = {"down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4}
PLAIN_CONVOLUTIONS = {"use_quant_conv": False, "use_post_quant_conv": False}

SIZES = (
    Size(
        row=BY_NAME["flux2-klein-4b"],
        transformer={
            "in_channels": 128,
            "num_layers": 5,
            "num_single_layers": 20,
            "attention_head_dim": 128,
            "num_attention_heads": 24,
            "joint_attention_dim": 7680,
            "guidance_embeds": False,
        },
        autoencoder={},
        shape=Shape(width=3072, double=5, single=20, weights=13),
        text=7680,
        pooled=None,
    ),
    Size(
        row=BY_NAME["flux1-dev"],
        transformer={"guidance_embeds": True},
        autoencoder={
            **BLOCKS,
            **PLAIN_CONVOLUTIONS,
            "block_out_channels": (128, 256, 512, 512),
            "layers_per_block": 2,
            "latent_channels": 16,
            "scaling_factor": 0.3611,
            "shift_factor": 0.1159,
        },
        shape=Shape(width=3072, double=19, single=38, weights=12),
        text=4096,
        pooled=768,
    ),
)
"""From the public configurations of both networks."""

KINDS = {
    "flux1": ("FluxTransformer2DModel", "AutoencoderKL"),
    "flux2": ("Flux2Transformer2DModel", "AutoencoderKLFlux2"),
}
"""Architecture → diffusers' classes of the transformer and the autoencoder."""


def tiny(size: Size) -> Size:
    """Return a network of the same architecture that a CPU runs in no time."""
    small = {"num_layers": 1, "num_single_layers": 1, "attention_head_dim": 16, "num_attention_heads": 2}
    axes = {"flux1": (4, 6, 6), "flux2": (4, 4, 4, 4)}[size.row.architecture]
    channels = {"block_out_channels": (8, 8, 8, 8), "layers_per_block": 1, "norm_num_groups": 4}
    features = {"joint_attention_dim": 16} | ({} if size.pooled is None else {"pooled_projection_dim": 16})
    return replace(
        size,
        transformer={**size.transformer, **small, **features, "axes_dims_rope": axes},
        autoencoder={**size.autoencoder, **channels},
        shape=replace(size.shape, width=32, double=1, single=1),
        text=16,
        pooled=None if size.pooled is None else 16,
        words=16,
        side=32,
    )


def bare(size: Size) -> dict[str, Any]:
    """Return the transformer and the autoencoder without memory for their weights."""
    transformer, autoencoder = (getattr(diffusers, kind) for kind in KINDS[size.row.architecture])
    with torch.device("meta"):
        parts = {"transformer": transformer(**size.transformer), "vae": autoencoder(**size.autoencoder)}
    return {name: part.eval().requires_grad_(False) for name, part in parts.items()}


def operations(size: Size) -> float:
    """Return what one tile takes: the autoencoder both ways, and the passes between."""
    vae = bare(size)["vae"]
    factor = size.row.cell // 2
    pixels = torch.empty(1, 3, size.side, size.side, device="meta")
    latents = torch.empty(1, size.row.channels, size.side // factor, size.side // factor, device="meta")
    return FORWARDS * forward(size.shape, size.tokens) + sum(
        counted(run) for run in (lambda: vae.encode(pixels), lambda: vae.decode(latents))
    )


def build(size: Size, device: torch.device, dtype: torch.dtype) -> Any:
    """Return the network with random weights, no lever pulled."""
    parts = bare(size)
    for part in parts.values():
        torch.nn.Module.to(part, dtype=dtype)  # diffusers' own warns of numbers that it would keep, and keeps none
        part.to_empty(device=device)
        for name, values in (*part.named_parameters(), *part.named_buffers()):
            _fill(name, values)
    module, _, attribute = ports.ENTRIES[size.row.architecture].partition(":")
    return getattr(import_module(module), attribute)(size.row, parts, device, dtype, PLAIN)


def _fill(name: str, values: Tensor) -> None:
    """Give a weight numbers that keep what goes through them at its size."""
    if values.ndim > 1:
        values.normal_(0, values[0].numel() ** -0.5)
    elif values.is_floating_point() and name.endswith(("weight", "running_var")):
        values.fill_(1)
    else:
        values.zero_()


def prompt(size: Size, device: torch.device, dtype: torch.dtype) -> Prompt:
    """Return a prompt of random numbers."""
    pooled = None if size.pooled is None else torch.randn(1, size.pooled, device=device, dtype=dtype)
    return Prompt(torch.randn(1, size.words, size.text, device=device, dtype=dtype), pooled)


def ours(size: Size, networks: Any, words: Prompt, batch: int) -> Callable[[], Tensor]:
    """Return what makes a batch of tiles as the engine does: encode, denoise, decode."""
    pixels = torch.rand(batch, 3, size.side, size.side, device=networks.device)
    sigmas = [START * (1 - step / FORWARDS) for step in range(FORWARDS + 1)]

    def velocity(latents: Tensor, sigma: float) -> Tensor:
        return cast("Tensor", networks.velocity(latents, sigma, words, size.row.guidance_scale))

    def run() -> Tensor:
        with torch.inference_mode():
            source = networks.encode(pixels)
            return cast("Tensor", networks.decode(denoise(velocity, source, torch.randn_like(source), sigmas)))

    return run


def theirs(size: Size, networks: Any, words: Prompt) -> Callable[[], object]:
    """Return what makes one tile with diffusers' pipeline of the same weights, used as it comes.

    FLUX.2 [klein] has no pipeline from a picture: the tile is encoded, and as many steps are made from noise.
    """
    library: Any = diffusers  # as it has no types for all of it
    scheduler = library.FlowMatchEulerDiscreteScheduler()
    parts = {"scheduler": scheduler, "transformer": networks.transformer, "vae": networks.vae}
    pixels = torch.rand(1, 3, size.side, size.side, device=networks.device, dtype=networks.dtype)
    asked: dict[str, Any] = {"height": size.side, "width": size.side, "output_type": "pt", "prompt_embeds": words.text}
    if size.row.architecture == "flux1":
        none = dict.fromkeys(("text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2"))
        first = library.FluxImg2ImgPipeline(**parts, **none)
        first.set_progress_bar_config(disable=True)
        asked |= {"pooled_prompt_embeds": words.pooled, "image": pixels, "strength": STRENGTH}
        return lambda: first(num_inference_steps=STEPS, **asked)
    second = library.Flux2KleinPipeline(**parts, text_encoder=None, tokenizer=None, is_distilled=True)
    second.set_progress_bar_config(disable=True)

    def run() -> object:
        with torch.inference_mode():
            networks.vae.encode(pixels * 2 - 1)
            return second(num_inference_steps=FORWARDS, guidance_scale=1.0, **asked)

    return run
