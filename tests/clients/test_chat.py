"""Programs that talk to language models send a picture in a chat, and get it enlarged in the answer."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import subprocess
import urllib.request
from pathlib import Path

import openai
import pytest
from PIL import Image

from fakes.pictures import is_the_photo

SIDE = 64
NODE = Path(__file__).parent / "node"
MODEL = "flux-vision-upscaler"
LINK = re.compile(r"!\[[^\]]+\]\((http[^)]+)\)")


@pytest.fixture
def client(server):
    """The SDK with the key that it insists on."""
    with openai.OpenAI(api_key="any", base_url=f"{server.url}/v1", max_retries=0) as made:
        yield made


@pytest.fixture
def messages(photo):
    """A message of a user with a photo in it."""
    url = "data:image/png;base64," + base64.b64encode(photo.read_bytes()).decode()
    return [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Enlarge this, please."},
                {"type": "image_url", "image_url": {"url": url}},
            ],
        }
    ]


def decoded(url: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))


def linked(text: str) -> Image.Image:
    """Return the picture of the link in a text."""
    with urllib.request.urlopen(LINK.search(text)[1]) as response:  # noqa: S310, our own server
        return Image.open(io.BytesIO(response.read()))


def test_the_python_sdk_gets_a_message_with_the_picture(client, messages, photo):
    """Text with a link, `images` as OpenRouter has them; sampling words do not disturb, our parameters count."""
    answer = client.chat.completions.create(
        model=MODEL, messages=messages, temperature=0.7, max_tokens=100, extra_body={"scale_factor": 3}
    )
    message = answer.choices[0].message
    is_the_photo(decoded(message.images[0]["image_url"]["url"]), photo, (192, 192))
    is_the_photo(linked(message.content), photo, (192, 192))
    assert (answer.choices[0].finish_reason, answer.model, answer.usage.total_tokens) == ("stop", MODEL, 0)
    assert [line for line in answer.metadata["normalization"] if line["parameter"] == "temperature"] == []


def test_the_python_sdk_reads_a_stream(client, messages, photo):
    """Its own accumulator builds the message of the chunks."""
    with client.chat.completions.stream(
        model=MODEL, messages=messages, stream_options={"include_usage": True}
    ) as stream:
        images = [
            image
            for event in stream
            if event.type == "chunk"
            for choice in event.chunk.choices
            for image in getattr(choice.delta, "images", None) or []
        ]
        answer = stream.get_final_completion()
    is_the_photo(decoded(images[0]["image_url"]["url"]), photo, (128, 128))
    is_the_photo(linked(answer.choices[0].message.content), photo, (128, 128))
    assert (answer.choices[0].finish_reason, answer.usage.total_tokens) == ("stop", 0)


def test_words_alone_are_answered(client):
    """What tests a connection sends no picture, and gets an answer."""
    answer = client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "Hi"}])
    assert answer.choices[0].message.content.startswith("I enlarge pictures: send one")


def test_an_error_names_the_place(client):
    """The SDK raises BadRequestError for a picture that is none, also where a stream was asked for."""
    broken = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]}]
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError) as caught:
            client.chat.completions.create(model=MODEL, messages=broken, stream=stream)
        assert caught.value.param == "messages[0].content[0]"


@pytest.fixture
def run_node(server, photo):
    """Run a case of chat.mjs with the photo; return what it prints."""
    if shutil.which("node") is None:
        pytest.skip("node is not installed")

    def run(case: str) -> dict:
        command = ["node", str(NODE / "chat.mjs"), case, f"{server.url}/v1", MODEL, str(photo)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


def test_the_node_sdk_gets_message_and_stream(run_node, photo):
    """`openai` of Node: the answer's picture, the text of a stream, and the result of a response."""
    found = run_node("openai")
    is_the_photo(decoded("," + found["result"]), photo, (128, 128))
    is_the_photo(decoded(found["image"]), photo, (128, 128))
    is_the_photo(linked(found["streamed"]), photo, (128, 128))


def test_the_ai_sdk_gets_text_with_the_picture(run_node, photo):
    """`@ai-sdk/openai-compatible`: generateText and streamText read the text, whose link is the picture."""
    found = run_node("openai-compatible")
    is_the_photo(linked(found["text"]), photo, (128, 128))
    is_the_photo(linked(found["streamed"]), photo, (128, 128))
    assert (found["finish"], found["alone"][:17]) == ("stop", "I enlarge picture")
