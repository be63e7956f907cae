"""FLUX and CAPTIONERS: a row of facts for each generative network and for each captioner.

Importable without torch. `model.load_networks` and `captioner.load_captioner` turn a row into something that runs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from fluxvision.core.errors import Unavailable

Architecture = Literal["flux1", "flux2"]
Guidance = Literal["none", "embedded", "cfg"]
"""What a network does with `guidance`: nothing, one more input, or a second pass without the prompt."""
Shift = Literal["flux1", "none", "flux2"]
"""By which formula the noise levels are moved with the number of tokens."""

CELL = 16
"""Pixels per side of one latent cell: the autoencoder reduces by 8, and 2 × 2 of its pixels are packed into one."""
PACKED = 4
"""Latent pixels that are packed into one cell."""


APACHE = "Apache-2.0"
NON_COMMERCIAL = "FLUX.1 [dev] Non-Commercial License"


@dataclass(frozen=True, slots=True)
class ControlRow:
    """The facts of a network beside the transformer that holds it to a picture: a ControlNet for tiles.

    It is shown the latents of the tile's faithful enlargement; what it answers is added to the transformer's blocks,
    `scale` times. `weight_bytes` is its size at 16 bits per number.
    """

    repo: str
    licence: str
    scale: float
    weight_bytes: int
    revision: str | None = None


@dataclass(frozen=True, slots=True)
class FluxRow:
    """The facts of one FLUX network.

    `repo` and `revision` name the weights on the Hugging Face hub (revision None: the newest), `weight_bytes` is their
    size at 16 bits per number: transformer, text encoders and autoencoder. `commercial` says whether the licences
    let a service be run with them; where they do not, the weights are loaded only after that was agreed to.
    `channels` are the autoencoder's latent channels. `tile` is the best side of a tile in pixels, `tokens` the most
    cells that one pass can be given before results degrade, `text_tokens` the length that every prompt is cut or
    padded to. `guidance_scale` is used where a job does not say, 1 where it means nothing. `steps` are the forward
    passes of a whole trajectory, from pure noise, that the network was made for. `control` is the network that holds
    tiles to their source, where there is one.
    """

    name: str
    title: str
    repo: str
    licence: str
    commercial: bool
    architecture: Architecture
    channels: int
    tokens: int
    text_tokens: int
    guidance: Guidance
    guidance_scale: float
    steps: int
    shift: Shift
    weight_bytes: int
    revision: str | None = None
    control: ControlRow | None = None
    cell: int = CELL
    tile: int = 1024

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
    """The facts of one captioner.

    `entry` is where its class is, "module:Class", None for the row that says nothing; `side` is the longest side in
    pixels at which it is shown a picture, `weight_bytes` the size of its weights at 16 bits per number.
    """

    name: str
    title: str
    repo: str | None
    licence: str
    entry: str | None
    side: int
    weight_bytes: int
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
    """Return what whoever loads or fetches a row's weights must know of their licence; None where all may use them."""
    if row.commercial:
        return None
    repos = [row.repo] if row.control is None else [row.repo, row.control.repo]
    return (
        f"{row.name}: the weights of {' and '.join(repos)} are under the {row.licence}, which does not let a commercial"
        " service be run with them. Read it before you use them."
    )


def need_consent(row: FluxRow, agreed: bool) -> None:
    """Raise `Unavailable` where a row's licence must be agreed to and was not."""
    if not row.commercial and not agreed:
        message = (
            f"{row.name} is under the {row.licence}, which does not let a commercial service be run with it: it is"
            " used only after that was agreed to, see flux_licence_agreed."
        )
        raise Unavailable(message, param="engine")
