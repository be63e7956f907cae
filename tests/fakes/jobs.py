"""Jobs about pictures that need not exist, for everything that is pure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fluxvision.catalog import catalog
from fluxvision.core.images import InputImage
from fluxvision.core.types import Job


def source(width: int, height: int, **facts: Any) -> InputImage:
    """Return a PNG of this size."""
    facts = {"format": "png", "channels": 3, "alpha": False, "bits": 8, "size": 1, **facts}
    return InputImage(file=Path("picture.png"), width=width, height=height, **facts)


def job(
    width: int = 640,
    height: int = 427,
    /,
    *,
    model: str = "flux-vision-upscaler",
    mask: bool = False,
    extras: dict[str, Any] | None = None,
    pin: str | None = None,
    prefers_base64: bool = False,
    transparent: bool = False,
    **values: Any,
) -> Job:
    """Return a job of a model, with its default factor, for a picture of this size with these parameters."""
    return Job(
        id="req_1",
        model=model,
        image=source(width, height, alpha=transparent),
        values=values,
        mask=source(width, height, alpha=True) if mask else None,
        extras=extras or {},
        pin=pin,
        prefers_base64=prefers_base64,
        factor=catalog.default_factor(catalog.find_model(model)[0]),
    )
