"""POST /chat/completions: a chat's picture is enlarged, and the answer is a message with it."""

from __future__ import annotations

import base64
import json

import pytest

from fakes.asgi import Client
from fakes.gateway import png
from fakes.server import document
from fluxvision.http.result_text import WITHOUT_PICTURE

URL = "/v1/chat/completions"


def uri(content: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(content).decode()


def shown(url: str) -> dict:
    return {"type": "image_url", "image_url": {"url": url}}


def user(*parts) -> dict:
    return {"role": "user", "content": list(parts)}


async def ask(served, path=URL, headers=None, **body):
    given, content = document(body)
    return await Client("POST", path, {**given, **(headers or {})}, [content]).ask(served.app)


def chunks(answer) -> list:
    """Return the data of a stream without its comments; the end is None."""
    blocks = [block for block in answer.body.decode().strip().split("\n\n") if not block.startswith(":")]
    found = [block.removeprefix("data: ") for block in blocks]
    return [None if text == "[DONE]" else json.loads(text) for text in found]


@pytest.mark.parametrize("path", [URL, "/openai/v1/chat/completions", "/chat/completions/"])
async def test_a_message_with_the_picture_is_answered(edge, picture, path):
    """The text has a link, the images the file as OpenRouter has it; receipt and warnings stand beside."""
    served = edge()
    answer = await ask(served, path, model="flux-vision-upscaler", messages=[user(shown(uri(picture)))])
    body = answer.json()
    message = body["choices"][0]["message"]
    assert (answer.status, body["object"], body["model"]) == (200, "chat.completion", "flux-vision-upscaler")
    assert body["choices"][0]["finish_reason"] == "stop"
    assert message["images"] == [{"index": 0, **shown(uri(png(64, 48, (0, 30, 60))))}]
    sentence, link = message["content"].split("\n\n")
    assert sentence == "The picture is enlarged to 64 × 48 pixels."
    assert link.startswith("![The enlarged picture](http://localhost:8000/media/")
    place = link.rpartition("(")[2].rstrip(")").removeprefix("http://localhost:8000")
    assert (await served.get(place)).sent[1]["body"] == png(64, 48, (0, 30, 60))
    assert set(body["usage"].values()) == {0}
    assert body["metadata"]["size"] == "64x48"
    assert body["warnings"] == []


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": "PICTURE", "detail": "high"}},
        {"type": "image_url", "image_url": "PICTURE"},
        {"type": "input_image", "image_url": "PICTURE"},
        {"type": "image", "image": "PICTURE"},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "BASE64"}},
    ],
    ids=str,
)
async def test_a_picture_is_found_however_it_is_written(edge, part, picture):
    """In OpenAI's notations, and in those of the AI SDK and of Anthropic."""
    text = json.dumps(part).replace("PICTURE", uri(picture)).replace("BASE64", base64.b64encode(picture).decode())
    served = edge()
    answer = await ask(served, messages=[user(json.loads(text))])
    assert answer.status == 200
    assert served.gateway.started[0].image.width == 32


@pytest.mark.parametrize(
    ("messages", "width", "prompt"),
    [
        ([user("OLD"), user("NEW", "new words")], 16, "new words"),
        ([user("OLD", "words"), {"role": "assistant", "content": "done"}], 8, "words"),
        ([user("OLD", "words"), {"role": "assistant", "content": None}, user("and now?")], 8, "and now?"),
        ([user("OLD"), {"role": "user", "content": "sharper"}], 8, "sharper"),
        ([user("OLD"), {"role": "assistant", "content": [shown("https://other.test/a.png")]}], 8, None),
        ([{"role": "system", "content": "You are kind."}, user("a", "b", "NEW")], 16, "a\nb"),
    ],
)
async def test_the_newest_picture_and_words_of_a_user_count(edge, messages, width, prompt):
    """Pictures of the answers do not; words after the picture replace those beside it."""
    pictures = {"OLD": shown(uri(png(8, 6))), "NEW": shown(uri(png(16, 12)))}
    for message in messages:
        if message["role"] == "user" and isinstance(message["content"], list):
            parts = [pictures.get(part, {"type": "text", "text": part}) for part in message["content"]]
            message["content"] = parts
    served = edge()
    answer = await ask(served, messages=messages)
    job = served.gateway.started[0]
    assert (answer.status, job.image.width, job.values.get("prompt")) == (200, width, prompt)


