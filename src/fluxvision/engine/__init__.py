"""The engine: enlarges arrays of pixels. A library without HTTP, async or catalogue."""

from fluxvision.engine.backends.registry import BACKENDS, Backend, load_backend
from fluxvision.engine.pipeline import Request, Result, enlarge, pass_sizes, planned_memory
from fluxvision.engine.tile_inference import Samples

__all__ = [
    "BACKENDS",
    "Backend",
    "Request",
    "Result",
    "Samples",
    "enlarge",
    "load_backend",
    "pass_sizes",
    "planned_memory",
]
