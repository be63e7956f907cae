"""What the public examples and tests of OpenAI's SDKs call works with their pictures, host and key replaced by ours."""

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
EVERYTHING = {
    "background": "transparent",
    "input_fidelity": "high",
    "model": "gpt-image-1.5",
    "n": 1,
    "output_compression": 100,
    "output_format": "png",
    "partial_images": 1,
    "prompt": "A cute baby sea otter wearing a beret",
    "quality": "high",
    "response_format": "url",
    "size": "256x256",
    "user": "user-1234",
}
"""The parameters of an edit that the SDKs' own tests give."""


@pytest.fixture
def client(server):
    """The SDK with the key that it insists on."""
    with openai.OpenAI(api_key="any", base_url=f"{server.url}/v1", max_retries=0) as made:
        yield made


@pytest.fixture
def azure(server):
    """The SDK as Azure's customers use it: the deployment is the model."""
    with openai.AzureOpenAI(
        azure_endpoint=server.url, api_key="any", api_version="2024-10-21", max_retries=0
    ) as made:  # fmt: skip
        yield made


def decoded(entry) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(entry.b64_json)))


def test_words_alone_are_refused_with_the_address_for_pictures(client):
    """The examples that make a picture of words get one sentence that says what this model does, streamed or not."""
    for given in ({"model": "dall-e-3"}, {"model": "gpt-image-1", "n": 1, "stream": True, "partial_images": 3}):
        with pytest.raises(openai.BadRequestError) as caught:
            client.images.generate(prompt="An astronaut lounging in a tropical resort in space", **given)
        assert caught.value.code == "image_required"
        assert "This model enlarges a picture" in caught.value.message


def test_azures_example_of_an_edit(azure, photo):
    """An edit of a deployment gives base64, in the size that was asked for."""
    with photo.open("rb") as file:
        answer = azure.images.edit(
            model="gpt-image-2", image=file, prompt="add a small red bow tie", size="256x256", quality="low", n=1
        )
    is_the_photo(decoded(answer.data[0]), photo, (256, 256))


def test_an_edit_with_every_parameter(client, photo):
    """All that the SDK's own tests of an edit give is accepted at once, with a mask."""
    mask = io.BytesIO()
    Image.new("RGBA", (SIDE, SIDE)).save(mask, "PNG")
    answer = client.images.edit(image=photo.read_bytes(), mask=mask.getvalue(), stream=False, **EVERYTHING)
    assert answer.metadata["size"] == "256x256"
    assert answer.data[0].url
    assert "background" in {line["parameter"] for line in answer.metadata["normalization"] if not line["honoured"]}


def test_an_edit_without_a_model(client, photo):
    """The SDK lets the model be left out: the default one is used."""
    with photo.open("rb") as file:
        assert client.images.edit(image=file, prompt="x").metadata["model"] == "flux-vision-upscaler"


def test_several_pictures(client, photo):
    """A list of pictures enlarges the first, and says so; with images_mode each of them."""
    files = [("one.png", photo.read_bytes()), ("two.png", photo.read_bytes())]
    first = client.images.edit(model="gpt-image-1", image=files, prompt="x")
    assert len(first.data) == 1
    assert first.warnings
    each = client.images.edit(model="gpt-image-1", image=files, prompt="x", extra_body={"images_mode": "each"})
    assert [decoded(entry).size for entry in each.data] == [(128, 128), (128, 128)]


def test_a_variation_with_every_parameter(client, photo):
    """The SDK's call for variations enlarges the picture."""
    with pytest.warns(DeprecationWarning, match="deprecated"):  # the SDK's own: OpenAI has no variations any more
        answer = client.images.create_variation(
            image=photo.read_bytes(), model="dall-e-2", n=1, response_format="b64_json", size="256x256", user="user-12"
        )
    is_the_photo(decoded(answer.data[0]), photo, (256, 256))


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_the_node_sdk(server, photo):
    """The Node SDK's calls: every parameter, a list, a variation, a stream, Azure's, and words alone."""
    assert (NODE / "node_modules" / "openai").is_dir(), "npm install in tests/clients/node first"
    command = ["node", str(NODE / "openai-examples.mjs"), server.url, str(photo), json.dumps(EVERYTHING)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "everything": ["256x256", "url"],
        "list": ["128x128", "b64_json"],
        "variation": ["128x128", "b64_json"],
        "stream": ["image_edit.partial_image", "image_edit.completed"],
        "azure": ["128x128", "b64_json"],
        "words": [400, "image_required"],
    }
