"""What the steps hand on to one another."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from fluxvision.core.types import Fidelity, InputImage, JobCallbacks, PostprocessPlan, RawImage

Mask = NDArray[np.uint8]
"""Where a picture may change, (rows, columns) of the upright source: 0 nothing, 255 all."""


@dataclass(frozen=True, slots=True)
class FinishState:
    """A picture on its way out. All files of it lie in `folder`.

    `picture` is what there is so far: the provider's file or raster, then the finished file; a provider's file whose
    header was read is an `InputImage`. `source` is the caller's, `mask` the caller's mask, decoded. `made` is the size
    that the provider was asked for, None where that was its own decision; `transparent` tells that it was given the
    alpha channel and gives it back; `fidelity` is what it measured itself. `threads` are those of a faithful
    enlargement, 0 for all cores. `silent` tells that the source is known to hold no metadata. `words` and `seed` are
    those that the picture was made with.

    The rest belongs to the steps: `raster` are the pixels behind a finished file, while they are needed; `inner` and
    `offset` tell where the enlarged picture lies in the result when `fit` has cropped or padded it.
    """

    picture: RawImage | Path | InputImage
    plan: PostprocessPlan
    source: InputImage
    folder: Path
    watch: JobCallbacks = field(default_factory=JobCallbacks)
    seam_ratio: float | None = None
    mask: Mask | None = None
    made: tuple[int, int] | None = None
    transparent: bool = False
    threads: int = 0
    fidelity: Fidelity | None = None
    silent: bool = False
    words: str | None = None
    seed: int | None = None
    raster: RawImage | None = None
    inner: tuple[int, int] | None = None
    offset: tuple[int, int] = (0, 0)
    warnings: tuple[str, ...] = ()
    """Sentences for the caller: what of the source's metadata could not be used or kept."""

    def new(self, extension: str) -> Path:
        """Return a path in the folder that is not taken."""
        return self.folder / f"{uuid4().hex}.{extension}"
