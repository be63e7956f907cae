"""Every test of a client has its row in docs/compatibility.md, and every row has tests."""

from __future__ import annotations

import ast
import datetime as dt
from pathlib import Path

import client_tables
import pytest

from fakes.recorded_clients import REFUSED, SERVED

CLIENTS = Path(__file__).parents[1] / "clients"
ROWS = client_tables.rows()
NAMED = [test for row in (*ROWS, *client_tables.rows("other")) for test in row["tests"]]


def functions_of(path: Path) -> set[str]:
    """Return the tests of a file as FILE::FUNCTION."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {
        f"{path.name}::{node.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    }


RECORDED = {f"test_recorded.py[{row.client}]" for row in (*SERVED, *REFUSED)}
TESTS = {test for path in sorted(CLIENTS.glob("test_*.py")) for test in functions_of(path)}


def test_every_test_of_a_client_has_a_row():
    """A row names the test or its file; a test that proves no client is among the other ones."""
    covered = {name.partition("[")[0] for name in NAMED}
    assert [test for test in sorted(TESTS) if not {test, test.partition("::")[0]} & covered] == []
    assert RECORDED - set(NAMED) == set()


@pytest.mark.parametrize("name", sorted(set(NAMED)))
def test_what_a_row_names_exists(name):
    """A row names no test that is not there."""
    assert name in TESTS | RECORDED | {test.partition("::")[0] for test in TESTS}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["name"])
def test_a_row_is_whole(row):
    """It has tests, words, a version and a day that has been."""
    assert row["tests"]
    assert row["ran"]
    assert client_tables.version(row)
    assert row["date"] <= dt.datetime.now(dt.UTC).date()


def test_a_client_has_one_row():
    """No client is listed twice."""
    names = [row["name"] for row in ROWS]
    assert len(names) == len(set(names))


def test_a_version_that_nothing_pins_is_refused():
    """A name that the file does not have is an error, and no empty cell."""
    with pytest.raises(ValueError, match="does not pin nobody"):
        client_tables.version({"pinned": ["constraints.txt", "nobody"]})
