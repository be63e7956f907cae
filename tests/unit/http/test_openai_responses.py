"""POST /responses: the picture of the input is enlarged, as a call of the tool image_generation and a message."""

from __future__ import annotations

import base64
import io

import pytest
from PIL import Image

from fakes.asgi import Client
from fakes.gateway import png
from fakes.server import document
from fluxvision.http.result_text import WITHOUT_PICTURE

URL = "/v1/responses"
BIG = png(64, 48, (0, 30, 60))


def shown(content: bytes) -> dict:
    return {"type": "input_image", "image_url": "data:image/png;base64," + base64.b64encode(content).decode()}


def user(*parts) -> list:
    return [{"role": "user", "content": list(parts)}]


async def ask(served, path=URL, headers=None, **body):
    given, content = document(body)
    return await Client("POST", path, {**given, **(headers or {})}, [content]).ask(served.app)


def decoded(item: dict) -> bytes:
    return base64.b64decode(item["result"])


@pytest.mark.parametrize("path", [URL, "/openai/v1/responses"])
async def test_a_call_and_a_message_are_answered(edge, picture, path):
    """The call has the file in base64, the message a sentence; the receipt stands beside."""
    answer = await ask(edge(), path, model="flux-vision-upscaler", input=user(shown(picture)))
    body = answer.json()
    call, message = body["output"]
    assert (answer.status, body["object"], body["status"]) == (200, "response", "completed")
    assert (call["type"], call["status"], call["output_format"]) == ("image_generation_call", "completed", "png")
    assert decoded(call) == BIG
    assert call["revised_prompt"] == "a red square"
    assert "size" not in call
    assert message["content"][0]["text"] == "The picture is enlarged to 64 × 48 pixels."
    assert body["model"] == "flux-vision-upscaler"
    assert (body["usage"]["total_tokens"], body["store"], body["metadata"]) == (0, False, {})
    assert (body["result_metadata"]["size"], body["warnings"]) == ("64x48", [])


async def test_a_size_that_openai_knows_is_told(edge):
    """Strict clients refuse other ones."""
    answer = await ask(edge(), input=user(shown(png(512, 512))))
    assert answer.json()["output"][0]["size"] == "1024x1024"


@pytest.mark.parametrize(
    ("body", "values", "extras"),
    [
        ({"tools": [{"type": "image_generation", "output_format": "webp"}]}, {"output_format": "webp"}, {}),
        ({"tools": [{"type": "image_generation", "scale_factor": 3}], "scale_factor": 4}, {"scale_factor": 4.0}, {}),
        (
            {"tools": [{"type": "web_search"}, {"type": "image_generation", "size": "1:1"}]},
            {"size": "1:1"},
            {},
        ),
        ({"tools": [{"type": "image_generation", "action": "edit", "quality": "high"}]}, {"quality": "high"}, {}),
        ({"tool_choice": "required", "reasoning": {}, "text": {}, "store": True, "background": False}, {}, {}),
        ({"prompt": {"id": "p"}, "instructions": "Be kind.", "metadata": {"a": "b"}, "max_output_tokens": 9}, {}, {}),
        ({"mine": 1}, {}, {"mine": 1}),
    ],
)
async def test_the_tool_has_parameters(edge, picture, body, values, extras):
    """Those beside the input come first; what concerns language models only leaves no trace."""
    served = edge()
    answer = await ask(served, input=user(shown(picture)), **body)
    job = served.gateway.started[0]
    assert (answer.status, job.extras) == (200, extras)
    assert job.values == {**values, "response_format": "b64_json"}


async def test_the_model_of_the_tool_makes_the_picture(edge, picture):
    """The model beside the input is a language model then; it is told as it was sent."""
    served = edge()
    tools = [{"type": "image_generation", "model": "gpt-image-1"}]
    answer = await ask(served, model="gpt-5", input=user(shown(picture)), tools=tools)
    assert (answer.status, answer.json()["model"]) == (200, "gpt-5")
    assert served.gateway.started[0].model == "flux-vision-upscaler"


async def test_the_mask_of_the_tool_counts(edge, picture):
    """`input_image_mask` is the mask."""
    served = edge()
    buffer = io.BytesIO()
    Image.new("RGBA", (32, 24)).save(buffer, "PNG")
    mask = {"image_url": shown(buffer.getvalue())["image_url"]}
    tools = [{"type": "image_generation", "input_image_mask": mask}]
    answer = await ask(served, input=user(shown(picture)), tools=tools)
    assert answer.status == 200
    assert served.gateway.started[0].mask is not None


