"""Batches over HTTP: whose they are, and when a repeated creation is the same one."""

from __future__ import annotations

import base64
import json
from contextlib import ExitStack

import pytest

from fakes.gateway import png
from fakes.s3 import running_s3
from fakes.server import Server, document, form, wait_until

ONE, TWO = ({"Authorization": f"Bearer {name}-key-of-the-tests"} for name in ("first", "second"))
KEYS = "first-key-of-the-tests,second-key-of-the-tests"
ENDPOINT = "/v1/images/edits"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server that two callers share."""
    with Server(tmp_path_factory.mktemp("data"), {"api_keys": KEYS}) as running:
        yield running


@pytest.fixture
def file_id(server):
    """The input file of a batch of one line, the first caller's."""
    return uploaded(server)


def uploaded(server, **fields):
    """Upload the input file of a batch of one line, the first caller's, and return its id."""
    image = "data:image/png;base64," + base64.b64encode(png(8, 6)).decode()
    body = {"model": "flux-vision-upscaler", "image": image, **fields}
    line = json.dumps({"custom_id": "one", "method": "POST", "url": ENDPOINT, "body": body})
    answer = server.post("/v1/files", form(("purpose", "batch"), ("file", line, "a.jsonl")), **ONE)
    return answer.json()["id"]


def created(server, file_id, caller, **headers):
    """Ask for a batch and return the answer."""
    wanted = {"input_file_id": file_id, "endpoint": ENDPOINT, "completion_window": "24h"}
    return server.post("/v1/batches", document(wanted), **caller, **headers)


def ended(server, file_id, **headers):
    """Make a batch of the first caller's and return it when it has ended."""
    place = f"/v1/batches/{created(server, file_id, ONE, **headers).json()['id']}"
    assert wait_until(lambda: server.get(place, ONE).json()["status"] == "completed")
    return server.get(place, ONE).json()


def test_a_key_has_only_its_own(server, file_id):
    """To another key the files and batches of a key are not there: not shown, listed, used, cancelled or deleted."""
    batch = ended(server, file_id)
    files = [file_id, batch["output_file_id"]]
    places = [f"/v1/files/{name}{path}" for name in files for path in ("", "/content")]
    places += [f"/v1/batches/{batch['id']}{path}" for path in ("", "/results.zip")]
    assert {place: server.get(place, ONE).status for place in places} == dict.fromkeys(places, 200)
    assert {place: server.get(place, TWO).status for place in places} == dict.fromkeys(places, 404)
    assert server.get(f"/v1/files/{file_id}", TWO, method="DELETE").status == 404
    assert server.get(f"/v1/batches/{batch['id']}/cancel", TWO, method="POST").status == 404
    assert created(server, file_id, TWO).status == 404
    for path, found in (("/v1/files", file_id), ("/v1/batches", batch["id"])):
        assert found in [row["id"] for row in server.get(path, ONE).json()["data"]]
        assert server.get(path, TWO).json()["data"] == []
        assert server.get(f"{path}?after={found}", TWO).status == 404


def test_the_size_of_a_result_file_is_known(s3, bucket_url, tmp_path):
    """The bytes of an output file with pictures in it are told without reading them from the bucket."""
    with Server(tmp_path / "data", {"api_keys": KEYS, "media_url": bucket_url}, dict(s3.environment)) as server:
        output = f"/v1/files/{ended(server, uploaded(server, response_format='b64_json'))['output_file_id']}"
        for copy in tmp_path.rglob("*.png"):
            copy.unlink()
        size = server.get(output, ONE).json()["bytes"]
        assert [*tmp_path.rglob("*.png")] == []
        assert size == len(server.get(f"{output}/content", ONE).body)


def test_a_deletion_that_the_bucket_fails_can_be_repeated(tmp_path):
    """Where the object of a file cannot be deleted nobody reads the file any more, and it can be deleted again."""
    with ExitStack() as ends:
        with running_s3() as own:
            settings = {"api_keys": KEYS, "media_url": own.make_bucket()}
            server = ends.enter_context(Server(tmp_path / "data", settings, dict(own.environment)))
            place = f"/v1/files/{uploaded(server)}"
        for _ in range(2):
            assert server.get(place, ONE, method="DELETE").status == 503
            assert server.get(place, ONE).status == 404


def test_a_known_key_needs_no_file(server, file_id):
    """A repeated creation finds its batch when the input file has been deleted; a new one does not."""
    batch = ended(server, file_id, **{"Idempotency-Key": "known"})
    assert server.get(f"/v1/files/{file_id}", ONE, method="DELETE").status == 200
    again = created(server, file_id, ONE, **{"Idempotency-Key": "known"})
    assert (again.status, again.json()["id"]) == (200, batch["id"])
    assert created(server, file_id, ONE, **{"Idempotency-Key": "new"}).status == 404


def test_an_id_that_no_database_takes_is_not_found(server):
    """A NUL in the id of the input file is a 404."""
    assert created(server, "file-\0", ONE).status == 404
