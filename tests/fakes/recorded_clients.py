"""What clients that cannot be installed here send, each from its public source, and how they read the answer.

A row is one request of one client: path, headers, fields in their order, and the form as its HTTP library writes it.
The names of the clients are those in `tests/clients/compatibility.toml`.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from PIL import Image

from fakes.client_forms import File, Library, Part, form

Request = tuple[dict[str, str], bytes]
Words = tuple[tuple[str, str], ...]
BEARER: Mapping[str, str] = {"Authorization": "Bearer sk-any"}
UUIDS = ("5c9be0f4-6f0e-4d53-9a2f-0a54e0f8a3b1.png", "e1f7d0aa-9f55-4a5e-8a06-52f2a7d0c9de.png")


@dataclass(frozen=True, slots=True)
class Pictures:
    """Files that clients send: two photos of 64 pixels, a strip 1040 pixels wide, and a tiny one without content."""

    first: bytes
    second: bytes
    strip: bytes
    tiny: bytes


@dataclass(frozen=True, slots=True)
class Recorded:
    """A request, and what its sender needs of the answer."""

    client: str
    what: str
    path: str
    request: Callable[[Pictures], Request]
    size: tuple[int, int] = (128, 128)
    """Pixels of the result."""
    of: Literal["first", "strip", "tiny"] = "first"
    """The picture that is enlarged."""
    reads: Literal["b64", "either", "link"] = "b64"
    """Where the client looks for the picture."""
    headers: Mapping[str, str] = field(default_factory=lambda: BEARER)
    chunked: bool = False
    """Whether the body comes in chunks, without a length."""
    noted: tuple[str, ...] = ()
    """Parameters of which the receipt says that they were not honoured as given."""
    status: int = 200
    words: tuple[str, ...] = ()
    """What the message of the error says, where it is refused."""


def sent(library: Library, *parts: tuple[str, str], **files: str) -> Callable[[Pictures], Request]:
    """Return a form of text parts, after which come pictures: keywords are names of `Pictures`, values file names."""
    return lambda pictures: form(
        library, [*parts, *(File("image", getattr(pictures, which), name) for which, name in files.items())]
    )


def sent_list(
    library: Library, before: Words, images: tuple[tuple[str, str], ...], after: Words = (), name: str = "image[]"
) -> Callable[[Pictures], Request]:
    """Return a form with several pictures of one name, each a name of `Pictures` and a file name."""

    def made(pictures: Pictures) -> Request:
        parts: list[Part] = [*before, *(File(name, getattr(pictures, which), file) for which, file in images), *after]
        return form(library, parts)

    return made


def document(make: Callable[[Pictures], Any]) -> Callable[[Pictures], Request]:
    """Return a JSON body."""
    return lambda pictures: ({"Content-Type": "application/json"}, json.dumps(make(pictures)).encode())


def encoded(content: bytes) -> str:
    """Return bytes as base64, without `data:`."""
    return base64.b64encode(content).decode()


def picture_of(body: Any, reads: str, fetch: Callable[[str], bytes]) -> Image.Image:
    """Return the picture that the client finds in an answer."""
    entry = body["data"][0]
    if reads == "link" or (reads == "either" and not entry.get("b64_json")):
        return Image.open(io.BytesIO(fetch(entry["url"])))
    return Image.open(io.BytesIO(base64.b64decode(entry["b64_json"])))


MODEL = ("model", "flux-vision-upscaler")
WEBUI = (MODEL, ("prompt", "upscale it"), ("response_format", "b64_json"))
LIBRECHAT = (("model", "gpt-image-1"), ("prompt", "Make it sharp"), ("quality", "auto"), ("size", "auto"))
N8N = (("prompt", "upscale"), ("model", "gpt-image-1"), ("n", "1"), ("size", "1024x1024"), ("quality", "auto"))
DIFY = (("model", "gpt-image-2"), ("prompt", "upscale"), ("n", "1"))
INVOKE = (("prompt", "sharper"), ("n", "1"), ("size", "1024x1024"), ("response_format", "b64_json"))
ANYTHING = (("model", "gpt-image-1"), ("prompt", "upscale"), ("size", "1024x1024"), ("n", "1"))
SGLANG = (
    ("prompt", "a sharper photo"), ("size", "1024x1024"), ("n", "1"), ("response_format", "b64_json"),
    ("guidance_scale", "7.0"), ("num_inference_steps", "2"), ("seed", "1024"), ("enable_teacache", "True"),
    ("background", "auto"), ("generator_device", "cuda"),
)  # fmt: skip
VLLM = (("prompt", "make it brighter"), ("model", "gpt-image-1"), ("num_inference_steps", "2"), ("seed", "42"))
EDITS = "/v1/images/edits"

TWO = (("first", UUIDS[0]), ("second", UUIDS[1]))

SERVED: tuple[Recorded, ...] = (
    Recorded("Open WebUI", "one picture", "/openai/v1/images/edits", sent("aiohttp", *WEBUI, first=UUIDS[0])),
    Recorded(
        "Open WebUI",
        "a later edit of a chat: the newest two messages' pictures",
        "/openai/v1/images/edits",
        sent_list("aiohttp", WEBUI, TWO),
        noted=("image",),
    ),
    Recorded(
        "Open WebUI", "a base URL that ends in a slash", "/v1//images/edits", sent("aiohttp", *WEBUI, first=UUIDS[0])
    ),
    Recorded("Open WebUI", "a base URL without /v1", "/images/edits", sent("aiohttp", *WEBUI, first=UUIDS[0])),
    Recorded(
        "Open WebUI",
        "an OpenAI model name, without response_format, with an API version",
        f"{EDITS}?api-version=2025-04-01-preview",
        sent("aiohttp", ("model", "gpt-image-1"), WEBUI[1], ("size", "96x96"), first=UUIDS[0]),
        size=(96, 96),
    ),
    Recorded(
        "InvokeAI",
        "a picture to change, without a model: its size is honoured",
        EDITS,
        sent("requests", *INVOKE, strip="image_0.png"),
        of="strip",
        size=(1024, 47),
    ),
    Recorded(
        "InvokeAI",
        "a picture and a reference, under an OpenAI name",
        EDITS,
        sent_list(
            "requests", (("model", "gpt-image-1"), *INVOKE[:3]), (("strip", "image_0.png"), ("second", "image_1.png"))
        ),
        of="strip",
        size=(2080, 96),
        reads="either",
        noted=("image", "size"),
    ),
    Recorded(
        "LibreChat",
        "one picture in a list, in chunks",
        EDITS,
        sent_list("form-data", LIBRECHAT, (("first", "photo.png"),)),
        chunked=True,
    ),
    Recorded(
        "LibreChat",
        "two pictures",
        EDITS,
        sent_list("form-data", LIBRECHAT, (("first", "photo.png"), ("second", "other.png"))),
        chunked=True,
        noted=("image",),
    ),
    Recorded(
        "LibreChat",
        "Azure: the deployment in the address, the key in a header of its own",
        "/openai/deployments/gpt-image-1/images/edits?api-version=2025-04-01-preview",
        sent_list("form-data", LIBRECHAT, (("first", "photo.png"),)),
        headers={"api-key": "sk-any"},
        chunked=True,
    ),
    Recorded(
        "n8n",
        "gpt-image-1 with its default size, which is below the picture's",
        EDITS,
        sent_list("form-data", (), (("strip", "photo.png"),), N8N),
        of="strip",
        size=(2080, 96),
        noted=("size",),
    ),
    Recorded(
        "n8n",
        "two pictures",
        EDITS,
        sent_list("form-data", (), (("strip", "photo.png"), ("second", "other.png")), N8N),
        of="strip",
        size=(2080, 96),
        noted=("image", "size"),
    ),
    Recorded(
        "n8n",
        "dall-e-2 with a link",
        EDITS,
        sent_list(
            "form-data",
            (),
            (("first", "photo.png"),),
            (N8N[0], ("model", "dall-e-2"), ("n", "1"), ("size", "256x256"), ("response_format", "url")),
            name="image",
        ),
        size=(256, 256),
        reads="link",
    ),
    Recorded("Dify", "one picture", EDITS, sent_list("requests", DIFY, (("first", "photo.png"),), name="image")),
    Recorded("Dify", "two pictures", EDITS, sent_list("requests", DIFY, TWO), noted=("image",)),
    Recorded(
        "AnythingLLM",
        "one picture with its default size, which is below the picture's",
        EDITS,
        sent_list("undici", ANYTHING, (("strip", "reference-0.png"),), name="image"),
        of="strip",
        size=(2080, 96),
        reads="either",
        noted=("size",),
    ),
    Recorded(
        "AnythingLLM",
        "two pictures with the same name",
        EDITS,
        sent_list("undici", ANYTHING, (("strip", "reference-0.png"), ("second", "reference-1.png")), name="image"),
        of="strip",
        size=(2080, 96),
        reads="either",
        noted=("image", "size"),
    ),
    Recorded(
        "AnythingLLM",
        "its LocalAI provider: references as base64 in JSON, to /images/generations",
        "/v1/images/generations",
        document(
            lambda pictures: {
                **dict(ANYTHING),
                "n": 1,
                "ref_images": [encoded(pictures.strip), encoded(pictures.second)],
            }
        ),
        of="strip",
        size=(2080, 96),
        reads="either",
        noted=("image", "size"),
    ),
    Recorded(
        "SGLang's ComfyUI nodes",
        "a picture with the parameters of a diffusion model",
        EDITS,
        sent("requests", *SGLANG, strip="photo.png"),
        of="strip",
        size=(1024, 47),
        noted=("guidance", "steps"),
    ),
    Recorded(
        "vLLM-Omni's conformance test",
        "a grey picture with two steps",
        EDITS,
        sent("requests", *VLLM, tiny="test.png"),
        of="tiny",
        size=(64, 64),
        noted=("steps",),
    ),
)
INVALID = "vLLM-Omni's tests of wrong parameters"


def refused(
    what: str, *given: tuple[str, str], words: tuple[str, ...], status: int = 400, image: bool = True
) -> Recorded:
    """Return a row of `REFUSED` from vLLM-Omni's tests: a form with a prompt and a tiny picture, and one mistake."""
    parts = (VLLM[0], *given) if dict(given).keys() & {"model"} else (*VLLM[:2], *given)
    files = {"tiny": "edit.png"} if image else {}
    return Recorded(INVALID, what, EDITS, sent("requests", *parts, **files), status=status, words=words)


REFUSED: tuple[Recorded, ...] = (
    refused("no picture", words=("image", "required"), image=False),
    refused("a model that is not there", ("model", "wrong-model-id"), words=("model", "wrong-model-id"), status=404),
    refused("a compression above 100", ("output_compression", "101"), words=("output_compression", "100")),
    refused("a compression that is no number", ("output_compression", "abc"), words=("output_compression",)),
    refused("a seed that is no number", ("seed", "abc"), words=("seed",)),
    refused("a size that is none", ("size", "abc"), words=("size",)),
    refused("a size without a width", ("size", "0x1024"), words=("size",)),
    refused("a resolution that is not offered", ("resolution", "512"), words=("resolution",)),
    Recorded(
        "Open WebUI",
        "words without a picture",
        "/openai/v1/images/generations",
        document(lambda _pictures: {**dict(WEBUI), "n": 1, "size": "512x512"}),
        status=400,
        words=("picture", "/images/edits"),
    ),
)