@pytest.mark.parametrize(
    ("fields", "values"),
    [
        ({"scale_factor": 3, "creativity": 0, "n": 2}, {"scale_factor": 3.0, "creativity": 0.0, "n": 2}),
        ({"image_config": {"aspect_ratio": "16:9", "image_size": "2K"}}, {"aspect_ratio": "16:9", "resolution": "2K"}),
        ({"temperature": 0.7, "max_tokens": 9, "tools": [], "modalities": ["image"], "stop": None}, {}),
        ({"response_format": {"type": "text"}, "metadata": {"a": "b"}, "stream_options": {"include_usage": True}}, {}),
        ({"prompt": "mine"}, {"prompt": "mine"}),
    ],
)
async def test_parameters_stand_beside_the_messages(edge, picture, fields, values):
    """Ours count, what concerns language models only leaves no trace."""
    served = edge()
    answer = await ask(served, messages=[user(shown(uri(picture)))], **fields)
    job = served.gateway.started[0]
    assert (answer.status, job.values, job.extras) == (200, {**values, "response_format": "url"}, {})


@pytest.mark.parametrize(
    ("fields", "has_link", "begins"),
    [
        ({"response_format": "b64_json"}, False, "data:image/png;base64,"),
        ({"response_format": "url"}, True, "http://localhost:8000/media/"),
        ({"model": "gpt-image-1"}, True, "data:image/png;base64,"),
    ],
)
async def test_the_format_can_be_chosen(edge, picture, fields, has_link, begins):
    """`url` sends links only, `b64_json` files only; otherwise both are there, whatever the model is called."""
    answer = await ask(edge(), messages=[user(shown(uri(picture)))], **fields)
    message = answer.json()["choices"][0]["message"]
    assert ("](http" in message["content"]) == has_link
    assert message["images"][0]["image_url"]["url"].startswith(begins)


async def test_a_client_that_shows_images_gets_a_plain_link(edge, picture):
    """Who asks for pictures by modalities would show the same one twice."""
    answer = await ask(edge(), messages=[user(shown(uri(picture)))], modalities=["text", "image"])
    assert "\n\n[Open the enlarged picture](http" in answer.json()["choices"][0]["message"]["content"]


async def test_several_pictures_follow_the_rules_of_an_edit(edge, picture):
    """The first is enlarged; with images_mode=each all are."""
    parts = [shown(uri(picture)), shown(uri(png(8, 6)))]
    assert len((await ask(edge(), messages=[user(*parts)])).json()["choices"][0]["message"]["images"]) == 1
    message = (await ask(edge(), messages=[user(*parts)], images_mode="each")).json()["choices"][0]["message"]
    assert [image["index"] for image in message["images"]] == [0, 1]
    assert message["content"].startswith("The pictures are enlarged to 64 × 48 and 16 × 12 pixels.")


@pytest.mark.parametrize("each", [{}, {"images_mode": "each"}], ids=["one", "each"])
async def test_a_stream_has_chunks(edge, picture, each):
    """Role, text and pictures come one after the other, then the end; the usage only where it is asked for."""
    parts = [shown(uri(picture)), shown(uri(png(8, 6)))][: 2 if each else 1]
    answer = await ask(edge(), messages=[user(*parts)], stream=True, partial_images=2, **each)
    *found, end, done = chunks(answer)
    assert answer.answered["content-type"].startswith("text/event-stream")
    assert done is None
    assert {chunk["object"] for chunk in found} == {"chat.completion.chunk"}
    assert len({chunk["id"] for chunk in [*found, end]}) == 1
    deltas = [chunk["choices"][0]["delta"] for chunk in found]
    assert deltas[0] == {"role": "assistant", "content": ""}
    text = "".join(delta.get("content", "") for delta in deltas)
    assert text.count("![The enlarged picture](http") == len(parts)
    images = [image for delta in deltas for image in delta.get("images", [])]
    assert [image["index"] for image in images] == [*range(len(parts))]
    assert images[0]["image_url"]["url"] == uri(png(64, 48, (0, 30, 60)))
    assert (end["choices"][0]["finish_reason"], end["choices"][0]["delta"]) == ("stop", {})
    assert end["metadata"]["provider"] == "embedded"
    assert len(end["metadata"].get("pictures", [1])) == len(parts)
    assert "usage" not in end
    asked = await ask(edge(), messages=[user(*parts)], stream=True, stream_options={"include_usage": True})
    assert (chunks(asked)[-2]["choices"], chunks(asked)[-2]["usage"]["total_tokens"]) == ([], 0)