@pytest.mark.parametrize("given", ["hello", user({"type": "input_text", "text": "hello"}), user()], ids=str)
async def test_without_a_picture_a_sentence_helps(edge, given):
    """A message alone, and nothing is made."""
    served = edge()
    body = (await ask(served, input=given)).json()
    assert [item["type"] for item in body["output"]] == ["message"]
    assert body["output"][0]["content"][0]["text"] == WITHOUT_PICTURE
    assert "result_metadata" not in body
    events = (await ask(served, input=given, stream=True)).events()
    assert [name for name, _ in events][:3] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
    ]
    assert events[-1][1]["response"]["output"][0]["content"] == body["output"][0]["content"]
    assert served.gateway.started == []


@pytest.mark.parametrize("count", [1, 2])
async def test_a_stream_has_the_events_of_openai(edge, picture, count):
    """Begun, previews, each picture, the message, and all of it once more; numbered from 0, each with its type."""
    answer = await ask(edge(), input=user(shown(picture)), stream=True, partial_images=1, n=count)
    found = [(name, data) for name, data in answer.events() if name != ":"]
    assert [data["type"] for _, data in found] == [name for name, _ in found]
    assert [data["sequence_number"] for _, data in found] == [*range(len(found))]
    begins = ["output_item.added", "image_generation_call.in_progress", "image_generation_call.generating"]
    ends = ["image_generation_call.completed", "output_item.done"]
    text = ["output_item.added", "content_part.added", "output_text.delta", "output_text.done", "content_part.done"]
    more = [*begins, *ends] * (count - 1)
    wanted = ["created", "in_progress", *begins, *ends, *more, *text, "output_item.done", "completed"]
    assert [name.removeprefix("response.") for name, _ in found if "partial" not in name] == wanted
    whole = found[-1][1]["response"]
    assert [item["type"] for item in whole["output"]] == ["image_generation_call"] * count + ["message"]
    done = [data["item"] for name, data in found if name == "response.output_item.done"]
    assert done == whole["output"]
    assert decoded(done[0]) == BIG
    assert whole["status"] == "completed"
    assert found[0][1]["response"]["status"] == "in_progress"


async def test_an_error_of_a_stream_is_an_event_with_its_type(edge, picture):
    """SDKs find the error in it, and the number that all events have."""
    answer = await ask(edge(), input=user(shown(picture)), stream=True, fail="upstream")
    name, data = answer.events()[-1]
    assert (name, data["type"], type(data["sequence_number"])) == ("error", "error", int)
    assert data["error"]["code"]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "input"),
        ({"input": 5}, "input"),
        ({"input": []}, "input"),
        ({"input": user({"type": "input_image", "image_url": "data:image/png;base64,!"})}, "input[0].content[0]"),
        ({"input": user({"type": "input_image"})}, "input[0].content[0]"),
        ({"input": "a", "previous_response_id": "resp_1"}, "previous_response_id"),
        ({"input": "a", "conversation": "conv_1"}, "conversation"),
        ({"input": user(shown(png(8, 6))), "response_format": "url"}, "response_format"),
        ({"input": user(shown(png(8, 6))), "tools": [{"type": "image_generation", "size": "huge"}]}, "size"),
    ],
)
async def test_a_mistake_names_its_place(edge, body, param):
    """The error has OpenAI's shape."""
    served = edge()
    answer = await ask(served, **body)
    assert (answer.status, answer.json()["error"]["param"], served.gateway.started) == (400, param, [])


async def test_an_uploaded_picture_is_named_by_its_id(edge):
    """An id that nobody uploaded is not found."""
    answer = await ask(edge(), input=user({"type": "input_image", "file_id": "file-1", "detail": "auto"}))
    assert (answer.status, answer.json()["error"]["param"]) == (404, "input[0].content[0]")


async def test_a_repeated_request_is_answered_once_more(edge, picture):
    """A stored job's answer has the file as well, and nothing is made twice."""
    served, body = edge(), {"input": user(shown(picture))}
    first = await ask(served, headers={"Idempotency-Key": "one"}, **body)
    again = await ask(served, headers={"Idempotency-Key": "one"}, **body)
    assert (first.status, again.status, len(served.gateway.started)) == (200, 200, 1)
    assert again.json()["output"] == first.json()["output"]
    streamed = await ask(served, headers={"Idempotency-Key": "two"}, stream=True, **body)
    assert decoded(streamed.events()[-1][1]["response"]["output"][0]) == BIG
