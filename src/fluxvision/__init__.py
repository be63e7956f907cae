"""Flux Vision Upscaler, for everyone to run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fluxvision.python_api import Upscaled, Upscaler, upscale

__all__ = ["Upscaled", "Upscaler", "upscale"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import the Python API at its first use: the command line and its help do not wait for the engine."""
    if name not in __all__:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    from fluxvision import python_api  # noqa: PLC0415, see above

    return getattr(python_api, name)
