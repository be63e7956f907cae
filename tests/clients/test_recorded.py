"""Clients that cannot be installed here get what they read: their requests, byte for byte, to a real server."""

from __future__ import annotations

import http.client
import io
import json
from urllib.parse import urlsplit

import pytest
from PIL import Image

from fakes.pictures import is_the_photo
from fakes.recorded_clients import BEARER, REFUSED, SERVED, Pictures, Recorded, picture_of
from fakes.server import PATIENCE, document


def png(picture: Image.Image) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def pictures(photo) -> Pictures:
    """The files that clients send."""
    with Image.open(photo) as found:
        small = found.resize((64, 64), Image.Resampling.BOX)
        strip = found.resize((1040, 1040), Image.Resampling.BICUBIC).crop((0, 500, 1040, 548))
    other = small.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    return Pictures(png(small), png(other), png(strip), png(Image.new("RGB", (32, 32), "gray")))


def ask(server, row: Recorded, pictures: Pictures) -> tuple[int, bytes]:
    """Send a recorded request; return the status and the body."""
    headers, body = row.request(pictures)
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
    try:
        content = iter([body[:700], body[700:]]) if row.chunked else body
        connection.request("POST", row.path, content, {**row.headers, **headers}, encode_chunked=row.chunked)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def named(row: Recorded) -> str:
    return f"{row.client}: {row.what}"


@pytest.mark.parametrize("row", SERVED, ids=named)
def test_a_client_reads_its_picture(server, tmp_path, pictures, row):
    """The client finds the enlarged picture where it looks, and the receipt says what was not done as asked."""
    status, content = ask(server, row, pictures)
    assert status == 200, content
    body = json.loads(content)
    assert isinstance(body["created"], int)
    source = tmp_path / "sent.png"
    source.write_bytes(getattr(pictures, row.of))
    found = picture_of(body, row.reads, lambda url: server.get(urlsplit(url).path + "?" + urlsplit(url).query).body)
    assert found.format == "PNG"
    is_the_photo(found, source, row.size)
    lines = body["metadata"]["normalization"]
    assert {line["parameter"] for line in lines if not line["honoured"]} >= set(row.noted)


@pytest.mark.parametrize("row", REFUSED, ids=named)
def test_a_wrong_request_names_what_is_wrong(server, pictures, row):
    """The client gets OpenAI's error with the words that its users need."""
    status, content = ask(server, row, pictures)
    assert status == row.status
    error = json.loads(content)["error"]
    assert [word for word in row.words if word not in error["message"]] == []


def test_the_picker_of_n8n_has_models(server):
    """n8n offers only the ids that have an OpenAI name in them."""
    ids = [model["id"] for model in server.get("/v1/models").json()["data"]]
    assert [name for name in ids if "gpt-image" in name or "dall-e" in name]


def test_sglangs_client_sees_that_the_server_lives(server):
    """It asks for /health before it sends anything."""
    assert server.get("/health").status == 200


@pytest.mark.parametrize("model", ["gpt-4.1-nano", "gpt-4.1-mini"])
def test_difys_check_of_the_key_succeeds(server, model):
    """Dify saves the key and the address only after a chat with a model of OpenAI's, in words alone."""
    messages = [{"role": "user", "content": "Tell me a joke."}]
    answer = server.post(
        "/v1/chat/completions", document({"model": model, "messages": messages, "max_tokens": 10}), **BEARER
    )
    assert answer.status == 200
    assert answer.json()["choices"][0]["message"]["content"]
