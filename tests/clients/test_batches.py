"""A batch from upload to download with the official Python SDK, against the real engine."""

from __future__ import annotations

import base64
import io
import json
import urllib.request
import zipfile

import openai
import pytest
from PIL import Image

from fakes.pictures import is_the_photo
from fakes.server import wait_until

ENDPOINT = "/v1/images/edits"
ENDED = {"completed", "failed", "cancelled", "expired"}


@pytest.fixture
def client(server):
    """The SDK with the key that it insists on."""
    with openai.OpenAI(api_key="any", base_url=f"{server.url}/v1", max_retries=0) as made:
        yield made


def jsonl(*lines: tuple[str, dict]) -> bytes:
    """Return an input file of lines, each a custom_id and a body."""
    rows = [{"custom_id": name, "method": "POST", "url": ENDPOINT, "body": body} for name, body in lines]
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def data_url(photo) -> str:
    return "data:image/png;base64," + base64.b64encode(photo.read_bytes()).decode()


def created(client, content: bytes, **more):
    file = client.files.create(file=("edits.jsonl", content), purpose="batch")
    return client.batches.create(input_file_id=file.id, endpoint=ENDPOINT, completion_window="24h", **more)


def ended(client, batch):
    assert wait_until(lambda: client.batches.retrieve(batch.id).status in ENDED)
    return client.batches.retrieve(batch.id)


def test_a_batch_from_upload_to_download(client, server, photo):
    """Three lines, one wrong: two answers with pictures, one error with its parameter, and a ZIP archive of both."""
    image = data_url(photo)
    content = jsonl(
        ("one", {"model": "flux-vision-upscaler", "image": image}),
        ("wrong", {"model": "flux-vision-upscaler", "image": image, "scale_factor": 99}),
        ("a/b", {"model": "flux-vision-upscaler", "images": [{"image_url": image}], "response_format": "b64_json"}),
    )
    file = client.files.create(file=("edits.jsonl", content), purpose="batch")
    assert (file.bytes, file.filename, file.purpose) == (len(content), "edits.jsonl", "batch")
    assert client.files.content(file.id).content == content
    assert file.id in [one.id for one in client.files.list()]
    begun = client.batches.create(
        input_file_id=file.id, endpoint=ENDPOINT, completion_window="24h", metadata={"job": "test"}
    )
    assert (begun.status, begun.request_counts.total, begun.output_file_id) == ("in_progress", 3, None)
    batch = ended(client, begun)
    assert (batch.status, batch.metadata) == ("completed", {"job": "test"})
    assert (batch.request_counts.completed, batch.request_counts.failed) == (2, 1)
    assert batch.id in [one.id for one in client.batches.list(limit=100)]
    output = client.files.content(batch.output_file_id)
    assert client.files.retrieve(batch.output_file_id).bytes == len(output.content)
    first, second = (json.loads(line) for line in output.text.splitlines())
    assert [first["custom_id"], second["custom_id"]] == ["one", "a/b"]
    assert (first["error"], first["response"]["status_code"]) == (None, 200)
    with urllib.request.urlopen(first["response"]["body"]["data"][0]["url"]) as found:  # noqa: S310, our own server
        is_the_photo(Image.open(io.BytesIO(found.read())), photo, (256, 256))
    second_picture = base64.b64decode(second["response"]["body"]["data"][0]["b64_json"])
    is_the_photo(Image.open(io.BytesIO(second_picture)), photo, (256, 256))
    (error,) = map(json.loads, client.files.content(batch.error_file_id).text.splitlines())
    assert (error["custom_id"], error["response"]["status_code"]) == ("wrong", 400)
    assert error["error"]["code"] == error["response"]["body"]["error"]["code"] == "INVALID_REQUEST"
    assert error["error"]["param"] == "scale_factor"
    archive = zipfile.ZipFile(io.BytesIO(server.get(f"/v1/batches/{batch.id}/results.zip").body))
    assert archive.testzip() is None
    assert archive.namelist() == ["one.png", "a_b.png"]
    is_the_photo(Image.open(io.BytesIO(archive.read("one.png"))), photo, (256, 256))
    assert client.files.delete(file.id).deleted


def test_a_cancelled_batch_begins_nothing_more(client, photo):
    """After cancel the lines that were made stay, those that run are cancelled, and the rest never begins."""
    image = data_url(photo)
    body = {"model": "flux-vision-upscaler", "image": image, "scale_factor": 4}
    batch = created(client, jsonl(*((f"line-{number}", body) for number in range(40))))
    assert client.batches.cancel(batch.id).status in {"cancelling", "cancelled"}
    batch = ended(client, batch)
    assert batch.status == "cancelled"
    assert batch.request_counts.completed + batch.request_counts.failed < 40
    assert batch.cancelled_at >= batch.cancelling_at


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (jsonl(("one", {}), ("one", {})), "line 2 has the custom_id of line 1"),
        (b"{", "line 1 is not valid JSON"),
        (b"\n\n", "has no lines"),
        (jsonl(("", {})), "custom_id"),
        (jsonl(("one", {})).replace(b"edits", b"generations"), "other than POST /v1/images/edits"),
        (jsonl(("one", {})).replace(b'"method"', b'"verb"'), "missing required field `method`"),
        (jsonl(*((str(number), {}) for number in range(10_001))), "at most 10,000 lines"),
    ],
)
def test_a_wrong_file_is_refused_as_a_whole(client, content, reason):
    """A file whose lines cannot be told apart, or are no edits, is a 400 that names the line; nothing begins."""
    with pytest.raises(openai.BadRequestError, match="input_file_id") as caught:
        created(client, content)
    assert caught.value.param == "input_file_id"
    assert reason in caught.value.message


@pytest.mark.parametrize(("name", "value"), [("endpoint", "/v1/responses"), ("completion_window", "1h")])
def test_another_endpoint_or_window_is_refused(client, name, value):
    """What this server does not do is a 400 that names the parameter."""
    wanted = {"input_file_id": "file-x", "endpoint": ENDPOINT, "completion_window": "24h", name: value}
    with pytest.raises(openai.BadRequestError) as caught:
        client.batches.create(**wanted)
    assert caught.value.param == name


def test_a_client_that_asks_again_begins_one_batch(client, photo):
    """The SDK's retry of a creation that timed out, and a second one with the same key, find the one batch."""
    content = jsonl(("one", {"model": "flux-vision-upscaler", "image": data_url(photo)}))
    file = client.files.create(file=("edits.jsonl", content), purpose="batch")
    wanted = {"input_file_id": file.id, "endpoint": ENDPOINT, "completion_window": "24h"}
    first = client.batches.create(**wanted)
    again = client.batches.create(**wanted, extra_headers={"x-stainless-retry-count": "1"})
    keyed = [client.batches.create(**wanted, extra_headers={"Idempotency-Key": "one"}).id for _ in range(2)]
    assert first.id == again.id
    assert keyed[0] == keyed[1] != first.id
    ended(client, first)
