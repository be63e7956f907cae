"""Uploaded files: which are refused, how much of them is kept for a key, and pictures that edits name."""

from __future__ import annotations

import io
import json

import pytest
from PIL import Image

from fakes.gateway import MODEL, png
from fakes.server import Server, document, form, wait_until
from fluxvision.http.files import FILES_OF_A_KEY

LARGEST = 1000
NAMES = ("first", "second", "third")
ONE, TWO, THREE = ({"Authorization": f"Bearer {name}-key-of-the-tests"} for name in NAMES)
KEYS = ",".join(f"{name}-key-of-the-tests" for name in NAMES)
PURPOSE = ("purpose", "batch")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The data folder of the server."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def server(folder):
    """A server with three keys that takes small files only."""
    limits = {"max_batch_bytes": str(LARGEST), "max_upload_bytes": str(LARGEST // 2)}
    with Server(folder, {"api_keys": KEYS, **limits}) as running:
        yield running


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([PURPOSE], "file is missing"),
        ([PURPOSE, ("file", "", "a.jsonl")], "file is empty"),
        ([PURPOSE, ("file", "{}", "a.jsonl"), ("file", "{}", "b.jsonl")], "file is given twice"),
    ],
)
def test_a_form_without_its_file_is_refused(server, parts, message):
    """A form that has no file, an empty one or two is a 400 that names the parameter."""
    answer = server.post("/v1/files", form(*parts), **ONE)
    assert (answer.status, answer.json()["error"]["param"]) == (400, "file")
    assert answer.json()["error"]["message"].startswith(message)


def test_the_files_of_a_key_have_a_limit(server, folder):
    """Past so many bytes of its own a key's next file is refused and leaves nothing, until another is deleted."""
    upload = form(PURPOSE, ("file", " " * LARGEST, "a.jsonl"))
    found = [server.post("/v1/files", upload, **ONE) for _ in range(FILES_OF_A_KEY)]
    assert {answer.status for answer in found} == {200}
    refused = server.post("/v1/files", upload, **ONE)
    assert (refused.status, refused.json()["error"]["param"]) == (400, "file")
    assert len(list(folder.rglob("*.jsonl"))) == FILES_OF_A_KEY
    assert server.post("/v1/files", upload, **TWO).status == 200
    place = f"/v1/files/{found[0].json()['id']}"
    assert server.get(place, ONE, method="DELETE").status == 200
    assert server.post("/v1/files", upload, **ONE).status == 200


PICTURE = png(8, 6)


def uploaded(server, purpose="vision", content=PICTURE, **headers):
    """Upload a picture and return the answer."""
    return server.post("/v1/files", form(("purpose", purpose), ("file", content, "a.png")), **(headers or THREE))


def edited(server, given, **headers):
    """Ask for an edit by JSON and return the answer."""
    return server.post("/v1/images/edits", document({"model": MODEL.id, **given}), **(headers or THREE))


@pytest.fixture
def picture_id(server):
    """A picture of the third key."""
    file = uploaded(server).json()
    yield file["id"]
    server.get(f"/v1/files/{file['id']}", THREE, method="DELETE")


@pytest.mark.parametrize("purpose", ["vision", "user_data"])
def test_a_picture_is_a_file(server, purpose):
    """It has OpenAI's facts, can be read again as it was, and expires after a day."""
    file = uploaded(server, purpose).json()
    assert (file["purpose"], file["filename"], file["bytes"]) == (purpose, "a.png", len(PICTURE))
    assert file["expires_at"] - file["created_at"] == 24 * 3600
    place = f"/v1/files/{file['id']}"
    content = server.get(f"{place}/content", THREE)
    assert (content.body, content.headers["content-type"]) == (PICTURE, "application/octet-stream")
    assert server.get(place, THREE, method="DELETE").json()["deleted"] is True


