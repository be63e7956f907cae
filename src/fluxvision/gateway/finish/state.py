"""FinishState, the input and output of every finishing step."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from fluxvision.core.callbacks import JobCallbacks
from fluxvision.core.images import Animation, Fidelity, InputImage, RawImage
from fluxvision.core.types import PostprocessPlan

Mask = NDArray[np.uint8]
"""How far each pixel may change, (rows, columns) of the upright source, uint8: 0 not at all, 255 fully."""


@dataclass(frozen=True, slots=True)
class FinishState:
    """A picture between the provider and delivery. The last fields are set by the steps."""

    picture: RawImage | Path | InputImage
    """The provider's file (an `InputImage` once its header was read) or pixels; after `encode` the finished file."""
    plan: PostprocessPlan
    source: InputImage
    """The caller's picture."""
    folder: Path
    """Takes all files of the job."""
    callbacks: JobCallbacks = field(default_factory=JobCallbacks)
    seam_ratio: float | None = None
    """As the engine measured it; see `Fidelity`."""
    mask: Mask | None = None
    """The caller's mask, decoded."""
    requested_size: tuple[int, int] | None = None
    """Width and height that the provider was asked for, None when it chose them."""
    keeps_alpha: bool = False
    """Whether the provider got the alpha channel and returns it."""
    threads: int = 0
    """Threads for a faithful enlargement; 0: all cores."""
    fidelity: Fidelity | None = None
    """The provider's own measurement."""
    reference: RawImage | None = None
    """The colours that the result is compared with; None: those of the source."""
    source_metadata_free: bool = False
    """Whether the source is known to have no metadata."""
    prompt: str | None = None
    """The prompt or caption that the picture was made with."""
    seed: int | None = None
    """The seed that the picture was made with."""
    raster: RawImage | None = None
    """The pixels of the finished file, while they are needed."""
    inner: tuple[int, int] | None = None
    """Width and height of the enlarged picture that `fit` cropped or padded."""
    offset: tuple[int, int] = (0, 0)
    """Column and row of the enlarged picture at which the result begins; negative when padded."""
    animation: Animation | None = None
    """All frames, when `picture` is the first one of several."""
    described: InputImage | None = None
    """The picture whose metadata the result gets, when it is not `source`."""
    warnings: tuple[str, ...] = ()
    """Sentences for the caller: parts of the source's metadata that could not be used or kept."""

    def new(self, extension: str) -> Path:
        """Return an unused path in the folder."""
        return self.folder / f"{uuid4().hex}.{extension}"
