"""Uploaded files: which are refused, and how much of them is kept for a key."""

from __future__ import annotations

import pytest

from fakes.server import Server, form
from fluxvision.http.files import FILES_OF_A_KEY

LARGEST = 1000
ONE, TWO = ({"Authorization": f"Bearer {name}-key-of-the-tests"} for name in ("first", "second"))
KEYS = "first-key-of-the-tests,second-key-of-the-tests"
PURPOSE = ("purpose", "batch")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The data folder of the server."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def server(folder):
    """A server with two keys that takes small files only."""
    with Server(folder, {"api_keys": KEYS, "max_batch_bytes": str(LARGEST)}) as running:
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
