"""The documents say what the rows say, and everything public has its place in them."""

from __future__ import annotations

import re
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
import server_tables

from fluxvision.catalog.params import PARAMS
from fluxvision.core.openai_servers import RESERVED
from fluxvision.core.settings import SETTINGS
from fluxvision.engine import BACKENDS
from fluxvision.http.openapi_errors import error_kinds
from fluxvision.imaging import FORMATS
from fluxvision.providers.registry import PROVIDERS

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "docs" / "examples").iterdir())
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
LINK = re.compile(r"\]\((?!https?://)([^)#]*)(?:#([^)]+))?\)")
CODES = {kind.code for kind in error_kinds()}


@pytest.fixture(scope="module")
def generate():
    """The program that writes the blocks."""
    spec = spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def page(name):
    return (ROOT / name).read_text(encoding="utf-8")


def names(path):
    return path.relative_to(ROOT).as_posix()


def test_no_block_is_stale(generate):
    """Every marked block is what `make docs` would write."""
    assert [names(path) for path in generate.stale()] == []


def test_every_block_is_shown_somewhere(generate):
    """Nothing is generated for no page."""
    shown = {match["name"] for path in PAGES for match in generate.BLOCK.finditer(path.read_text(encoding="utf-8"))}
    assert set(generate.BLOCKS) <= shown


@pytest.mark.parametrize("row", PARAMS, ids=lambda row: row.name)
def test_a_parameter_has_its_place(row):
    """The page of the API and the README have it with its words; the page of the command line has its flag."""
    for name in ("README.md", "docs/api.md"):
        assert f"| `{row.name}` |" in page(name)
        assert row.help in page(name)
    if row.flag is not None:
        assert f"  {row.flag} " in page("docs/cli.md")


@pytest.mark.parametrize("row", SETTINGS, ids=lambda row: row.name)
def test_a_setting_has_its_place(row):
    """The page of the configuration has its variable and its words."""
    assert f"`{row.variable}`" in page("docs/configuration.md")
    assert row.help in page("docs/configuration.md")


@pytest.mark.parametrize("code", sorted(CODES))
def test_an_error_code_has_its_place(code):
    """The page of the API has it."""
    assert f"| `{code}` |" in page("docs/api.md")


def test_the_stand_in_engine_is_not_offered():
    """The tables have every format and every engine but the one that exists for tests."""
    assert all(row.label in server_tables.formats() for row in FORMATS)
    assert [row.name for row in BACKENDS if f"| `{row.name}` |" not in server_tables.engines()] == ["mock"]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_is_quoted_whole(path):
    """What the README shows is the file that can be run."""
    assert f"\n{path.read_text(encoding='utf-8').rstrip()}\n```" in page("README.md")


@pytest.mark.parametrize("path", PAGES, ids=names)
def test_links_lead_somewhere(path):
    """Every relative link names a file that is there, and a heading that it has."""
    for target, anchor in LINK.findall(path.read_text(encoding="utf-8")):
        found = (path.parent / target).resolve() if target else path
        assert found.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", found.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


def test_the_commands_of_the_readme_exist():
    """The README's commands are those of the Makefile and of the command line."""
    text = page("README.md")
    targets = set(re.findall(r"^([a-z-]+):", page("Makefile"), re.MULTILINE))
    assert set(re.findall(r"^make ([a-z-]+)$", text, re.MULTILINE)) <= targets
    assert "make check" in page(".ci/run")


def test_where_to_add_names_what_is_there():
    """Every file that the instructions name exists, and holds the table that they say is in it."""
    text = page("docs/architecture.md").partition("\n## Where to add\n")[2].partition("\n## ")[0]
    roots = (ROOT / "src" / "fluxvision", ROOT)
    paths = re.findall(r"`([\w/]+\.py)`", text)
    assert [path for path in paths if not any((root / path).is_file() for root in roots)] == []
    tables = re.findall(r"`([A-Z]+)`(?: \(| of )`([\w/]+\.py)`", text)
    assert len(tables) > 6
    lines = {path: (roots[0] / path).read_text(encoding="utf-8").splitlines() for _, path in tables}
    assert [name for name, path in tables if not any(re.match(rf"{name}\b", line) for line in lines[path])] == []


def test_no_server_can_have_the_name_of_a_provider_kind():
    """A row of the providers' table needs its name in RESERVED, which the settings check."""
    assert {row.name for row in PROVIDERS} == RESERVED
