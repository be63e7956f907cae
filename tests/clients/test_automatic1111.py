"""webuiapi, the Python client of AUTOMATIC1111's web UI, against a real server: its upscaling calls, unchanged."""

from __future__ import annotations

import pytest
import webuiapi
from PIL import Image

from fakes.server import Server

SIDE = 64
KEY = "a-key-of-sixteen-characters"


@pytest.fixture(scope="module")
def keyed(tmp_path_factory):
    """A server that needs a key."""
    folder = tmp_path_factory.mktemp("keyed") / "data"
    with Server(folder, settings={"api_keys": KEY}, module=("fluxvision", "serve")) as running:
        yield running


@pytest.fixture
def api(keyed):
    """The client, with the key as the password."""
    client = webuiapi.WebUIApi(host="127.0.0.1", port=keyed.port, username="me", password=KEY)
    with client.session:
        yield client


def test_one_picture(api, photo):
    """By a factor, with an upscaler of its list."""
    with Image.open(photo) as image:
        result = api.extra_single_image(image=image, upscaler_1=webuiapi.Upscaler.ESRGAN_4x, upscaling_resize=1.5)
    assert result.image.size == (96, 96)
    assert result.info.startswith("<p>Enlarged to 96x96 by embedded/")


def test_to_a_size(api, photo):
    """To a size of another shape, cropped as the web UI does."""
    with Image.open(photo) as image:
        result = api.extra_single_image(image=image, resize_mode=1, upscaling_resize_w=128, upscaling_resize_h=96)
    assert result.image.size == (128, 96)


def test_several_pictures(api, photo):
    """A batch, in its order."""
    with Image.open(photo) as image:
        result = api.extra_batch_images([image, image.crop((0, 0, 48, 32))], upscaler_1="span", upscaling_resize=2)
    assert [picture.size for picture in result.images] == [(128, 128), (96, 64)]


def test_the_upscalers(api):
    """Names that can be sent back."""
    assert [row["name"] for row in api.get_upscalers()][:2] == ["None", "span"]
    assert api.get_latent_upscale_modes() == []


def test_without_the_key(keyed, photo):
    """The client raises with the error of the API."""
    client = webuiapi.WebUIApi(host="127.0.0.1", port=keyed.port)
    with client.session, Image.open(photo) as image, pytest.raises(RuntimeError, match="No API key was sent"):
        client.extra_single_image(image=image)
