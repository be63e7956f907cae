"""Reads which tensors the safetensors files of a folder hold, and tells files that are cut short. Needs no torch.

A file begins with the length of its header as 64 bits, little-endian; the header is JSON with each tensor's place in
the data behind it (https://github.com/huggingface/safetensors).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

LENGTH = 8
"""Bytes of the header's length."""
MOST_HEADER = 100_000_000
"""Most bytes of a header, the format's own limit."""
METADATA = "__metadata__"
FIRST = "relative_attention_bias"
"""What T5 has in its first block alone."""


def read_tensor_names(part: Path) -> set[str] | None:
    """Return the names of all tensors in a folder's files, None where a file is cut short or is no such file."""
    names: set[str] = set()
    for file in sorted(part.glob("*.safetensors")):
        found = _read_header(file)
        if found is None:
            return None
        names |= found
    return names


def _read_header(file: Path) -> set[str] | None:
    try:
        size = file.stat().st_size
        with file.open("rb") as opened:
            length = int.from_bytes(opened.read(LENGTH), "little")
            if not 0 < length <= min(MOST_HEADER, size - LENGTH):
                return None
            header = json.loads(opened.read(length))
        places = {name: entry["data_offsets"] for name, entry in header.items() if name != METADATA}
        whole = LENGTH + length + max((end for _, end in places.values()), default=0) <= size
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return set(places) if whole else None


def find_missing_tensor(names: set[str], blocks: Mapping[str, int | None]) -> str | None:
    """Return the name of a tensor that one block lacks and others have, or of a block that is missing; None: neither.

    `blocks` has lists of blocks by name, each with the number of its blocks (None: unknown).
    """
    for name, count in blocks.items():
        pattern = re.compile(rf"(?P<before>(?:^|.*?\.){re.escape(name)})\.(?P<number>\d+)\.(?P<rest>.+)")
        found: dict[int, set[str]] = {}
        before = name
        for match in filter(None, map(pattern.fullmatch, names)):
            before = match["before"]
            found.setdefault(int(match["number"]), set()).add(match["rest"])
        common = {rest for block in found.values() for rest in block if FIRST not in rest}
        for number in range(max(found, default=-1) + 1 if count is None else count):
            if number not in found:
                return f"{before}.{number}"
            for rest in sorted(common - found[number]):
                return f"{before}.{number}.{rest}"
    return None
