"""The tiers of the tests, and which tests a change needs."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from selection import TIERS, tests_of, tier

ROOT = Path(__file__).parents[2]


def test_the_tiers_are_written_alike():
    """The table of files, the markers of pytest and the targets of the Makefile are the same tiers."""
    options = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["pytest"]["ini_options"]
    makefile = re.search(r"^TIERS := (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert {line.partition(":")[0] for line in options["markers"]} == set(makefile[1].split()) == set(TIERS.values())


@pytest.mark.parametrize("pattern", TIERS)
def test_every_row_of_the_tiers_has_files(pattern):
    """No pattern matches nothing, and none stands behind one that takes its files."""
    files = list((ROOT / "tests").rglob("test_*.py"))
    assert any(path.match(pattern) and tier(path) == TIERS[pattern] for path in files)


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
def test_tests_of_a_change(path, tests, tmp_path):
    """A module's tests are those of its name, else those at its place; a test is its own; documents have theirs."""
    for name in ("decode", "probe"):
        made = tmp_path / "tests" / "unit" / "imaging" / f"test_{name}.py"
        made.parent.mkdir(parents=True, exist_ok=True)
        made.touch()
    assert [found.as_posix() for found in tests_of(Path(path), tmp_path)] == tests
