"""LiteLLM's proxy in front of a real server: what of a request and of an answer comes through it, and what does not.

The proxy has an environment of its own, because its requirements are not ours: the `bin` folder that
FLUXVISION_TEST_LITELLM names, else `.litellm/bin` in the repository. `make clients` makes it.
"""

from __future__ import annotations

import base64
import io
import json
import os
import secrets
import subprocess
import time
import urllib.request
from pathlib import Path

import openai
import pytest
from PIL import Image

from fakes.pictures import is_the_photo
from fakes.server import free_port

BIN = Path(os.environ.get("FLUXVISION_TEST_LITELLM") or Path(__file__).parents[2] / ".litellm" / "bin")
PATIENCE = 90.0
"""Seconds for a start; it takes 12 on an idle machine."""
QUIET = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS": "True",
    "LITELLM_LOCAL_AUTOROUTER_PRESETS": "True",
    "LITELLM_LOCAL_BLOG_POSTS": "True",
    "LITELLM_LOCAL_POLICY_TEMPLATES": "True",
    "LITELLM_TELEMETRY": "False",
}
"""Nothing is fetched from elsewhere, and nothing is told to anybody."""

pytestmark = pytest.mark.skipif(not (BIN / "litellm").is_file(), reason="LiteLLM is not installed: make clients")


def answers(port: int) -> bool:
    """Whether the proxy says that it lives."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/liveliness", timeout=5) as response:
            return response.status == 200
    except OSError:
        return False


@pytest.fixture(scope="module")
def proxy(server, tmp_path_factory):
    """LiteLLM with one model, `upscaler`, which is our server's: its base URL and its key."""
    folder, port, key = tmp_path_factory.mktemp("litellm"), free_port(), f"sk-{secrets.token_hex(16)}"
    ours = {"model": "openai/flux-vision-upscaler", "api_base": f"{server.url}/openai/v1", "api_key": "any"}
    settings = {
        "model_list": [
            {"model_name": "upscaler", "litellm_params": ours},
            {"model_name": "upscaler-for-edits", "litellm_params": ours, "model_info": {"mode": "image_edit"}},
        ],
        "litellm_settings": {"num_retries": 0},
        "router_settings": {"disable_cooldowns": True},
        "general_settings": {"master_key": key},
    }
    (folder / "config.yaml").write_text(json.dumps(settings), encoding="utf-8")  # JSON is YAML
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "LITELLM_"))}
    command = [str(BIN / "litellm"), "--config", "config.yaml", "--host", "127.0.0.1", "--port", str(port)]
    log = folder / "log"
    with log.open("wb") as file:
        process = subprocess.Popen(command, cwd=folder, env=environment | QUIET, stdout=file, stderr=file)
    try:
        deadline = time.monotonic() + PATIENCE
        while not answers(port):
            assert process.poll() is None, log.read_text(encoding="utf-8")
            assert time.monotonic() < deadline, log.read_text(encoding="utf-8")
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/v1", key
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@pytest.fixture
def client(proxy):
    """The SDK, which knows the proxy only."""
    base, key = proxy
    with openai.OpenAI(api_key=key, base_url=base, max_retries=0) as made:
        yield made


@pytest.fixture
def direct(server):
    """The SDK without the proxy between."""
    with openai.OpenAI(api_key="any", base_url=f"{server.url}/openai/v1", max_retries=0) as made:
        yield made


def edit(client, photo, model="upscaler", **fields):
    with photo.open("rb") as file:
        return client.images.edit(model=model, image=file, prompt="", **fields)


def opened(answer) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(answer.data[0].b64_json)))


def test_the_picture_has_the_size_that_was_asked_for(client, photo):
    """`size`, which the SDK knows, gives the photo in exactly those pixels."""
    picture = opened(edit(client, photo, size="512x512", response_format="b64_json"))
    assert picture.format == "PNG"
    is_the_photo(picture, photo, (512, 512))


def test_parameters_that_openai_has_not_come_through(client, direct, photo):
    """Factor, creativity, seed and format arrive: the bytes are those that the server gives when asked directly."""
    given = {"scale_factor": 1.5, "creativity": 1, "seed": 7, "output_format": "webp"}
    through = edit(client, photo, response_format="b64_json", extra_body=given)
    plain = edit(direct, photo, "flux-vision-upscaler", response_format="b64_json", extra_body=given)
    picture = opened(through)
    assert (picture.format, picture.size) == ("WEBP", (192, 192))
    assert through.data[0].b64_json == plain.data[0].b64_json
    faithful = edit(client, photo, response_format="b64_json", extra_body={**given, "creativity": 0})
    assert faithful.data[0].b64_json != through.data[0].b64_json


