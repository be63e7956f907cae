"""What the rows of the client tests say of each client, as Markdown. Needs no dependency of the tests."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from cells import table

ROOT = Path(__file__).parents[1]
ROWS = ROOT / "tests" / "clients" / "compatibility.toml"
PINS = {
    "constraints.txt": r"^{name}==(\S+)$",
    "tests/clients/node/package.json": r'^\s*"{name}": "([^"]+)"',
    "Makefile": r"'{name}(?:\[\w+\])?==([\w.]+)'",
}
"""How each file that pins versions writes one."""


def rows(kind: str = "client") -> list[Mapping[str, Any]]:
    """Return the rows of `compatibility.toml`, clients or other ones."""
    found: list[Mapping[str, Any]] = tomllib.loads(ROWS.read_text(encoding="utf-8"))[kind]
    return found


def version(row: Mapping[str, Any]) -> str:
    """Return a client's version from the file that pins it; raises `ValueError` where it is not pinned there."""
    if "pinned" not in row:
        return str(row["version"])
    file, name = row["pinned"]
    pattern = PINS[file].replace("{name}", re.escape(name))
    match = re.search(pattern, (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE)
    if match is None:
        message = f"{file} does not pin {name}."
        raise ValueError(message)
    return match[1]


def clients() -> str:
    """Return what was run with each client, and what came of it."""
    return _results(row for row in rows() if not row.get("recorded"))


def recorded() -> str:
    """Return the same of clients whose requests were sent without them."""
    return _results(row for row in rows() if row.get("recorded"))


def _results(found: Iterable[Mapping[str, Any]]) -> str:
    return table(
        ("Client", "Version", "What was run", "Result", "Date"),
        (
            (
                row["name"],
                version(row),
                row["ran"],
                f"served; {row['note']}" if "note" in row else "served",
                row["date"].isoformat(),
            )
            for row in found
        ),
    )
