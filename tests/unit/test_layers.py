"""The rooms of the house: what a module may import, from the one table that also draws docs/architecture.md."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest
from rooms import APART, ROOMS, room

SOURCE = Path(__file__).parents[2] / "src" / "fluxvision"
MODULES = sorted(path.relative_to(SOURCE).with_suffix("").parts for path in SOURCE.rglob("*.py"))
LEVEL = {name: number for number, (names, _) in enumerate(ROOMS) for name in names}
SHARED = {"__init__", "registry", "result_file", "shared_rules", "size_rules"}
"""Modules of a table's room that its rows share."""
TABLES = ("providers", "catalog/models")
"""Rooms whose files and packages are rows of one table."""


@cache
def imported(module: tuple[str, ...]) -> set[tuple[str, ...]]:
    """Return the modules of this project that a module imports, wherever in it the import stands."""
    tree = ast.parse(SOURCE.joinpath(*module).with_suffix(".py").read_text(encoding="utf-8"))
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {resolve(alias.name) for alias in node.names if alias.name.partition(".")[0] == "fluxvision"}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} has a relative import"
            if (node.module or "").partition(".")[0] == "fluxvision":
                found |= {resolve(f"{node.module}.{alias.name}") for alias in node.names}
    return found - {("__init__",), module}


@cache
def resolve(name: str) -> tuple[str, ...]:
    """Return the module of a dotted name, which may end in something that the module holds."""
    parts = tuple(name.split(".")[1:])
    while parts and parts not in MODULES and (*parts, "__init__") not in MODULES:
        parts = parts[:-1]
    return (*parts, "__init__") if parts not in MODULES else parts


def row(module: tuple[str, ...], table: str) -> str | None:
    """Return the row of a table that a module belongs to, None for a shared one and one outside."""
    folder = tuple(table.split("/"))
    inside = module[len(folder)] if module[: len(folder)] == folder else "__init__"
    return None if inside in SHARED else inside


def upward(module: tuple[str, ...]) -> set[str]:
    """Return what a module imports from rooms above its own."""
    own = room(module)
    assert own in LEVEL, f"{module} is in no room of docs/rooms.py"
    return {".".join(other) for other in imported(module) if LEVEL[room(other)] > LEVEL[own]}


def sideways(module: tuple[str, ...]) -> set[str]:
    """Return what a module imports from beside it: its level, its table, and rooms that are kept apart from its own."""
    own, others = room(module), imported(module)
    beside = {".".join(other) for other in others if room(other) != own and LEVEL[room(other)] == LEVEL[own]}
    for table in TABLES:
        mine = row(module, table)
        beside |= {".".join(other) for other in others if mine and row(other, table) not in {None, mine}}
    return beside | {".".join(other) for other in others if room(other) in APART.get(own, ())}


@pytest.mark.parametrize("forbidden", [upward, sideways])
def test_no_import_leads_out_of_its_place(forbidden):
    """Every module is in a room, imports from its own and lower ones only, and rooms and rows kept apart stay so."""
    assert {".".join(module): found for module in MODULES if (found := forbidden(module))} == {}


def test_no_imports_go_in_a_circle():
    """Modules can be sorted so that each imports only earlier ones, inside a package too."""
    left = {module: imported(module) for module in MODULES}
    while ready := [module for module, others in left.items() if not others & left.keys()]:
        for module in ready:
            del left[module]
    assert sorted(".".join(module) for module in left) == []


def test_every_room_is_there():
    """No room of the table is without a module."""
    assert {room(module) for module in MODULES} == set(LEVEL)


def test_a_long_module_says_why():
    """A module of more than 300 lines gives its reason."""
    texts = {module: SOURCE.joinpath(*module).with_suffix(".py").read_text(encoding="utf-8") for module in MODULES}
    assert [
        module
        for module, text in texts.items()
        if text.count("\n") > 300 and "\nThe module is long because " not in text
    ] == []
