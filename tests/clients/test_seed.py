"""The three examples that the project started from run as they are, but for base URL and key."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from PIL import Image

from fakes.pictures import is_the_photo

SIDE = 256
"""Pixels of the photograph: 1024 is four times as many, one pass."""
NODE = Path(__file__).parent / "node"

CURL = """
curl -X POST \\
{base}/images/edits \\
-H "Authorization: Bearer $LUMENFALL_API_KEY" \\
-F "model=flux-vision-upscaler" \\
-F "image=@source.png" \\
-F "prompt=Add a starry night sky to this image" \\
-F "size=1024x1024"
"""

PYTHON = """
from openai import OpenAI
client = OpenAI(
api_key="YOUR_API_KEY",
base_url="{base}"
)
response = client.images.edit(
model="flux-vision-upscaler",
image=open("source.png", "rb"),
prompt="Add a starry night sky to this image",
size="1024x1024"
)
# {{ created: 1234567890, data: [{{ url: "https://...", revised_prompt: "..." }}] }}
print(response.data[0].url)
"""

JAVASCRIPT = """
import OpenAI from 'openai';
import fs from 'fs';
const client = new OpenAI({{
apiKey: 'YOUR_API_KEY',
baseURL: '{base}'
}});
const response = await client.images.edit({{
model: 'flux-vision-upscaler',
image: fs.createReadStream('source.png'),
prompt: 'Add a starry night sky to this image',
size: '1024x1024'
}});
// {{ created: 1234567890, data: [{{ url: "https://...", revised_prompt: "..." }}] }}
console.log(response.data[0].url);
"""


def fetched(url: str) -> Image.Image:
    with urllib.request.urlopen(url) as response:  # noqa: S310, our own server
        picture = Image.open(io.BytesIO(response.read()))
        picture.load()
        return picture


def run(command: list[str], folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_curl(server, photo):
    """The seed's curl command answers with a link to the picture, 1024 by 1024; no word guided the engine here."""
    answer = json.loads(run(["bash", "-c", CURL.format(base=f"{server.url}/openai/v1")], photo.parent))
    assert isinstance(answer["created"], int)
    assert "revised_prompt" not in answer["data"][0]
    is_the_photo(fetched(answer["data"][0]["url"]), photo, (1024, 1024))
    line = next(line for line in answer["metadata"]["normalization"] if line["parameter"] == "size")
    assert line["honoured"]


def test_python(server, photo):
    """The seed's Python example prints a link to the picture."""
    url = run([sys.executable, "-c", PYTHON.format(base=f"{server.url}/openai/v1")], photo.parent)
    is_the_photo(fetched(url), photo, (1024, 1024))


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_javascript(server, photo):
    """The seed's JavaScript example prints a link to the picture."""
    assert (NODE / "node_modules" / "openai").is_dir(), "npm install in tests/clients/node first"
    (photo.parent / "node_modules").symlink_to(NODE / "node_modules")
    script = photo.parent / "edit.mjs"
    script.write_text(JAVASCRIPT.format(base=f"{server.url}/openai/v1"), encoding="utf-8")
    is_the_photo(fetched(run(["node", script.name], photo.parent)), photo, (1024, 1024))
