"""What a job asks of a FLUX network, and the facts that the pipeline goes by for it. Importable without torch."""

from __future__ import annotations

from dataclasses import dataclass

from fluxvision.engine.backends import Backend
from fluxvision.engine.flux.room import BATCH
from fluxvision.engine.flux.rows import FluxRow

HALO, OVERLAP = 64, 32
"""Enlarged pixels on each side that a tile sees, and over which it is cross-faded."""
ITERATIONS = 6
"""Back-projections: what a network imagines is further from the source than what one reconstructs.

With random networks, the worst there is, 4 leave 43.5 dB after two passes, 6 leave 44.6, and twice as many 0.3 more.
"""
BASE = "span"
AT_ONCE = 2
"""Batches at work: while the device imagines one, the processor enlarges the next."""


@dataclass(frozen=True, slots=True)
class Wishes:
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


def backend_row(row: FluxRow, factor: int) -> Backend:
    """Return the pipeline's facts for a network that re-imagines tiles of one shape, `factor` times the source's."""
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
        iterations=ITERATIONS,
        # Unenlarged, a full correction would return the source itself: only the colours are held there.
        consistency=1.0 if factor > 1 else 0.0,
        graded=True,
        batch=BATCH,
    )
