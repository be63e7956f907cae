"""FLUX and CAPTIONERS: a row of facts for each generative network and for each captioner. Importable without torch.

`networks.load_networks` and `captioner.load_captioner` load the model of a row.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from fluxvision.core.errors import Unavailable

Architecture = Literal["flux1", "flux2"]
Guidance = Literal["none", "embedded", "cfg"]
"""What a network does with `guidance`: nothing, one more input, or a second pass without the prompt."""
Shift = Literal["flux1", "none", "flux2"]
"""The formula by which the noise levels depend on the number of tokens."""

CELL = 16
"""Pixels per side of one latent cell: the autoencoder reduces by 8, and 2 × 2 of its pixels are packed into one."""
PACKED = 4
"""Latent pixels that are packed into one cell."""


APACHE = "Apache-2.0"
NON_COMMERCIAL = "FLUX.1 [dev] Non-Commercial License"


@dataclass(frozen=True, slots=True)
class ControlRow:
    """A ControlNet for tiles, which keeps the transformer close to the source.

    Its input is the latents of the tile's faithful enlargement; its output is added to the transformer's blocks, times
    `scale`.
    """

    repo: str
    licence: str
    scale: float
    weight_bytes: int
    """At 16 bits per number."""
    revision: str | None = None


@dataclass(frozen=True, slots=True)
class TransformerSize:
    """The size of a transformer; each field has the name that it has in diffusers' config.json."""

    num_layers: int
    num_single_layers: int
    num_attention_heads: int
    attention_head_dim: int
    joint_attention_dim: int
    """Numbers for each token of the prompt."""


KLEIN_4B = TransformerSize(5, 20, 24, 128, 7680)
FLUX1_12B = TransformerSize(19, 38, 24, 128, 4096)


@dataclass(frozen=True, slots=True)
class FluxRow:
    """The facts of one FLUX network."""

    name: str
    title: str
    repo: str
    """Repository of the weights on the Hugging Face hub."""
    licence: str
    commercial: bool
    """Whether the licences allow a service; if not, loading needs `flux_licence_agreed`."""
    architecture: Architecture
    channels: int
    """The autoencoder's latent channels."""
    tokens: int
    """Most cells of one pass before results degrade."""
    text_tokens: int
    """Length to which every prompt is cut or padded."""
    guidance: Guidance
    guidance_scale: float
    """Default of `guidance`; 1 if it has no meaning."""
    steps: int
    """Forward passes of a full trajectory from pure noise."""
    shift: Shift
    size: TransformerSize
    """Tells networks of one architecture apart, such as the 4B from the 9B, which has another licence."""
    weight_bytes: int
    """Of transformer, text encoders and autoencoder at 16 bits per number."""
    revision: str | None = None
    """None: the newest."""
    control: ControlRow | None = None
    """The ControlNet that keeps tiles close to their source, if there is one."""
    cell: int = CELL
    tile: int = 1024
    """Best side of a tile in pixels."""

    @property
    def packed_channels(self) -> int:
        """Channels of one packed latent cell: 64 or 128."""
        return self.channels * PACKED

    @property
    def multiple(self) -> int:
        """Pixels that both sides of a tile must be a multiple of."""
        return self.cell


DEV = FluxRow(
    name="flux1-dev",
    title="FLUX.1 [dev]",
    repo="black-forest-labs/FLUX.1-dev",
    licence=NON_COMMERCIAL,
    commercial=False,
    architecture="flux1",
    channels=16,
    tokens=6400,
    text_tokens=512,
    guidance="embedded",
    guidance_scale=3.5,
    steps=28,
    shift="flux1",
    size=FLUX1_12B,
    weight_bytes=33_740_000_000,
)

