"""The inputs of the ComfyUI node, made from the rows of the parameters: the node runs without this package."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fluxvision.catalog.params import BY_NAME, Param

TARGET = Path(__file__).parents[1] / "integrations" / "comfyui" / "inputs.json"
NAMES = ("scale_factor", "size", "creativity", "prompt", "seed", "restore")
"""The parameters that the node has, in its order."""
STEPS = {"scale_factor": 0.25, "creativity": 0.05}
"""By how much the arrows beside a number change it."""
STARTS = {"seed": 0}
"""Defaults where the rows have none."""
EMPTY = {"size": "Empty: the factor decides."}
"""What an empty text means."""


def comfyui_inputs() -> str:
    """Return the file's text: ComfyUI's type and options of each parameter."""
    return json.dumps({name: _input(BY_NAME[name]) for name in NAMES}, indent=2) + "\n"


def _input(row: Param) -> dict[str, Any]:
    tooltip = " ".join(filter(None, (row.help, EMPTY.get(row.name))))
    if row.kind == "string":
        lines = {"multiline": True} if row.pattern is None else {}
        return {"type": "STRING", "options": {"default": row.default or "", **lines, "tooltip": tooltip}}
    start = STARTS.get(row.name, row.default)
    number = {"default": start, "min": row.low, "max": row.high}
    if row.kind == "integer":
        return {"type": "INT", "options": {**number, "control_after_generate": True, "tooltip": tooltip}}
    return {"type": "FLOAT", "options": {**number, "step": STEPS[row.name], "tooltip": tooltip}}
