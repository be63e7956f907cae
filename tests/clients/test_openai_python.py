"""What the official Python SDK sends and reads works against the real engine."""

from __future__ import annotations

import base64
import io
import urllib.request

import openai
import pytest
from PIL import Image

from fakes.pictures import is_the_photo


@pytest.fixture
def client(server):
    """The SDK with the key that it insists on."""
    with openai.OpenAI(api_key="any", base_url=f"{server.url}/openai/v1", max_retries=0) as made:
        yield made


def decoded(b64: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(b64)))


def test_extra_body_reaches_the_table(client, photo):
    """Numbers and booleans that the SDK turns into form strings count as what they mean."""
    with photo.open("rb") as file:
        answer = client.images.edit(
            model="flux-vision-upscaler",
            image=[file],
            prompt="",
            response_format="b64_json",
            extra_body={"scale_factor": 1.5, "creativity": 0, "strict": True, "output_format": "webp"},
        )
    picture = decoded(answer.data[0].b64_json)
    assert picture.format == "WEBP"
    is_the_photo(picture, photo, (192, 192))
    assert answer.metadata["fidelity"]["lr_psnr_db"] > 38


def test_openai_model_names_get_base64(client, photo):
    """`gpt-image-1` is an alias whose clients read b64_json only."""
    with photo.open("rb") as file:
        answer = client.images.edit(model="gpt-image-1", image=file, prompt="x", size="auto")
    is_the_photo(decoded(answer.data[0].b64_json), photo, (256, 256))
    assert answer.data[0].url is None


def test_versions_differ_and_are_counted(client, photo):
    """n=2 gives two pictures of consecutive seeds that are not the same."""
    with photo.open("rb") as file:
        answer = client.images.edit(
            model="flux-vision-upscaler", image=file, prompt="", n=2, response_format="b64_json",
            extra_body={"seed": 5, "creativity": 1, "scale_factor": 2},
        )  # fmt: skip
    first, second = (entry.b64_json for entry in answer.data)
    assert first != second


def test_a_mask_keeps_the_rest_faithful(client, photo):
    """Outside the mask's transparent part the result is that of creativity 0."""
    mask = Image.new("RGBA", (128, 128), (0, 0, 0, 255))
    mask.paste((0, 0, 0, 0), (96, 0, 128, 128))
    stream = io.BytesIO()
    mask.save(stream, "PNG")

    def made(**extra):
        with photo.open("rb") as file:
            answer = client.images.edit(
                model="flux-vision-upscaler", image=file, prompt="", response_format="b64_json", **extra
            )
        return decoded(answer.data[0].b64_json).convert("RGB")

    masked = made(mask=stream.getvalue(), extra_body={"creativity": 1})
    faithful = made(extra_body={"creativity": 0})
    kept = (0, 0, 160, 256)
    pairs = zip(masked.crop(kept).tobytes(), faithful.crop(kept).tobytes(), strict=True)
    assert max(abs(ours - theirs) for ours, theirs in pairs) <= 3


def test_a_stream_ends_with_the_picture(client, photo):
    """The SDK iterates typed events: previews first, the result last."""
    with photo.open("rb") as file:
        events = list(
            client.images.edit(
                model="flux-vision-upscaler", image=file, prompt="", stream=True, partial_images=1
            )
        )  # fmt: skip
    assert [event.type for event in events] == ["image_edit.partial_image", "image_edit.completed"]
    is_the_photo(decoded(events[0].b64_json), photo, (256, 256))
    is_the_photo(decoded(events[1].b64_json), photo, (256, 256))


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"scale_factor": 17}, "scale_factor"),
        ({"scale_factor": "abc"}, "scale_factor"),
        ({"creativity": -1}, "creativity"),
        ({"fit": "squeeze"}, "fit"),
        ({"aspect_ratio": "0:3"}, "aspect_ratio"),
        ({"output_format": "exe"}, "output_format"),
        ({"strict": True, "steps": 20}, "steps"),
        ({"engine": "nonsense"}, "engine"),
    ],
)
def test_a_wrong_parameter_is_named(client, photo, fields, param):
    """The SDK raises BadRequestError whose param is the one at fault."""
    with photo.open("rb") as file, pytest.raises(openai.BadRequestError) as caught:
        client.images.edit(model="flux-vision-upscaler", image=file, prompt="", extra_body=fields)
    assert param == caught.value.param
    assert param in caught.value.message


