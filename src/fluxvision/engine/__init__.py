"""The engine: pixels in, larger and finer pixels out. A library without HTTP, async or catalogue."""

from fluxvision.engine.backends import BACKENDS, Backend, load
from fluxvision.engine.pipeline import Request, Result, enlarge, memory
from fluxvision.engine.tiles import Samples

__all__ = ["BACKENDS", "Backend", "Request", "Result", "Samples", "enlarge", "load", "memory"]
