"""The receipt of a picture as lines of text."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any


def receipt_text(metadata: dict[str, Any], names: Collection[str], number: int, count: int) -> str:
    """Return who made a picture in which size, what it cost, and what became of each of the parameters `names`."""
    cost = metadata.get("cost")
    price = "at a cost that is not known" if cost is None else f"for ${cost:.6g}" if cost else "for nothing"
    lines = [f"Picture {number} of {count}: {metadata['size']} by the provider {metadata['provider']}, {price}"]
    lines += [f"Note: {warning}" for warning in metadata.get("warnings", ())]
    for entry in metadata["normalization"]:
        if entry["parameter"] in names:
            change = "" if entry["to"] in (None, entry["from"]) else f" became {_shown(entry['to'])}"
            note = f": {entry['note']}" if entry["note"] else ""
            lines.append(f"{entry['parameter']} {_shown(entry['from'])}{change} ({entry['mode']}){note}")
    return "\n".join(lines)


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
