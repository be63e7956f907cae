"""What is said about the weights is true of the files."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from pathlib import Path

import pytest

from fluxvision.core.images import SourceDamage
from fluxvision.engine.backends import registry, weight_files

ROOT = Path(__file__).parents[4]
SUFFIXES = {".bin", ".npz", ".param"}
FILES = sorted(path for path in weight_files.OWN.iterdir() if path.suffix in SUFFIXES)
NOTICED = re.compile(r"^ +(?P<name>\S+) +(?P<size>\d+) bytes\n +sha256 (?P<digest>[0-9a-f]{64})$", re.MULTILINE)
LISTED = re.compile(r"^\| `(?P<name>\S+)` \| (?P<size>\d+) \| `(?P<digest>[0-9a-f]{64})` \|$", re.MULTILINE)


@pytest.mark.parametrize(
    ("page", "pattern"),
    [(ROOT / "NOTICE", NOTICED), (weight_files.OWN / "README.md", LISTED)],
    ids=["NOTICE", "README"],
)
def test_every_weight_file_is_named_with_its_size_and_digest(page, pattern):
    """The page lists exactly the files that are there, with their sizes and sha256."""
    named = pattern.finditer(page.read_text("utf-8"))
    said = {one["name"]: (int(one["size"]), one["digest"]) for one in named if Path(one["name"]).suffix in SUFFIXES}
    found = {path.name: (path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest()) for path in FILES}
    assert said == found


def test_the_digests_that_are_verified_are_those_of_the_files():
    """Every file of this package is verified before it is loaded."""
    assert {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in FILES} == weight_files.DIGESTS


def test_the_licence_of_the_weights_is_there():
    """The full text of the one licence that is not the project's own is distributed with it."""
    text = (ROOT / "LICENSES" / "CC-BY-SA-4.0.txt").read_text("utf-8")
    assert "Attribution-ShareAlike 4.0 International Public License" in text


@pytest.mark.parametrize(
    ("name", "wanted", "damage", "used"),
    [
        ("span", (4.0, False), (0.0, 0.0), "span"),
        ("span", (4.0, False), (0.0, 1.0), "span-restored"),
        ("span", (4.0, False), (1.9, 0.5), "span-restored"),
        ("span", (4.0, False), (registry.NOISY, 1.0), "span"),
        ("span", (2.01, False), (0.0, 0.0), "span"),
        ("span", (2.0, False), (0.0, 0.0), "span-x2"),
        ("span", (1.5, False), (0.0, 1.0), "span-x2-restored"),
        ("span", (2.0, True), (0.0, 0.0), "span"),
        ("span", (2.0, False), None, "span-x2"),
        ("span-restored", (2.0, False), None, "span-x2-restored"),
        ("span", (4.0, False), None, "span"),
        ("span", (2.0, False), (registry.NOISY, 1.0), "span-x2"),
        ("realsr", (4.0, False), (0.0, 1.0), "realsr"),
        ("realsr", (2.0, False), (0.0, 0.0), "realsr"),
    ],
)
def test_a_source_and_a_factor_choose_a_row(name, wanted, damage, used):
    """The default engine has rows for detail up to factor 2 and for sources that lost compression alone.

    `wanted` is the factor and whether nothing but fidelity counts, `damage` the noise and the share of restoration.
    """
    found = None if damage is None else SourceDamage(damage[0], 75, 0.0, False, damage[1])
    assert registry.choose_variant(registry.BY_NAME[name], found, wanted[0], faithful=wanted[1]).name == used


@pytest.mark.parametrize(
    ("default", "restored"), [(registry.BACKENDS[0], registry.RESTORED), (registry.TWICE, registry.TWICE_RESTORED)]
)
def test_the_row_for_restored_sources_costs_the_same(default, restored):
    """Only its names and the weights of its detail network differ from the other row's, not the graph."""
    names = {"name": "", "title": "", "base": "", "detail": "", "restored": None, "twice": None}
    assert replace(default, **names) == replace(restored, **names)
    graphs = [weight_files.find(row.detail, None)[0].read_bytes() for row in (default, restored)]
    assert graphs[0] == graphs[1]
