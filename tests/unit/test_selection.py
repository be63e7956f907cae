"""The tiers of the tests, and which tests a change needs."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from selection import TIERS, files_for, tier

ROOT = Path(__file__).parents[2]


def test_the_tiers_are_written_alike():
    """The table of files, the markers of pytest and the targets of the Makefile are the same tiers."""
    options = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["pytest"]["ini_options"]
    makefile = re.search(r"^TIERS := (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert {line.partition(":")[0] for line in options["markers"]} == set(makefile[1].split()) == set(TIERS.values())


def test_every_tier_has_files():
    """No tier is empty but that of Ray, whose executor brings its files; what is in no row is of the default one."""
    found = {tier(path) for path in (ROOT / "tests").rglob("test_*.py")}
    assert {None, *TIERS.values()} - found <= {"ray"}


@pytest.mark.parametrize(
    ("path", "tests"),
    [
        ("src/fluxvision/imaging/decode.py", ["tests/unit/imaging/test_decode.py"]),
        ("src/fluxvision/imaging/added.py", ["tests/unit/imaging/test_decode.py", "tests/unit/imaging/test_probe.py"]),
        ("src/fluxvision/gone/gone.py", []),
        ("tests/faults/test_fal.py", ["tests/faults/test_fal.py"]),
        ("tests/unit/http/conftest.py", ["tests/unit/http"]),
        ("tests/conftest.py", []),
        ("tests/fakes/fal.py", []),
        ("docs/api.md", ["tests/unit/test_docs.py"]),
        ("Makefile", []),
    ],
)
def test_files_for_a_change(path, tests, tmp_path):
    """A module's tests are those of its name, else those at its place; a test is its own; documents have theirs."""
    for name in ("decode", "probe"):
        made = tmp_path / "tests" / "unit" / "imaging" / f"test_{name}.py"
        made.parent.mkdir(parents=True, exist_ok=True)
        made.touch()
    assert [found.as_posix() for found in files_for(Path(path), tmp_path)] == tests
