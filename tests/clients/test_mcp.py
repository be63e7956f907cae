"""MCP with the clients of the official SDKs: over streamable HTTP, and the command on standard input."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from PIL import Image

from fakes.server import TESTS, Server

SIDE = 64
KEY = "a-key-of-sixteen-characters"
MODES = ("auto", "legacy")
NODE = Path(__file__).parent / "node"
HELLO = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "a", "version": "1"}},
}


@pytest.fixture(scope="module")
def keyed(tmp_path_factory):
    """A server that needs a key."""
    folder = tmp_path_factory.mktemp("keyed") / "data"
    with Server(folder, settings={"api_keys": KEY}, module=("fluxvision", "serve")) as running:
        yield running


@asynccontextmanager
async def over_http(url, mode, key=""):
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=60) as http,
        Client(streamable_http_client(f"{url}/mcp", http_client=http), mode=mode) as client,
    ):
        yield client


@asynccontextmanager
async def on_stdio(tmp_path, *arguments, mode="auto"):
    environment = {**os.environ, "PYTHONPATH": str(TESTS.parent / "src"), "FLUXVISION_HISTORY": "false"}
    command = StdioServerParameters(
        command=sys.executable, args=["-m", "fluxvision", "mcp", *arguments], env=environment, cwd=tmp_path
    )
    async with Client(command, mode=mode) as client:
        yield client


def encoded(photo):
    return base64.b64encode(photo.read_bytes()).decode()


@pytest.mark.parametrize("mode", MODES)
async def test_over_http(keyed, photo, mode):
    """All three tools, progress and the resource, with the key that the client sends."""
    seen = []

    async def progress(done, total, _message):
        seen.append((done, total))

    async with over_http(keyed.url, mode, KEY) as client:
        assert [tool.name for tool in (await client.list_tools()).tools] == ["upscale", "quote", "models"]
        quote = await client.call_tool("quote", {"image": encoded(photo), "scale_factor": 2})
        assert quote.structured_content["size"] == "128x128"
        answer = await client.call_tool(
            "upscale", {"image": encoded(photo), "scale_factor": 2}, progress_callback=progress
        )
        assert [part.type for part in answer.content] == ["text", "image", "resource_link"]
        shown = base64.b64decode(answer.content[1].data)
        blob = (await client.read_resource(answer.content[2].uri)).contents[0]
        assert base64.b64decode(blob.blob) == shown
        link = answer.structured_content["pictures"][0]["url"]
        models = await client.call_tool("models", {})
    assert httpx2.get(link).content == shown
    assert seen[-1][0] == seen[-1][1]
    assert "flux-vision-upscaler" in models.content[0].text
    assert answer.structured_content["metadata"]["provider"] == "embedded"


async def test_a_strict_request_is_refused_with_the_apis_words(keyed, photo):
    """A tool error that names the parameter."""
    async with over_http(keyed.url, "auto", KEY) as client:
        answer = await client.call_tool("upscale", {"image": encoded(photo), "prompt": "a cat", "strict": True})
    assert answer.is_error
    assert answer.structured_content["error"]["param"] == "prompt"


@pytest.mark.parametrize("mode", MODES)
async def test_over_http_without_a_key(keyed, mode):
    """The client cannot connect."""
    with pytest.raises(Exception, match=r"401|API key|unhandled errors"):
        async with over_http(keyed.url, mode):
            pass


@pytest.mark.parametrize("mode", MODES)
async def test_on_stdio(photo, tmp_path, mode):
    """The command makes pictures in its own process: a file becomes a file, and the client can read the resource."""
    target = tmp_path / "large.webp"
    async with on_stdio(tmp_path, mode=mode) as client:
        answer = await client.call_tool("upscale", {"image": str(photo), "output_path": str(target)})
        listed = (await client.list_resources()).resources
        blob = (await client.read_resource(listed[0].uri)).contents[0]
    assert not answer.is_error, answer.content[0].text
    assert base64.b64decode(blob.blob) == target.read_bytes()
    with Image.open(target) as image:
        assert (image.format, image.size) == ("WEBP", (128, 128))


def test_a_signal_ends_the_command(tmp_path):
    """Ctrl-C ends it although standard input is open, and nothing but the protocol is on standard output."""
    command = [sys.executable, "-m", "fluxvision", "mcp"]
    environment = {**os.environ, "PYTHONPATH": str(TESTS.parent / "src")}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, env=environment, cwd=tmp_path) as process:
        process.stdin.write(json.dumps(HELLO).encode() + b"\n")
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["result"]["serverInfo"]["name"] == "fluxvision"
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
        assert process.stdout.read() == b""


async def test_on_stdio_with_a_server(keyed, photo, tmp_path):
    """With --server another server makes the picture, of the file that this process sends, with the key."""
    target = tmp_path / "large.png"
    async with on_stdio(tmp_path, "--server", f"{keyed.url}/v1", "--api-key", KEY) as client:
        answer = await client.call_tool("upscale", {"image": str(photo), "output_path": str(target)})
    assert not answer.is_error, answer.content[0].text
    assert answer.structured_content["pictures"][0]["url"].startswith(keyed.url)
    with Image.open(target) as image:
        assert image.size == (128, 128)


async def test_on_stdio_with_a_server_that_is_not_there(photo, tmp_path):
    """One sentence, as a tool error; the client goes on."""
    async with on_stdio(tmp_path, "--server", "http://127.0.0.1:9") as client:
        answer = await client.call_tool("upscale", {"image": str(photo)})
    assert answer.is_error
    assert answer.content[0].text.startswith("The server cannot be reached")


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
@pytest.mark.parametrize("place", ["http", "stdio"])
def test_typescript(keyed, photo, place, tmp_path):
    """The SDK for TypeScript gets the same from both."""
    assert (NODE / "node_modules" / "@modelcontextprotocol").is_dir(), "npm install in tests/clients/node first"
    target = [f"{keyed.url}/mcp"] if place == "http" else [sys.executable, "-m", "fluxvision", "mcp"]
    done = subprocess.run(
        ["node", NODE / "mcp.mjs", photo, KEY, *target],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(TESTS.parent / "src")},
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["tools"] == ["upscale", "quote", "models"]
    text, shown, link = found["result"]["content"]
    assert text["text"].startswith("Enlarged to 128x128 (PNG): shown here")
    assert found["contents"] == [{"uri": link["uri"], "mimeType": "image/png", "blob": shown["data"]}]
    assert found["refused"]["isError"]
    assert found["refused"]["structuredContent"]["error"]["param"] == "scale_factor"
    assert found["progress"]
