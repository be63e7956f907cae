"""What is said about the weights is true of the files."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from pathlib import Path

import pytest

from fluxvision.core.images import SourceDamage
from fluxvision.engine.backends import registry

ROOT = Path(__file__).parents[4]
SUFFIXES = {".bin", ".npz", ".param"}
FILES = sorted(path for path in registry.OWN.iterdir() if path.suffix in SUFFIXES)
NOTICED = re.compile(r"^ +(?P<name>\S+) +(?P<size>\d+) bytes\n +sha256 (?P<digest>[0-9a-f]{64})$", re.MULTILINE)
LISTED = re.compile(r"^\| `(?P<name>\S+)` \| (?P<size>\d+) \| `(?P<digest>[0-9a-f]{64})` \|$", re.MULTILINE)


@pytest.mark.parametrize(
    ("page", "pattern"), [(ROOT / "NOTICE", NOTICED), (registry.OWN / "README.md", LISTED)], ids=["NOTICE", "README"]
)
def test_every_weight_file_is_named_with_its_size_and_digest(page, pattern):
    """The page lists exactly the files that are there, with their sizes and sha256."""
    named = pattern.finditer(page.read_text("utf-8"))
    said = {one["name"]: (int(one["size"]), one["digest"]) for one in named if Path(one["name"]).suffix in SUFFIXES}
    found = {path.name: (path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest()) for path in FILES}
    assert said == found


def test_the_digests_that_are_verified_are_those_of_the_files():
    """Every file of this package is verified before it is loaded."""
    assert {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in FILES} == registry.DIGESTS


def test_the_licence_of_the_weights_is_there():
    """The full text of the one licence that is not the project's own is distributed with it."""
    text = (ROOT / "LICENSES" / "CC-BY-SA-4.0.txt").read_text("utf-8")
    assert "Attribution-ShareAlike 4.0 International Public License" in text


@pytest.mark.parametrize(
    ("name", "noise", "restored", "used"),
    [
        ("span", 0.0, 0.0, "span"),
        ("span", 0.0, 1.0, "span-restored"),
        ("span", 1.9, 0.5, "span-restored"),
        ("span", registry.NOISY, 1.0, "span"),
        ("realsr", 0.0, 1.0, "realsr"),
    ],
)
def test_a_restored_source_has_a_row_of_its_own(name, noise, restored, used):
    """The default engine has another row for sources that lost compression alone, the others have none."""
    damage = SourceDamage(noise, 75, 0.0, False, restored)
    assert registry.row_for_source(registry.BY_NAME[name], damage).name == used


def test_the_row_for_restored_sources_costs_the_same():
    """Only its names and the weights of its detail network differ from the default engine's, not the graph."""
    names = {"name": "", "title": "", "detail": "", "restored": None}
    assert replace(registry.BACKENDS[0], **names) == replace(registry.RESTORED, **names)
    default, restored = (registry.weight_files(row.detail, None) for row in (registry.BACKENDS[0], registry.RESTORED))
    assert default[0].read_bytes() == restored[0].read_bytes()
