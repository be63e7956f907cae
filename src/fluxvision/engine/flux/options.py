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
"""No lever at all."""


HALO, OVERLAP = 64, 32
"""Enlarged pixels on each side that a tile sees, and over which it is cross-faded."""
FIDELITY = 45.0
"""LR-PSNR in dB between the delivered picture, reduced again, and the source, where nothing else is set."""
MOST = 32
"""Back-projections of a tile at most.

From random pixels, the worst there is, a photograph takes 4 to 35 dB, 9 to 45 and 23 to 60. What is not near after 32
hardly ever will be: a source whose neighbouring pixels are black and white has no enlargement between black and white
that shrinks to it.
"""
LOCKS = 6
"""Corrections of the low band at factor 1, where only the colours are held."""
BASE = "span"
AT_ONCE = 2
"""Batches at work: while the device imagines one, the processor enlarges the next."""


@dataclass(frozen=True, slots=True)
class SamplingOptions:
    """What a job asks of the network. `steps` counts a full trajectory; None: the row's own.

    `stream` is the field of noise, one for each pass of a job.
    """

    prompt: str = ""
    creativity: float = 0.3
    guidance: float | None = None
    steps: int | None = None
    resemblance: float = 0.0
    seed: int = 0
    stream: int = 0


def backend_row(row: FluxRow, factor: int, fidelity: float = FIDELITY) -> Backend:
    """Return the pipeline's facts for a network that re-imagines tiles of one shape, `factor` times the source's.

    `fidelity` is the LR-PSNR in dB that tiles are held to. Unenlarged there is none: a full correction would return the
    source itself, and only the colours are held.
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
