"""The Vercel AI SDK's two providers that speak to a server like ours edit a real photo."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from fakes.pictures import is_the_photo

NODE = Path(__file__).parent / "node"
PACKAGES = ("ai", "@ai-sdk/openai", "@ai-sdk/openai-compatible")

pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")


@pytest.fixture
def edit(server, photo):
    """Call generateImage; return what it gave beside the pictures, or what it threw."""
    for package in PACKAGES:
        assert (NODE / "node_modules" / package).is_dir(), "npm install in tests/clients/node first"

    def run(package: str, model: str, **options):
        base = f"{server.url}/openai/v1"
        command = ["node", str(NODE / "ai-sdk.mjs"), package, base, model, str(photo), json.dumps(options)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


def picture(photo: Path, index: int = 0) -> Image.Image:
    return Image.open(photo.with_name(str(index)))


def test_the_compatible_provider_follows_our_link(edit, photo):
    """`@ai-sdk/openai-compatible` asks for no format, gets a link, and hands out the picture behind it."""
    assert edit("openai-compatible", "flux-vision-upscaler") == {"types": ["image/png"], "warnings": []}
    is_the_photo(picture(photo), photo, (256, 256))


def test_the_size_is_the_one_asked_for(edit, photo):
    """`size` of generateImage gives exactly those pixels."""
    edit("openai-compatible", "flux-vision-upscaler", size="512x512")
    is_the_photo(picture(photo), photo, (512, 512))


def test_provider_options_are_our_parameters(edit, photo):
    """What stands under the provider's name in providerOptions arrives as fields of the form."""
    given = {"scale_factor": 1.5, "creativity": 0, "output_format": "webp", "response_format": "b64_json"}
    answer = edit("openai-compatible", "flux-vision-upscaler", providerOptions={"fluxvision": given})
    assert answer["types"] == ["image/webp"]
    is_the_photo(picture(photo), photo, (192, 192))


def test_versions_come_in_one_answer(edit, photo):
    """`n` gives that many pictures that are not the same."""
    answer = edit("openai-compatible", "flux-vision-upscaler", n=2, providerOptions={"fluxvision": {"creativity": 1}})
    assert len(answer["types"]) == 2
    assert picture(photo, 0).tobytes() != picture(photo, 1).tobytes()


def test_the_openai_provider_gets_base64(edit, photo):
    """`@ai-sdk/openai` reads b64_json only, which an OpenAI model name gives unasked."""
    assert edit("openai", "gpt-image-1", size="1024x1024") == {"types": ["image/png"], "warnings": []}
    is_the_photo(picture(photo), photo, (1024, 1024))


@pytest.mark.parametrize(
    ("package", "model", "options", "message"),
    [
        (
            "openai-compatible",
            "flux-vision-upscaler",
            {"providerOptions": {"fluxvision": {"scale_factor": 19}}},
            "scale_factor: 19 is not a number from 1 to 16.",
        ),
        (
            "openai",
            "gpt-image-1",
            {"size": "99999x99999"},
            "The result would have 9,999,800,001 pixels; this server makes at most 400,000,000.",
        ),
    ],
)
def test_an_error_is_told_in_our_words(edit, package, model, options, message):
    """A wrong parameter is an APICallError with our status and message."""
    thrown = edit(package, model, **options)
    assert thrown == {"name": "AI_APICallError", "status": 400, "message": message}