def test_a_mask_comes_through(client, direct, photo):
    """The mask is a file of its own, and counts as it does directly."""
    stream = io.BytesIO()
    mask = Image.new("RGBA", (128, 128), (0, 0, 0, 255))
    mask.paste((0, 0, 0, 0), (64, 0, 128, 128))
    mask.save(stream, "PNG")
    fields = {"mask": ("mask.png", stream.getvalue()), "response_format": "b64_json", "extra_body": {"creativity": 1}}
    through, plain = edit(client, photo, **fields), edit(direct, photo, "flux-vision-upscaler", **fields)
    assert through.data[0].b64_json == plain.data[0].b64_json


def test_versions_come_through(client, photo):
    """n=2 gives two pictures that are not the same."""
    answer = edit(client, photo, n=2, response_format="b64_json", extra_body={"creativity": 1})
    first, second = (entry.b64_json for entry in answer.data)
    assert first != second


def test_a_link_is_our_own(client, server, photo):
    """A link leads to our server, past the proxy, and is the picture."""
    url = edit(client, photo).data[0].url
    assert url.startswith(f"{server.url}/media/")
    with urllib.request.urlopen(url) as response:  # noqa: S310, our own server
        is_the_photo(Image.open(io.BytesIO(response.read())), photo, (256, 256))


def test_its_health_check_finds_us_healthy(proxy, server):
    """It asks by /chat/completions, which is answered with a sentence; where `model_info` says so, by an edit."""
    base, key = proxy
    health = base.removesuffix("/v1") + "/health"
    request = urllib.request.Request(health, headers={"Authorization": f"Bearer {key}"})  # noqa: S310
    with urllib.request.urlopen(request) as response:  # noqa: S310, a proxy of this test
        found = json.load(response)
    assert (found["healthy_count"], found["unhealthy_count"]) == (2, 0), found["unhealthy_endpoints"]
    assert {one["api_base"] for one in found["healthy_endpoints"]} == {f"{server.url}/openai/v1"}


def test_a_chat_comes_through(client, photo):
    """The message keeps its picture, whole and streamed."""
    url = "data:image/png;base64," + base64.b64encode(photo.read_bytes()).decode()
    messages = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]
    message = client.chat.completions.create(model="upscaler", messages=messages).choices[0].message
    content = base64.b64decode(message.images[0]["image_url"]["url"].partition(",")[2])
    is_the_photo(Image.open(io.BytesIO(content)), photo, (256, 256))
    chunks = client.chat.completions.create(model="upscaler", messages=messages, stream=True)
    text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    assert text.partition("\n")[0] == message.content.partition("\n")[0]


def test_an_error_keeps_its_status_and_message(client, photo):
    """A wrong factor is 400 with our words inside; `param` survives only in them."""
    with pytest.raises(openai.BadRequestError) as caught:
        edit(client, photo, extra_body={"scale_factor": 19})
    assert caught.value.status_code == 400
    assert "scale_factor: 19 is not a number from 1 to 16." in caught.value.message
    assert caught.value.type == "invalid_request_error"
    assert caught.value.param is None


def test_what_was_done_is_told_in_headers_only(client, photo):
    """LiteLLM drops `metadata`, so the receipt is lost; our headers come through, each with a prefix."""
    with photo.open("rb") as file:
        raw = client.images.with_raw_response.edit(
            model="upscaler", image=file, prompt="", response_format="b64_json"
        )  # fmt: skip
    assert getattr(raw.parse(), "metadata", None) is None
    assert raw.headers["llm_provider-x-fluxvision-provider"] == "embedded"
    assert raw.headers["llm_provider-x-fluxvision-request-id"].startswith("req_")


def test_several_pictures_come_through(client, photo):
    """A list enlarges the first, as it does directly."""
    files = [("one.png", photo.read_bytes()), ("two.png", photo.read_bytes())]
    answer = client.images.edit(model="upscaler", image=files, prompt="", response_format="b64_json")
    assert [opened(answer).size, len(answer.data)] == [(256, 256), 1]
