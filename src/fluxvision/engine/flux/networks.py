"""The protocol of loaded FLUX networks of any architecture, and loading them from a folder of weights.

The folder has the layout of diffusers: model_index.json and one sub-folder per part. Only the models of diffusers and
transformers are used, no pipeline. Importable without torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from fluxvision.engine.flux import weights
from fluxvision.engine.flux.options import AccelerationConfig
from fluxvision.engine.flux.registry import FluxRow, need_consent

if TYPE_CHECKING:
    from torch import Tensor, device
    from torch import dtype as Dtype  # noqa: N812, a class, whatever its name

    from fluxvision.engine.flux.prompts import Prompt

FETCH = weights.FETCH

ENTRIES = {
    "flux1": "fluxvision.engine.flux.flux1:Flux1",
    "flux2": "fluxvision.engine.flux.flux2:Flux2",
}
"""Architecture → "module:Class"."""


class Networks(Protocol):
    """An autoencoder, a text encoder and a transformer, on one device. One thread at a time.

    All methods take batches of B pictures of one size; the result for a picture does not depend on the others. Latents
    are float32 (B, C, rows, columns): C packed channels, one cell per 16 × 16 pixels, about mean 0 and deviation 1. No
    gradients are computed.
    """

    row: FluxRow

    @property
    def device(self) -> device:
        """The device of the transformer and of returned latents."""
        ...

    @property
    def dtype(self) -> Dtype:
        """The transformer's number format."""
        ...

    @property
    def accelerations(self) -> Mapping[str, str]:
        """The state of each acceleration of `AccelerationConfig`, by its name, in a word or two."""
        ...

    def encode(self, pixels: Tensor) -> Tensor:
        """Return the latents of pixels (B, 3, H, W) in 0..1: the mean of the encoder's distribution, never a sample.

        Raises ValueError when H or W is not a multiple of 16.
        """
        ...

    def decode(self, latents: Tensor) -> Tensor:
        """Return the pixels of latents: float32 (B, 3, 16 * rows, 16 * columns), clamped to 0..1."""
        ...

    def embed(self, prompt: str | Sequence[str]) -> Prompt:
        """Return the embedding of a prompt for all pictures, or of a sequence with one for each.

        The latest ones are cached. Raises ValueError when the sequence is empty.
        """
        ...

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
        """Return the velocity of noisy latents: noise minus picture, float32, in the latents' shape.

        `sigma` is the share of noise, 0..1: latents = (1 - sigma) * picture + sigma * noise. The meaning of `guidance`
        depends on the row's kind of guidance. `source` are the latents of the faithful picture, used by rows with
        `control` only. `top` and `left` are the cell at which the positions begin; networks are trained with 0. Raises
        ValueError when the number of prompts or sources is not that of pictures, or the source is missing.
        """
        ...

    def offload_text(self) -> bool:
        """Free memory: move the text encoders to the CPU, where they still run. Return whether anything changed."""
        ...

    def quantize(self) -> bool:
        """Free memory: store the transformer's matrices in 8 bits, for good. Return whether anything changed."""
        ...

    def to(self, device: str, *, text: str | None = None) -> None:
        """Move everything to a device, the text encoders to `text` if given. Clears the prompt cache."""
        ...

    def close(self) -> None:
        """Free the memory. No other method may be called afterwards."""
        ...


def load_networks(
    row: FluxRow,
    source: str | Path,
    *,
    revision: str | None = None,
    device: str = "auto",
    dtype: str = "auto",
    speed: AccelerationConfig | None = None,
    agreed: bool = False,
) -> Networks:
    """Load a row's networks from a folder or the hub's cache.

    Args:
        row: which network; its `repo` may be the source.
        source: a folder in diffusers' layout, or a repository's name on the hub; nothing is downloaded.
        revision: branch, tag or commit of the repository; None: the row's.
        device: a torch device; "auto": the first GPU (CUDA, then Apple's), else the CPU.
        dtype: a torch number format by name; "auto": bfloat16 on a GPU, float32 on the CPU.
        speed: the levers to pull where the device has them; None: those that `Speed` has by default.
        agreed: whether a licence that does not let everyone use the weights was agreed to; see `licence_notice`.

    Raises:
        Unavailable: the extra is not installed, the weights are not there, not whole or another network's, or their
            licence was not agreed to.
        ValueError: there is no such device or number format.
    """
    need_consent(row, agreed)
    weights.need_extra()
    found = weights.find_weights(row, source, revision)
    weights.check_weights(row, found)
    module, _, attribute = ENTRIES[row.architecture].partition(":")
    made: Any = getattr(import_module(module), attribute)
    loading: Any = import_module("fluxvision.engine.flux.loading")
    place = loading.pick_device(device)
    numbers = loading.pick_dtype(dtype, place)
    parts = loading.read_parts(row, found, numbers)
    return cast("Networks", made(row, parts, place, numbers, speed or AccelerationConfig()))
