"""OpenAI's Python SDK with Azure's client, and with base URLs as people write them."""

from __future__ import annotations

import base64
import io

import openai
import pytest
from PIL import Image

from fakes.pictures import is_the_photo

SIDE = 64
VERSION = "2025-04-01-preview"


def edit(client, photo, model="gpt-image-1"):
    """Return the picture that the client gets for the photo."""
    with photo.open("rb") as file:
        answer = client.images.edit(model=model, image=file, prompt="x")
    return Image.open(io.BytesIO(base64.b64decode(answer.data[0].b64_json)))


@pytest.mark.parametrize("deployment", [None, "gpt-image-1"])
def test_azures_client_edits(server, photo, deployment):
    """`AzureOpenAI` is served with the model in the path, from the body or as its deployment."""
    with openai.AzureOpenAI(
        azure_endpoint=server.url, azure_deployment=deployment, api_key="any", api_version=VERSION, max_retries=0
    ) as client:
        is_the_photo(edit(client, photo), photo, (2 * SIDE, 2 * SIDE))


def test_azures_client_lists_models(server):
    """It asks below /openai, without a version."""
    with openai.AzureOpenAI(azure_endpoint=server.url, api_key="any", api_version=VERSION, max_retries=0) as client:
        assert "flux-vision-upscaler" in [model.id for model in client.models.list()]


@pytest.mark.parametrize("base", ["", "/", "/v1/", "/openai", "/openai/v1/", "//v1//", "/v1/v1"])
def test_any_base_url_is_served(server, photo, base):
    """With or without /v1, with slashes too many: edits and the list of models are there."""
    with openai.OpenAI(base_url=server.url + base, api_key="any", max_retries=0) as client:
        assert "flux-vision-upscaler" in [model.id for model in client.models.list()]
        is_the_photo(edit(client, photo), photo, (2 * SIDE, 2 * SIDE))


def test_azures_v1_is_served(server, photo):
    """Azure's newer API is OpenAI's below /openai/v1/, with a version in the query."""
    query = {"api-version": "preview"}
    with openai.OpenAI(
        base_url=f"{server.url}/openai/v1/", api_key="any", default_query=query, max_retries=0
    ) as client:
        is_the_photo(edit(client, photo), photo, (2 * SIDE, 2 * SIDE))


def test_a_wrong_base_url_is_told_the_right_one(server, photo):
    """The SDK's error has the whole address."""
    with (
        openai.OpenAI(base_url=f"{server.url}/v2", api_key="any", max_retries=0) as client,
        pytest.raises(openai.NotFoundError, match=f"{server.url}/v1/images/edits"),
    ):
        edit(client, photo)
