"""The recorded schemas of fal's endpoints, and whether a body obeys one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "number": (int, float),
    "integer": (int,),
    "boolean": (bool,),
}
SCHEMAS: dict[str, dict[str, Any]] = {
    schema["endpoint"]: schema
    for path in sorted(Path(__file__).with_name("schemas").glob("*.json"))
    for schema in [json.loads(path.read_text(encoding="utf-8"))]
}


def faults(body: Mapping[str, Any], endpoint: str) -> list[str]:
    """Return what the endpoint would not take of a body, which a provider completes by the picture's address."""
    fields = SCHEMAS[endpoint]["input"]
    missing = [name for name, row in fields.items() if row.get("required") and name not in {*body, "image_url"}]
    unknown = [name for name in body if name not in fields]
    wrong = [f"{name}={value!r}" for name, value in body.items() if name in fields and not fits(value, fields[name])]
    return missing + unknown + wrong


def fits(value: Any, row: Mapping[str, Any]) -> bool:
    """Return whether a value has the row's type, range, set and length."""
    if not isinstance(value, TYPES[row["type"]]) or (isinstance(value, bool) and row["type"] != "boolean"):
        return False
    if "enum" in row and value not in row["enum"]:
        return False
    if isinstance(value, str):
        return len(value) <= row.get("maxLength", len(value))
    return row.get("minimum", value) <= value <= row.get("maximum", value)
