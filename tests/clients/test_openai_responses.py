"""Programs that use OpenAI's Responses API get the enlarged picture as the result of its image_generation tool."""

from __future__ import annotations

import base64
import io
import json
import shutil
import subprocess
from pathlib import Path

import openai
import pytest
from PIL import Image

from fakes.pictures import is_the_photo

SIDE = 64
NODE = Path(__file__).parent / "node"
MODEL = "flux-vision-upscaler"


@pytest.fixture
def client(server):
    """The SDK with the key that it insists on."""
    with openai.OpenAI(api_key="any", base_url=f"{server.url}/v1", max_retries=0) as made:
        yield made


@pytest.fixture
def given(photo):
    """The input: a message of a user with a photo in it."""
    url = "data:image/png;base64," + base64.b64encode(photo.read_bytes()).decode()
    words = {"type": "input_text", "text": "Enlarge this, please."}
    return [{"role": "user", "content": [words, {"type": "input_image", "image_url": url, "detail": "auto"}]}]


def decoded(text: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(text)))


def test_the_python_sdk_gets_the_result(client, given, photo):
    """`image_generation_call` has the picture, `output_text` the sentence; the tool's parameters count."""
    tools = [{"type": "image_generation", "output_format": "webp", "size": "192x192"}]
    answer = client.responses.create(model=MODEL, input=given, tools=tools, tool_choice="required")
    call = next(item for item in answer.output if item.type == "image_generation_call")
    picture = decoded(call.result)
    assert picture.format == "WEBP"
    is_the_photo(picture, photo, (192, 192))
    assert answer.output_text.startswith("The picture is enlarged to 192 × 192 pixels.")
    assert (answer.status, answer.usage.total_tokens) == ("completed", 0)


def test_the_python_sdk_reads_a_stream(client, given, photo):
    """Its own accumulator builds the response of the events; a preview comes before the result."""
    tools = [{"type": "image_generation", "partial_images": 1}]
    with client.responses.stream(model=MODEL, input=given, tools=tools) as stream:
        previews = [event for event in stream if event.type == "response.image_generation_call.partial_image"]
        answer = stream.get_final_response()
    assert len(previews) == 1
    assert decoded(previews[0].partial_image_b64).size == (128, 128)
    is_the_photo(decoded(answer.output[0].result), photo, (128, 128))


def test_an_uploaded_picture_is_enlarged(client, photo):
    """`input_image` with the `file_id` of a file of the same key."""
    with photo.open("rb") as file:
        uploaded = client.files.create(file=file, purpose="vision")
    content = [{"type": "input_image", "file_id": uploaded.id, "detail": "auto"}]
    answer = client.responses.create(model=MODEL, input=[{"role": "user", "content": content}])
    is_the_photo(decoded(answer.output[0].result), photo, (128, 128))


def test_words_alone_are_answered(client):
    """A message without a picture gets a sentence."""
    answer = client.responses.create(model=MODEL, input="Hi")
    assert answer.output_text.startswith("I enlarge pictures: send one")


def test_an_earlier_response_is_refused(client):
    """Responses are not kept, and the SDK says which parameter asks for one."""
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.create(model=MODEL, input="Larger", previous_response_id="resp_1")
    assert caught.value.param == "previous_response_id"


def test_the_ai_sdk_gets_the_tools_result(server, photo):
    """`@ai-sdk/openai`: generateText and streamText with its tool imageGeneration."""
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    command = ["node", str(NODE / "chat.mjs"), "responses", f"{server.url}/v1", MODEL, str(photo)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    is_the_photo(decoded(found["result"]), photo, (128, 128))
    is_the_photo(decoded(found["streamed"]), photo, (128, 128))
    assert found["text"].startswith("The picture is enlarged to 128 × 128 pixels.")
    assert found["alone"].startswith("I enlarge pictures")
