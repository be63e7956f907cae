"""SamplingOptions and AccelerationConfig of a FLUX job, and its row as a backend. Importable without torch."""

from __future__ import annotations

from dataclasses import dataclass

from fluxvision.engine.backends.registry import Backend
from fluxvision.engine.flux.memory_budget import BATCH
from fluxvision.engine.flux.registry import FluxRow


@dataclass(frozen=True, slots=True)
class AccelerationConfig:
    """The levers that are wished for.

    Attributes:
        attention: the best attention kernel present. CUDA only.
        channels_last: the autoencoder's memory in the order its convolutions read. CUDA only.
        compile: the transformer's repeated blocks, compiled for each shape they meet: the first tile of a shape waits
            for that. CUDA with Triton and a C compiler only.
        fp8: the blocks' weights stored in 8 bits: half the memory. Slower, for each layer widens its weights when it
            runs, and blocks are not compiled. Changes results.
    """

    attention: bool = True
    channels_last: bool = True
    compile: bool = True
    fp8: bool = False


PLAIN = AccelerationConfig(attention=False, channels_last=False, compile=False)
"""No acceleration."""


HALO, OVERLAP = 64, 32
"""Enlarged pixels on each side that a tile depends on, and over which it is cross-faded."""
FIDELITY = 45.0
"""LR-PSNR in dB to which a tile is held if nothing else is given."""
MOST = 32
"""Back-projections of a tile at most.

From random pixels, the worst there is, a photograph takes 4 to 35 dB, 9 to 45 and 23 to 60. What is not near after 32
hardly ever will be: a source whose neighbouring pixels are black and white has no enlargement between black and white
that shrinks to it.
"""
LOCK_LEVELS = 4
"""À-trous levels of the colour lock, at the tile's resolution, for a clean source."""
LOCKS = 6
"""Corrections of the low band at factor 1, where only the colours are corrected."""
BASE = "span"
AT_ONCE = 2
"""Batches in progress: while the device generates one, the CPU enlarges the next."""


@dataclass(frozen=True, slots=True)
class SamplingOptions:
    """How the network generates the detail of one pass."""

    prompt: str = ""
    creativity: float = 0.3
    guidance: float | None = None
    """None: the default of the row."""
    steps: int | None = None
    """Of a full trajectory; None: the default of the row."""
    resemblance: float = 0.0
    """0 to 1."""
    seed: int = 0
    stream: int = 0
    """Number of the noise field, another one for each pass."""
    lock: float = 1.0
    """Share, 0 to 1, of a tile's difference in colour that is corrected."""
    lock_levels: int = LOCK_LEVELS
    """À-trous levels of the colours that are locked: 2**levels - 1 pixels of the tile to each side."""


def backend_row(row: FluxRow, factor: int, fidelity: float = FIDELITY) -> Backend:
    """Return the row of a network that re-imagines tiles of one shape, at `factor` times the source's size.

    `fidelity` is the least LR-PSNR in dB of tiles. At factor 1 there is none, because a full correction would return
    the source itself; only the colours are corrected.
    """
    tile = (row.tile - row.cell) // factor
    return Backend(
        name=row.name,
        title=row.title,
        entry="",
        base=BASE,
        detail=row.name,
        licence=row.licence,
        factor=factor,
        tile=tile,
        halo=max(1, min(HALO // factor, tile // 4)),
        overlap=max(1, min(OVERLAP // factor, tile // 8)),
        memory=0,
        at_once=AT_ONCE,
        iterations=MOST if factor > 1 else LOCKS,
        consistency=1.0 if factor > 1 else 0.0,
        graded=True,
        fidelity=fidelity if factor > 1 else None,
        batch=BATCH,
    )