@pytest.mark.parametrize(
    ("purpose", "content", "status", "param"),
    [
        ("vision", b"no picture", 400, "file"),
        ("vision", PICTURE + bytes(LARGEST // 2), 413, "file"),
        ("batch", b" " * (LARGEST + 1), 413, "file"),
        ("assistants", PICTURE, 400, "purpose"),
    ],
)
def test_what_is_no_picture_is_refused_at_once(server, purpose, content, status, param):
    """A file that no edit could use, a larger one than an upload may be, and unknown purposes are not kept."""
    answer = uploaded(server, purpose, content)
    assert (answer.status, answer.json()["error"]["param"]) == (status, param)


@pytest.fixture(scope="module")
def mask_id(server):
    """A mask of the third key."""
    stream = io.BytesIO()
    Image.new("RGBA", (8, 6)).save(stream, "PNG")
    return uploaded(server, content=stream.getvalue()).json()["id"]


@pytest.mark.parametrize("shape", ["image", "images", "list", "mask"])
def test_an_edit_names_an_uploaded_picture(server, picture_id, mask_id, shape):
    """`file_id` stands wherever a reference does, and the picture can be used again."""
    named = {"file_id": picture_id}
    shapes = {"image": {"image": named}, "images": {"images": [named]}, "list": {"image": [named]}}
    shapes["mask"] = {"image": named, "mask": {"file_id": mask_id}}
    for _ in range(2):
        answer = edited(server, shapes[shape])
        assert (answer.status, answer.json()["metadata"]["size"]) == (200, "16x12")


@pytest.mark.parametrize(
    ("named", "status"),
    [
        ({"file_id": "file-unknown"}, 404),
        ({"file_id": 7}, 400),
        ({"file_id": ""}, 400),
        ({"file_id": "a" * 300}, 404),
        ({"file_id": "file-\u0000"}, 404),
        ({"file_id": "file-a", "image_url": "http://a.example/a.png"}, 400),
    ],
)
def test_a_wrong_file_id_is_named(server, named, status):
    """One that is not there is a 404, one that is no text or has a URL beside it a 400."""
    answer = edited(server, {"image": named})
    assert (answer.status, answer.json()["error"]["param"]) == (status, "image")


def test_a_picture_is_that_of_its_key(server, picture_id):
    """To another key it is not there, and after it was deleted to nobody."""
    assert edited(server, {"image": {"file_id": picture_id}}, **TWO).status == 404
    assert server.get(f"/v1/files/{picture_id}/content", TWO).status == 404
    server.get(f"/v1/files/{picture_id}", THREE, method="DELETE")
    assert edited(server, {"image": {"file_id": picture_id}}).status == 404


def test_files_of_batches_and_pictures_are_not_mixed(server, picture_id):
    """A batch reads no picture, and an edit no lines: both are refused by name."""
    wanted = {"input_file_id": picture_id, "endpoint": "/v1/images/edits", "completion_window": "24h"}
    refused = server.post("/v1/batches", document(wanted), **THREE)
    assert (refused.status, refused.json()["error"]["param"]) == (400, "input_file_id")
    lines = uploaded(server, "batch", b"{}").json()["id"]
    answer = edited(server, {"image": {"file_id": lines}})
    assert (answer.status, answer.json()["error"]["param"]) == (400, "image")
    server.get(f"/v1/files/{lines}", THREE, method="DELETE")


def test_a_line_of_a_batch_names_a_picture(server, picture_id):
    """The picture is that of the key which uploaded the batch."""
    body = {"model": MODEL.id, "image": {"file_id": picture_id}}
    line = json.dumps({"custom_id": "one", "method": "POST", "url": "/v1/images/edits", "body": body})
    file = uploaded(server, "batch", line.encode()).json()["id"]
    wanted = {"input_file_id": file, "endpoint": "/v1/images/edits", "completion_window": "24h"}
    place = f"/v1/batches/{server.post('/v1/batches', document(wanted), **THREE).json()['id']}"
    assert wait_until(lambda: server.get(place, THREE).json()["status"] == "completed")
    assert server.get(place, THREE).json()["request_counts"]["completed"] == 1


def test_files_are_listed_by_purpose(server, picture_id):
    """`purpose` leaves out the others; one that no file has is refused."""
    lines = uploaded(server, "batch", b"{}").json()["id"]
    for purpose, inside, outside in (("vision", picture_id, lines), ("batch", lines, picture_id)):
        ids = [one["id"] for one in server.get(f"/v1/files?purpose={purpose}", THREE).json()["data"]]
        assert (inside in ids, outside in ids) == (True, False)
    assert server.get("/v1/files?purpose=fine-tune", THREE).json()["error"]["param"] == "purpose"
    server.get(f"/v1/files/{lines}", THREE, method="DELETE")


@pytest.mark.parametrize(
    ("anchor", "seconds", "status"),
    [
        ("created_at", "1", 200),
        ("created_at", "86400", 200),
        ("created_at", "86401", 400),
        ("created_at", "0", 400),
        ("created_at", "soon", 400),
        ("last_active_at", "60", 400),
    ],
)
def test_a_file_may_expire_earlier(server, anchor, seconds, status):
    """OpenAI's `expires_after` counts from the creation, up to a day; a picture is gone after it."""
    parts = [("purpose", "vision"), ("file", PICTURE, "a.png")]
    parts += [("expires_after[anchor]", anchor), ("expires_after[seconds]", seconds)]
    answer = server.post("/v1/files", form(*parts), **THREE)
    assert answer.status == status
    if status == 400:
        assert answer.json()["error"]["param"] == "expires_after"
        return
    file = answer.json()
    assert file["expires_at"] - file["created_at"] == int(seconds)
    if seconds == "1":
        assert wait_until(lambda: server.get(f"/v1/files/{file['id']}", THREE).status == 404)