FLUX: tuple[FluxRow, ...] = (
    FluxRow(
        name="flux2-klein-4b",
        title="FLUX.2 [klein] 4B",
        repo="black-forest-labs/FLUX.2-klein-4B",
        licence=APACHE,
        commercial=True,
        architecture="flux2",
        channels=32,
        tokens=4300,  # beyond it the published shift jumps
        text_tokens=512,
        guidance="none",
        guidance_scale=1.0,
        steps=4,
        shift="flux2",
        size=KLEIN_4B,
        weight_bytes=15_970_000_000,
    ),
    FluxRow(
        name="flux2-klein-base-4b",
        title="FLUX.2 [klein] 4B Base",
        repo="black-forest-labs/FLUX.2-klein-base-4B",
        licence=APACHE,
        commercial=True,
        architecture="flux2",
        channels=32,
        tokens=4300,
        text_tokens=512,
        guidance="cfg",
        guidance_scale=4.0,
        steps=50,
        shift="flux2",
        size=KLEIN_4B,
        weight_bytes=15_970_000_000,
    ),
    FluxRow(
        name="flux1-schnell",
        title="FLUX.1 [schnell]",
        repo="black-forest-labs/FLUX.1-schnell",
        licence=APACHE,
        commercial=True,
        architecture="flux1",
        channels=16,
        tokens=6400,
        text_tokens=256,
        guidance="none",
        guidance_scale=1.0,
        steps=4,
        shift="none",
        size=FLUX1_12B,
        weight_bytes=33_740_000_000,
    ),
    DEV,
    replace(
        DEV,
        name="flux1-dev-tile",
        title="FLUX.1 [dev] with a tile ControlNet",
        control=ControlRow(
            repo="jasperai/Flux.1-dev-Controlnet-Upscaler",
            licence=NON_COMMERCIAL,
            scale=0.6,
            weight_bytes=3_580_000_000,
        ),
    ),
)
"""The first is the default."""

BY_NAME = {row.name: row for row in FLUX}


@dataclass(frozen=True, slots=True)
class CaptionerRow:
    """The facts of one captioner."""

    name: str
    title: str
    repo: str | None
    licence: str
    entry: str | None
    """"module:Class"; None: no model."""
    side: int
    """Longest side in pixels of the picture that it gets."""
    weight_bytes: int
    """At 16 bits per number."""
    revision: str | None = None


SIGHT = "fluxvision.engine.flux.captioner_models"

CAPTIONERS: tuple[CaptionerRow, ...] = (
    CaptionerRow(
        name="qwen3-vl-2b",
        title="Qwen3-VL 2B Instruct",
        repo="Qwen/Qwen3-VL-2B-Instruct",
        licence=APACHE,
        entry=f"{SIGHT}:Qwen3VL",
        side=768,
        weight_bytes=4_260_000_000,
    ),
    CaptionerRow(
        name="florence-2",
        title="Florence-2 base",
        repo="florence-community/Florence-2-base",
        licence="MIT",
        entry=f"{SIGHT}:Florence2",
        side=768,
        weight_bytes=460_000_000,
    ),
    CaptionerRow(
        name="smolvlm2",
        title="SmolVLM2 500M",
        repo="HuggingFaceTB/SmolVLM2-500M-Video-Instruct",
        licence=APACHE,
        entry=f"{SIGHT}:SmolVLM2",
        side=512,
        weight_bytes=1_020_000_000,
    ),
    CaptionerRow(
        name="none",
        title="No caption",
        repo=None,
        licence=APACHE,
        entry=None,
        side=0,
        weight_bytes=0,
    ),
)
"""The first is the default."""

CAPTIONERS_BY_NAME = {row.name: row for row in CAPTIONERS}


def licence_notice(row: FluxRow) -> str | None:
    """Return the restriction of the licence of a row's weights, None when everybody may use them."""
    if row.commercial:
        return None
    repos = [row.repo] if row.control is None else [row.repo, row.control.repo]
    return (
        f"{row.name}: the weights of {' and '.join(repos)} are under the {row.licence}, which does not let a commercial"
        " service be run with them. Read it before you use them."
    )


def need_consent(row: FluxRow, agreed: bool) -> None:
    """Raise `Unavailable` when a row's licence must be agreed to and was not."""
    if not row.commercial and not agreed:
        message = (
            f"{row.name} is under the {row.licence}, which does not let a commercial service be run with it: it is"
            " used only after that was agreed to, see flux_licence_agreed."
        )
        raise Unavailable(message, param="engine")
