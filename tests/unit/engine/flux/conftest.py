"""The tests of FLUX need its extra."""

from __future__ import annotations

from importlib.util import find_spec

EXTRA = all(find_spec(name) is not None for name in ("torch", "diffusers", "transformers"))
NEEDING = (
    "allowance",
    "batches",
    "captions",
    "control",
    "detailer",
    "fp8",
    "ladder",
    "levers",
    "loop",
    "networks",
)
collect_ignore = [] if EXTRA else [f"test_{name}.py" for name in NEEDING]
