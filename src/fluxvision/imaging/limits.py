"""What a picture may cost before its pixels are decoded."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """The most bytes of a file, pixels of a frame (width x height) and frames that are accepted."""

    bytes: int = 100_000_000
    pixels: int = 100_000_000
    frames: int = 1000