@pytest.mark.parametrize("content", ["hello", [{"type": "text", "text": "hello"}], None, []], ids=str)
async def test_without_a_picture_a_sentence_helps(edge, content):
    """It is an answer like any other, so that the buttons that test a connection work; nothing is made."""
    served = edge()
    messages = [{"role": "user", "content": content}]
    answer = await ask(served, model="gpt-image-1", messages=messages, max_tokens=5)
    body = answer.json()
    assert (answer.status, body["model"], served.gateway.started) == (200, "gpt-image-1", [])
    assert body["choices"][0]["message"]["content"] == WITHOUT_PICTURE
    assert body["id"] == answer.answered["x-request-id"]
    streamed = chunks(await ask(served, messages=messages, stream=True))
    assert [chunk and chunk["choices"][0]["finish_reason"] for chunk in streamed] == [None, None, "stop", None]
    assert streamed[1]["choices"][0]["delta"]["content"] == WITHOUT_PICTURE


async def test_a_key_can_be_checked_with_a_model_of_openais(edge):
    """Programs ask a model that they know for a joke; the answer has its name, and nothing is made."""
    served = edge()
    given = {"model": "gpt-4.1-nano", "messages": [{"role": "user", "content": "Tell me a joke."}], "max_tokens": 10}
    answer = await ask(served, **given)
    assert (answer.status, answer.json()["model"], served.gateway.started) == (200, "gpt-4.1-nano", [])


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({}, 400, "messages"),
        ({"messages": []}, 400, "messages"),
        ({"messages": 5}, 400, "messages"),
        ({"messages": ["hello"]}, 400, "messages[0]"),
        ({"messages": [{"role": 5}]}, 400, "messages[0].role"),
        ({"messages": [{"role": "user", "content": {}}]}, 400, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [5]}]}, 400, "messages[0].content[0]"),
        ({"messages": [user({"type": "text", "text": 5})]}, 400, "messages[0].content[0].text"),
        ({"messages": [user({"type": "image_url"})]}, 400, "messages[0].content[0]"),
        ({"messages": [user({"type": "text", "text": "a"}, shown("data:image/png;base64,!"))]}, 400,
         "messages[0].content[1]"),
        ({"messages": [user(shown(uri(b"no picture")))]}, 400, "messages[0].content[0]"),
        ({"messages": [user(*(shown("https://a.test/") for _ in range(17)))]}, 400, "messages[0].content"),
        ({"messages": [user(shown(uri(png(8, 6))))], "scale_factor": 99}, 400, "scale_factor"),
        ({"messages": [user(shown(uri(png(8, 6))))], "model": 5}, 400, "model"),
        ({"messages": [{"role": "user", "content": "hello"}], "model": "nobody-has-this"}, 404, "model"),
        ({"messages": [user(shown(uri(png(8, 6))))], "model": "gpt-4.1-nano"}, 404, "model"),
    ],
)  # fmt: skip
async def test_a_mistake_names_its_place(edge, body, status, param):
    """The error has OpenAI's shape, and says which part of which message is wrong."""
    served = edge()
    answer = await ask(served, **body)
    error = answer.json()["error"]
    assert (answer.status, error["param"], served.gateway.started) == (status, param, [])


async def test_only_json_is_read(edge):
    """A form has no messages."""
    answer = await Client("POST", URL, {"Content-Type": "multipart/form-data; boundary=a"}, [b""]).ask(edge().app)
    assert answer.status == 415


async def test_a_repeated_request_is_answered_once_more(edge, picture):
    """A stored job's answer has link and file as well, and nothing is made twice."""
    served, body = edge(), {"messages": [user(shown(uri(picture)))]}
    headers = {"Idempotency-Key": "one"}
    first = await ask(served, headers=headers, **body)
    again = await ask(served, headers=headers, **body)
    message = again.json()["choices"][0]["message"]
    assert (first.status, again.status, len(served.gateway.started)) == (200, 200, 1)
    assert message["images"] == first.json()["choices"][0]["message"]["images"]
    assert "](http" in message["content"]
    streamed = await ask(served, headers={"Idempotency-Key": "two"}, stream=True, **body)
    images = [image for chunk in chunks(streamed)[1:-2] for image in chunk["choices"][0]["delta"].get("images", [])]
    assert images == message["images"]


async def test_a_dry_run_is_a_quote(edge, picture):
    """As for an edit, nothing is made."""
    served = edge()
    answer = await ask(served, URL + "?dryRun=true", messages=[user(shown(uri(picture)))])
    assert (answer.json()["total_cost_micros"], served.gateway.started) == (100_000, [])
