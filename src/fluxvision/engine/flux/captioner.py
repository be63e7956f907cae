"""Captions a picture, or each tile, with a vision-language model, and caches captions by the picture's hash.

Importable without torch. The row "none" has no model and returns empty captions.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from fluxvision.core.errors import Unavailable
from fluxvision.engine.flux import weights
from fluxvision.engine.flux.caption_text import clean_caption
from fluxvision.engine.flux.registry import CAPTIONERS_BY_NAME, CaptionerRow
from fluxvision.engine.resample import Array, band_matrix

__all__ = ["Captioner", "load_captioner"]

KEPT = 1024
"""Most cached captions; a large picture needs one for each tile."""
LEAST_SIDE = 32
"""Fewest pixels per side of the picture that the model gets."""
COLOURS = 3
TILE_WORDS, TILE_SIDE = 40, 448
"""Words of the caption of a tile, and the longest side of the tile that the model gets."""

Picture = NDArray[np.uint8]


class VisionModel(Protocol):
    """A vision-language model. One thread at a time."""

    def shown(self, rows: int, columns: int) -> tuple[int, int]:
        """Return the rows and columns to which a picture of this size is resampled for the model."""
        ...

    def describe(self, pictures: Sequence[Array], words: int) -> list[str]:
        """Return the model's description of each picture, in about `words` words.

        Pictures are float32 (3, rows, columns) in 0..1, of one size. The same pictures always get the same
        descriptions.
        """
        ...

    def to(self, device: str) -> None:
        """Move the model to a device."""
        ...


class Captioner:
    """Describes pictures and caches the descriptions. Safe for many threads: the model serves one at a time."""

    def __init__(self, row: CaptionerRow, sight: VisionModel | None = None) -> None:
        """Describe with a loaded model; None: return empty captions."""
        self.row = row
        self._sight = sight
        self._kept: OrderedDict[tuple[str, int, int | None], str] = OrderedDict()
        self._lock = threading.Lock()

    def caption(self, picture: Picture, words: int = 80) -> str:
        """Return one line of at most `words` words about a picture (rows, columns, 3), sRGB, 0..255.

        Empty without a model, or when its answer is empty. Raises ValueError for other shapes and types.
        """
        return self.captions([picture], words)[0]

    def captions(self, pictures: Sequence[Picture], words: int = TILE_WORDS, side: int | None = None) -> list[str]:
        """Return a line about each picture of one size, as `caption` does; new ones are described in one call.

        They are resampled to sides up to `side`; None: the largest that the model supports.
        """
        for picture in pictures:
            _check_picture(picture)
        if self._sight is None or words < 1:
            return [""] * len(pictures)
        keys = [(image_hash(picture), words, side) for picture in pictures]
        with self._lock:
            unseen = {key: picture for key, picture in zip(keys, pictures, strict=True) if key not in self._kept}
            found = {key: self._kept[key] for key in keys if key in self._kept}
            found |= zip(unseen, self._said(list(unseen.values()), words, side), strict=True)
            for key in keys:
                self._kept[key] = found[key]
                self._kept.move_to_end(key)
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return [found[key] for key in keys]

    def _said(self, pictures: Sequence[Picture], words: int, side: int | None) -> list[str]:
        if self._sight is None or not pictures:
            return [""] * len(pictures)
        rows, columns = pictures[0].shape[:2]
        size = self._sight.shown(*((rows, columns) if side is None else fit_multiples(rows, columns, side)))
        small = [shrink_for_model(picture, *size) for picture in pictures]
        return [clean_caption(said, words) for said in self._sight.describe(small, words)]

    def to(self, device: str) -> None:
        """Move the model to a device, to free memory on another."""
        with self._lock:
            if self._sight is not None:
                self._sight.to(device)

    def close(self) -> None:
        """Free the model's memory. Later captions are empty."""
        with self._lock:
            self._sight = None
            self._kept.clear()


def load_captioner(
    row: CaptionerRow | str,
    source: str | Path | None = None,
    *,
    revision: str | None = None,
    device: str = "auto",
    dtype: str = "auto",
) -> Captioner:
    """Load a captioner by its row or the row's name, from a folder or the hub's cache; nothing is downloaded.

    `source` None: the row's own repository. Raises `Unavailable` when there is no such row or the extra or the weights
    are not there, ValueError for an unknown device or number format.
    """
    if isinstance(row, str):
        if row not in CAPTIONERS_BY_NAME:
            message = f"There is no captioner {row}: {', '.join(CAPTIONERS_BY_NAME)}."
            raise Unavailable(message, param="engine")
        row = CAPTIONERS_BY_NAME[row]
    if row.entry is None:
        return Captioner(row)
    weights.need_extra()
    found = weights.find_weights(row, source or str(row.repo), revision)
    weights.check_captioner(row, found)
    module, _, attribute = row.entry.partition(":")
    made: Any = getattr(import_module(module), attribute)
    return Captioner(row, cast("VisionModel", made(row, found, device, dtype)))


def _check_picture(picture: Picture) -> None:
    if picture.ndim != COLOURS or picture.shape[2] != COLOURS or picture.dtype != np.uint8 or not picture.size:
        message = f"A picture is uint8 (rows, columns, 3), not {picture.dtype} {picture.shape}."
        raise ValueError(message)


def image_hash(picture: Picture) -> str:
    """Return the SHA-256 of a picture's shape and pixels."""
    found = hashlib.sha256(repr(picture.shape).encode())
    for start in range(0, len(picture), 256):  # a band of rows is copied at a time
        found.update(picture[start : start + 256].tobytes())
    return found.hexdigest()


def shrink_for_model(picture: Picture, rows: int, columns: int) -> Array:
    """Return a picture (rows, columns, 3) of 0..255 at another size: float32 (3, rows, columns) in 0..1."""
    planes = cast("Array", picture.transpose(2, 0, 1))  # converted block by block, never as a whole
    down = band_matrix(picture.shape[0], picture.shape[0] / rows, count=rows).rows(planes)
    across = band_matrix(picture.shape[1], picture.shape[1] / columns, count=columns).columns(down)
    small: Array = np.clip(across / np.float32(255), 0, 1)
    return small


def fit_multiples(rows: int, columns: int, side: int, multiple: int = 1, least: int = 0) -> tuple[int, int]:
    """Return rows and columns near the same shape: sides up to `side`, both multiples, about `least` pixels or more."""
    scale = min(1.0, side / max(rows, columns))
    if rows * columns * scale**2 < least:
        scale = min((least / (rows * columns)) ** 0.5, side / max(rows, columns))
    least_side = max(LEAST_SIDE, multiple)
    high, wide = (max(least_side, round(length * scale / multiple) * multiple) for length in (rows, columns))
    return high, wide
