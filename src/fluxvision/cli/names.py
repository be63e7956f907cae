"""What a result is called: the label of its size, and how results of earlier runs are recognised. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

from fluxvision.catalog.params import BY_NAME
from fluxvision.core.types import Scalar

COMPARED = "-compare"
_RESULT = re.compile(r"@(?:\d+(?:\.\d+)?x|\d+x\d+|\d+[Kp])(?:-\d+x\d+)?(?:-\d+)?(?:-compare)?\.\w+$")


def label(values: Mapping[str, Scalar]) -> str:
    """Return the part of a name that says how large: 2x, 1.5x, 1024x1024, 4K, or 2x-16x9 for a shape."""
    size = str(values.get("size", "auto"))
    if "x" in size:
        return size
    shape = size if ":" in size else str(values.get("aspect_ratio", ""))
    factor = float(values.get("scale_factor", BY_NAME["scale_factor"].default or 1))
    times = str(values["resolution"]) if "resolution" in values else f"{factor:g}x"
    return f"{times}-{shape.replace(':', 'x')}" if shape else times


def numbered(stem: str, extension: str, count: int) -> list[str]:
    """Return the names of `count` versions; a single one has no number."""
    numbers = [""] if count == 1 else [f"-{number}" for number in range(1, count + 1)]
    return [f"{stem}{number}.{extension}" for number in numbers]


def original(name: str) -> str | None:
    """Return what stands before the size in a result's name (a stem, or a whole file name); None for other names."""
    found = _RESULT.search(name)
    return name[: found.start()] if found else None