def test_an_unknown_model_is_not_found_with_a_hint(client, photo):
    """404 in OpenAI's shape, with the nearest name."""
    with photo.open("rb") as file, pytest.raises(openai.NotFoundError) as caught:
        client.images.edit(model="flux-vision-upscalr", image=file, prompt="")
    assert caught.value.code == "MODEL_NOT_FOUND"
    assert "Did you mean flux-vision-upscaler?" in caught.value.message


def test_models_are_listed(client):
    """The SDK lists and gets the model."""
    listed = list(client.models.list())
    assert "flux-vision-upscaler" in [model.id for model in listed]
    assert client.models.retrieve("embedded/flux-vision-upscaler").id == "flux-vision-upscaler"


def test_pickers_find_openais_names(client):
    """Clients that show ids with gpt-image or dall-e alone, as n8n does, have some; what nobody has is not listed."""
    listed = [model.id for model in client.models.list()]
    assert {"gpt-image-1", "dall-e-2"} <= {name for name in listed if "gpt-image" in name or "dall-e" in name}
    assert "esrgan" not in listed
    assert "esrgan" in [model.id for model in client.models.list(extra_query={"all": "true"})]


def test_a_dry_run_costs_nothing_and_makes_nothing(photo, client):
    """The quote has the receipt and the price, in micro-dollars."""
    quote = client.post(
        "/images/edits?dryRun=true",
        body={"model": "flux-vision-upscaler", "size": "512x256", "fit": "cover",
              "image": "data:image/png;base64," + base64.b64encode(photo.read_bytes()).decode()},
        cast_to=object,
    )  # fmt: skip
    assert (quote["estimated"], quote["total_cost_micros"], quote["currency"]) == (True, 0, "USD")
    assert "size" in [line["parameter"] for line in quote["normalization"]]


def test_a_dry_run_may_be_asked_for_in_the_body(server, photo):
    """`dryRun` among the fields is no less than in the address."""
    answer = server.edit(("model", "flux-vision-upscaler"), ("dryRun", "true"), ("image", photo.read_bytes(), "a.png"))
    assert answer.json()["estimated"] is True


def test_an_uploaded_picture_is_edited(client, photo):
    """A file of the purpose `vision` is named by its id in a JSON edit, and deleted afterwards."""
    with photo.open("rb") as stream:
        file = client.files.create(file=stream, purpose="vision")
    given = {"model": "gpt-image-1", "prompt": "x", "images": [{"file_id": file.id}]}
    answer = client.post("/images/edits", body=given, cast_to=openai.types.ImagesResponse)
    is_the_photo(decoded(answer.data[0].b64_json), photo, (256, 256))
    assert client.files.delete(file.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.post("/images/edits", body=given, cast_to=object)


def test_a_link_is_a_picture_for_anyone_who_has_it(client, photo):
    """The link needs no key, answers HEAD and Range, and is sandboxed."""
    with photo.open("rb") as file:
        url = client.images.edit(model="flux-vision-upscaler", image=file, prompt="").data[0].url
    with urllib.request.urlopen(urllib.request.Request(url, headers={"Range": "bytes=0-7"})) as response:  # noqa: S310
        assert response.status == 206
        assert response.read() == b"\x89PNG\r\n\x1a\n"
        assert "sandbox" in response.headers["Content-Security-Policy"]
        assert response.headers["X-Content-Type-Options"] == "nosniff"
