"""A module imports only from layers with a smaller number; files of one package see each other."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "fluxvision"
LAYERS = (
    {"__init__", "errors", "types", "money"},
    {"machine"},
    {"params", "rules", "config", "imaging", "geometry", "guard", "workers", "fair_queue", "memory_budget"},
    {"catalog", "engine", "store", "accounts", "pricing", "fetch", "health"},
    {"routing", "normalize", "offers", "versions", "job_memory", "submission"},
    {"providers", "preprocess", "postprocess", "preview", "candidates", "card"},
    {"attempt", "choice", "llms", "selftest"},
    {"gateway"},
    {"http", "cli"},
    {"app"},
    {"server"},
    {"__main__"},
)
NUMBER = {name: number for number, names in enumerate(LAYERS) for name in names}
FORBIDDEN = {
    "http": {"providers", "engine"},
    "cli": {"providers", "engine"},
    "providers": {"catalog", "params", "accounts", "store"},
}
ROWS = {"catalog", "providers"}
"""Packages whose files are rows of one table: the others see only those in `SHARED`."""
SHARED = {"__init__", "common", "local", "privacy", "result_file", "sizes"}
MODULES = sorted(path.relative_to(SOURCE).with_suffix("").parts for path in SOURCE.rglob("*.py"))


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
    return found


def resolve(name: str) -> tuple[str, ...]:
    """Return the module of a dotted name, which may end in something that the module holds."""
    parts = tuple(name.split(".")[1:])
    while parts and parts not in MODULES and (*parts, "__init__") not in MODULES:
        parts = parts[:-1]
    return (*parts, "__init__") if parts not in MODULES else parts


@pytest.mark.parametrize("module", MODULES, ids=".".join)
def test_a_module_has_a_layer_and_imports_only_from_those_below(module):
    """The number of whatever a module imports is smaller than its own, but for files of its own package."""
    own = module[0]
    assert own in NUMBER, f"{own} has no layer"
    upwards = {
        ".".join(other)
        for other in imported(module)
        if (other[0] != own or len(module) == 1) and other != ("__init__",) and NUMBER[other[0]] >= NUMBER[own]
    }
    assert upwards == set()


@pytest.mark.parametrize("module", MODULES, ids=".".join)
def test_a_module_keeps_away_from_what_is_not_its_business(module):
    """The edges know no provider and no engine; a provider knows no caller's word, account or store."""
    found = {other[0] for other in imported(module)}
    assert found & FORBIDDEN.get(module[0], set()) == set()


@pytest.mark.parametrize("module", [module for module in MODULES if module[0] in ROWS], ids=".".join)
def test_rows_of_a_table_do_not_know_each_other(module):
    """No model imports a model and no provider a provider."""
    if module[1] == "__init__":
        return
    siblings = {other[1] for other in imported(module) if other[0] == module[0]}
    assert siblings - SHARED - {module[1]} == set()


def test_every_layer_is_there():
    """No layer names a module that does not exist."""
    assert {module[0] for module in MODULES} == set(NUMBER)
