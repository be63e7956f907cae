"""Every command and program in the documents runs as it is copied, or says why it cannot.

A block of bash, Python or JavaScript is run, in a folder with the pictures that the documents speak of, against a real
server. One that cannot run has a comment before it: `<!-- not run: the reason -->`.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
NODE = Path(__file__).parent / "node" / "node_modules"
BLOCK = re.compile(
    r"(?:<!-- not run: (?P<why>[^>]+) -->\s*)?^```(?P<language>\w*)[^\n]*\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL
)
SIDE = 128
"""Pixels of the photograph: the size that examples ask for is four times as many, one pass."""
SMALLER = {"1024x1024": "512x512", "1920x1080": "960x540"}
"""Sizes in the documents, and those that are asked for here, which take a quarter of the time."""
KEY = "$FLUXVISION_API_KEY"
ADDRESS = "http://127.0.0.1:8000"
SHOWN = {"text", "json", "ini", "toml", "yaml", "dockerfile", "nginx", "diff"}
"""Languages of what is read or copied into a file, and not run."""


@dataclass(frozen=True, slots=True)
class Snippet:
    """A block of code: where it stands, in which language, and why it is not run."""

    page: str
    number: int
    language: str
    code: str
    why: str


def snippets() -> list[Snippet]:
    """Return the blocks of all documents, in their order."""
    return [
        Snippet(
            path.relative_to(ROOT).as_posix(), number, found["language"], found["code"], (found["why"] or "").strip()
        )
        for path in PAGES
        for number, found in enumerate(BLOCK.finditer(path.read_text(encoding="utf-8")), 1)
    ]


ALL = snippets()
RUNNABLE = [one for one in ALL if one.language not in SHOWN and not one.why]
FIRST = next(one for one in RUNNABLE if one.page == "README.md" and "examples/coffee.jpg" in one.code)
"""What a newcomer runs first."""


def named(one: Snippet) -> str:
    return f"{one.page}:{one.number}"


@pytest.fixture
def folder(photo):
    """A folder with every picture that the documents name."""
    place = photo.parent
    with Image.open(photo) as picture:
        picture.resize((240, 135)).save(place / "photo.jpg", quality=92)  # four times as large it is 960x540
        (place / "photos").mkdir()
        picture.resize((64, 64)).save(place / "photos" / "one.png")
    shutil.copytree(ROOT / "examples", place / "examples")
    with Image.open(ROOT / "examples" / "coffee.jpg") as picture:
        picture.reduce(3).save(place / "examples" / "coffee.jpg")
    if NODE.is_dir():
        (place / "node_modules").symlink_to(NODE)
    return place


def run(one: Snippet, folder: Path, url: str) -> str:
    """Run a block as a reader would, but for the server's port and large sizes; return what it prints."""
    code = one.code.replace(ADDRESS, url)
    for large, small in SMALLER.items():
        code = code.replace(large, small)
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("FLUXVISION_", "FAL_"))}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    if KEY in code:
        environment[KEY.removeprefix("$")] = "any"
    if one.language == "javascript":
        (folder / "snippet.mjs").write_text(code, encoding="utf-8")
    commands = {
        "bash": ["bash", "-euo", "pipefail", "-c", code],
        "python": [sys.executable, "-c", code],
        "javascript": ["node", "snippet.mjs"],
    }
    done = subprocess.run(
        commands[one.language], cwd=folder, env=environment, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_block_is_run_or_says_why_not():
    """No language is unknown, no reason is empty, and each kind of program is among those that run."""
    assert {one.language for one in ALL} <= SHOWN | {"bash", "python", "javascript"}
    assert all(one.language not in SHOWN for one in ALL if one.why)
    assert {one.language for one in RUNNABLE} == {"bash", "python", "javascript"}


@pytest.mark.parametrize("one", [one for one in RUNNABLE if one is not FIRST], ids=named)
def test_a_block_runs(server, folder, one):
    """It ends without an error, and whatever link it prints opens a picture."""
    if one.language == "javascript" and shutil.which("node") is None:
        pytest.skip("node is not installed")
    printed = run(one, folder, server.url)
    for link in re.findall(rf"{server.url}/media/[\w.?=&-]+", printed):
        with urllib.request.urlopen(link) as response:  # noqa: S310, our own server
            assert response.headers["content-type"].startswith("image/")


def test_what_the_readme_promises(server, folder):
    """The first command writes the file that the README names."""
    run(FIRST, folder, server.url)
    with (
        Image.open(folder / "examples" / "coffee@2x.png") as result,
        Image.open(folder / "examples" / "coffee.jpg") as own,
    ):
        assert result.size == (2 * own.width, 2 * own.height)
