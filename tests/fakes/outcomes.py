"""What a provider delivered, as a file."""

from __future__ import annotations

from pathlib import Path

from fluxvision.core.types import ProviderResult


def delivered(outcome: ProviderResult) -> Path:
    """Return the file of a picture, or of its pixels."""
    return outcome.picture if isinstance(outcome.picture, Path) else outcome.picture.path
