"""LangChain and the command `llm` send a picture in a chat, and show the link of the enlarged one.

They have an environment of their own, because their requirements are not ours: the `bin` folder that
FLUXVISION_TEST_LANGCHAIN names, else `.langchain/bin` in the repository. `make clients` makes it.
"""

from __future__ import annotations

import base64
import io
import json
import os
import re
import subprocess
import urllib.request
from pathlib import Path

import pytest
from PIL import Image

from fakes.pictures import is_the_photo

SIDE = 64
BIN = Path(os.environ.get("FLUXVISION_TEST_LANGCHAIN") or Path(__file__).parents[2] / ".langchain" / "bin")
LINK = re.compile(r"!\[[^\]]+\]\((http[^)]+)\)")
CHAT = """
import base64, json, pathlib, sys
from langchain_openai import ChatOpenAI
base, photo = sys.argv[1:]
url = "data:image/png;base64," + base64.b64encode(pathlib.Path(photo).read_bytes()).decode()
content = [{"type": "text", "text": "Enlarge this."}, {"type": "image_url", "image_url": {"url": url}}]
message = {"role": "user", "content": content}
about = dict(model="flux-vision-upscaler", base_url=base, api_key="any", max_retries=0)
model = ChatOpenAI(**about)
tooled = ChatOpenAI(**about, use_responses_api=True).bind_tools([{"type": "image_generation"}])
result = next(part for part in tooled.invoke([message]).content if part["type"] == "image_generation_call")
streamed = "".join(chunk.content for chunk in model.stream([message]))
print(json.dumps({"texts": [model.invoke([message]).content, streamed], "result": result["result"]}))
"""

pytestmark = pytest.mark.skipif(not (BIN / "llm").is_file(), reason="LangChain is not installed: make clients")


def run(folder: Path, *command: str, **environment: str) -> str:
    quiet = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "OPENAI_API_KEY"}}
    done = subprocess.run(
        [BIN / command[0], *command[1:]], cwd=folder, env=quiet | environment,
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def linked(text: str) -> Image.Image:
    with urllib.request.urlopen(LINK.search(text)[1]) as response:  # noqa: S310, our own server
        return Image.open(io.BytesIO(response.read()))


def test_langchain_gets_text_with_the_picture(server, photo, tmp_path):
    """`ChatOpenAI.invoke` and `stream`: the content has the picture's link; by /responses the tool's result."""
    found = json.loads(run(tmp_path, "python", "-c", CHAT, f"{server.url}/v1", str(photo)))
    assert len(found["texts"]) == 2
    for text in found["texts"]:
        is_the_photo(linked(text), photo, (128, 128))
    is_the_photo(Image.open(io.BytesIO(base64.b64decode(found["result"]))), photo, (128, 128))


def test_llm_prints_the_link(server, photo, tmp_path):
    """`llm -m … -a photo.png` prints the answer with the picture's link."""
    model = {"model_id": "upscaler", "model_name": "flux-vision-upscaler", "api_base": f"{server.url}/v1"}
    (tmp_path / "extra-openai-models.yaml").write_text(json.dumps([{**model, "vision": True}]), encoding="utf-8")
    mine = {"LLM_USER_PATH": str(tmp_path), "OPENAI_API_KEY": "any"}
    text = run(tmp_path, "llm", "-m", "upscaler", "Enlarge this.", "-a", str(photo), **mine)
    is_the_photo(linked(text), photo, (128, 128))
