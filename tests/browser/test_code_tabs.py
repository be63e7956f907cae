"""The code tabs: what is shown runs as copied, and is the request that the form describes."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from browser.steps import change, choose, tab

NODE = Path(__file__).parents[1] / "clients" / "node" / "node_modules"
COMMANDS = f"{Path(sys.executable).parent}{os.pathsep}/usr/local/bin{os.pathsep}/usr/bin{os.pathsep}/bin"
TRIPLE = (288, 192)


@pytest.fixture
def shown(open_page, photo):
    """Return the code of a tab for a picture that is to be three times larger."""
    page = open_page()
    choose(page, photo)
    change(page, scale_factor=3)
    tab(page, "Code")

    def of(name):
        tab(page, name)
        return page.get_by_role("region", name=f"{name} code").inner_text()

    return of


@pytest.fixture
def run(photo, tmp_path):
    """Run a command where the photo lies and return what it prints."""

    def of(*command):
        surroundings = {
            "PATH": COMMANDS,
            "HOME": str(tmp_path),
            "FLUXVISION_API_KEY": "any",
            "FLUXVISION_DATA_DIR": str(tmp_path / "data"),
        }
        done = subprocess.run(
            command, check=False, cwd=photo.parent, env=surroundings, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return of


def pictured(server, link) -> tuple[int, int]:
    """Return the size of the picture behind a link of the server."""
    assert link.startswith(server.url)
    return Image.open(io.BytesIO(server.get(link.removeprefix(server.url)).body)).size


def test_curl(shown, run, server):
    """The command as shown, run where the file lies, returns the link of a picture of the size asked for."""
    answer = json.loads(run("bash", "-c", shown("curl")))
    assert pictured(server, answer["data"][0]["url"]) == TRIPLE


def test_python(shown, run, server):
    """The program as shown prints such a link; its client is OpenAI's own."""
    assert pictured(server, run(sys.executable, "-c", shown("Python")).strip()) == TRIPLE


@pytest.mark.skipif(not (NODE / "openai").exists(), reason="OpenAI's client is not installed: make node")
def test_javascript(shown, run, server, photo):
    """The program as shown, saved under the name that the hint gives, prints such a link."""
    (photo.parent / "node_modules").symlink_to(NODE)
    (photo.parent / "upscale.mjs").write_text(shown("JavaScript"), encoding="utf-8")
    assert pictured(server, run("node", "upscale.mjs").strip()) == TRIPLE


def test_command_line(shown, run, photo):
    """The project's own command as shown writes a picture of the size asked for beside the file, without a server."""
    before = set(photo.parent.iterdir())
    run("bash", "-c", shown("CLI"))
    (made,) = [path for path in set(photo.parent.iterdir()) - before if path.suffix == ".png"]
    with Image.open(made) as picture:
        assert picture.size == TRIPLE


def test_code_follows_the_settings(shown):
    """All languages name the file and what differs from the defaults; the command has its own flags."""
    for name, words in (("Python", '"scale_factor": 3'), ("JavaScript", "scale_factor: 3"), ("CLI", "--scale 3")):
        code = shown(name)
        assert words in code
        assert "a photo.png" in code
