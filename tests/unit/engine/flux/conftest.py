"""The tests of FLUX need its extra."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

EXTRA = all(find_spec(name) is not None for name in ("torch", "diffusers", "transformers"))
FREE = {"extra", "fidelity_target", "licences", "noise", "registry"}
"""Modules tested without it."""
collect_ignore = [
    path.name
    for path in Path(__file__).parent.glob("test_*.py")
    if not EXTRA and path.stem.removeprefix("test_") not in FREE
]
