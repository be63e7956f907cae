"""What is answered about stored jobs, also where a question is odd or nothing is kept."""

from __future__ import annotations

import pytest
from sqlalchemy import insert

from fakes.gateway import png
from fakes.server import Server, wait_until
from fluxvision.storage.database import open_in
from fluxvision.storage.tables import REQUESTS

PARTS = (("image", png(8, 6)), ("model", "flux-vision-upscaler"))
FIRST, SECOND = "first-key-of-the-tests", "second-key-of-the-tests"
ONE, TWO = {"Authorization": f"Bearer {FIRST}"}, {"Authorization": f"Bearer {SECOND}"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The data folder of the server."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def server(folder):
    """A server that two callers share."""
    with Server(folder, {"api_keys": f"{FIRST},{SECOND}"}) as running:
        yield running


def ended(server, **headers):
    """Make a background job and return its id when it has ended."""
    answer = server.edit(*PARTS, Prefer="respond-async", **ONE, **headers)
    assert answer.status == 202
    request_id = answer.json()["id"]
    assert wait_until(lambda: server.get(f"/v1/requests/{request_id}", ONE).json()["status"] == "completed")
    return request_id


def test_a_request_says_whether_its_response_is_kept(server):
    """`has_response` in the list is true until the payloads are deleted."""
    request_id = ended(server)
    for is_kept in (True, False):
        listed = {row["id"]: row for row in server.get("/v1/requests", ONE).json()["data"]}
        assert listed[request_id]["has_response"] is is_kept
        server.get(f"/v1/requests/{request_id}/payloads", ONE, method="DELETE")


def test_the_events_of_a_purged_request_say_that_nothing_is_kept(server):
    """Whoever follows a request whose payloads were deleted gets the error of something that is not there."""
    request_id = ended(server)
    assert server.get(f"/v1/requests/{request_id}/payloads", ONE, method="DELETE").status == 200
    events = server.get(f"/v1/requests/{request_id}/events", ONE).body.decode()
    assert "event: error" in events
    assert "NOT_FOUND" in events


@pytest.mark.parametrize("status", ["completed", "failed"])
def test_the_events_of_a_noted_request_say_that_nothing_is_kept(server, folder, status):
    """Whoever follows a request that was only noted gets the error of something that is not there."""
    owner = server.get("/v1/requests", ONE).json()["data"]
    request_id = ended(server) if not owner else owner[0]["id"]
    database = open_in(folder)
    with database.begin() as connection:
        key_id = connection.execute(REQUESTS.select().where(REQUESTS.c.id == request_id)).one().key_id
        row = {"id": f"req_{status}", "key_id": key_id, "created_at": 1.0, "model": "m", "status": status}
        connection.execute(insert(REQUESTS).values(row))
    database.close()
    assert "NOT_FOUND" in server.get(f"/v1/requests/req_{status}/events", ONE).body.decode()


@pytest.mark.parametrize("name", ["%00", "%ff", "req_1'%20OR%201=1", "x" * 5000])
def test_an_odd_id_is_a_404(server, name):
    """An id that nobody has is a 404, whatever its letters."""
    assert server.get(f"/v1/requests/{name}", ONE).status == 404
    assert server.get(f"/v1/requests?cursor={name}", ONE).status == 404


@pytest.mark.parametrize(
    ("query", "param"),
    [(f"limit={'9' * 5000}", "limit"), ("limit=%C2%B2", "limit"), ("created_after=nan", "created_after")],
)
def test_an_odd_number_names_its_parameter(server, query, param):
    """A number that cannot be used is a 400 that names the parameter."""
    answer = server.get(f"/v1/requests?{query}", ONE)
    assert (answer.status, answer.json()["error"]["param"]) == (400, param)


@pytest.mark.parametrize("retries", ["\xb2", "9" * 5000, "-1", "many", ""])
def test_an_odd_retry_count_is_no_error(server, retries):
    """A retry count of whatever letters and length is no error."""
    ended(server, **{"x-stainless-retry-count": retries})


def test_another_callers_request_is_not_found(server):
    """Another key's request is a 404, as one that does not exist, and stays as it is."""
    request_id = ended(server)
    for path, method in (("", "GET"), ("/events", "GET"), ("", "DELETE"), ("/payloads", "DELETE")):
        assert server.get(f"/v1/requests/{request_id}{path}", TWO, method=method).status == 404
    assert "response" in server.get(f"/v1/requests/{request_id}", ONE).json()


def test_another_caller_has_keys_of_its_own(server):
    """The same idempotency key of another caller is another request."""
    first, other = (server.edit(*PARTS, **{"Idempotency-Key": "shared"}, **caller) for caller in (ONE, TWO))
    assert first.json()["id"] != other.json()["id"]


@pytest.mark.parametrize("path", ["", "/events"])
def test_head_has_no_body(server, path):
    """HEAD of a request is its head alone."""
    answer = server.get(f"/v1/requests/{ended(server)}{path}", ONE, method="HEAD")
    assert (answer.status, answer.body) == (200, b"")


@pytest.mark.parametrize(
    "fields", [(("response_format", "b64_json"),), (("stream", "true"), ("partial_images", "2")), ()]
)
def test_a_replay_has_the_same_picture(server, fields):
    """Base64, a stream and a link with the same key are answered again with the picture, and say so."""
    key = {"Idempotency-Key": f"replay {fields}"}
    first, again = (server.edit(*PARTS, *fields, **key, **ONE) for _ in range(2))
    assert (first.status, again.status, again.headers["idempotent-replayed"]) == (200, 200, "true")
    if ("response_format", "b64_json") in fields:
        assert first.json()["data"] == again.json()["data"]
    elif fields:
        assert first.body.count(b"event: image_edit.partial_image") == 2
        assert again.body.count(b"event: image_edit.completed") == 1
    else:
        links = [answer.json()["data"][0]["url"].removeprefix(server.url) for answer in (first, again)]
        assert server.get(links[0]).body == server.get(links[1]).body != b""


def test_a_free_error_is_tried_again(server):
    """The same key after a failure that cost nothing is a new job."""
    key = {"Idempotency-Key": "fails"}
    first, again = (server.edit(*PARTS, ("fail", "upstream"), **key, **ONE) for _ in range(2))
    assert (first.status, again.status) == (502, 502)
    assert "idempotent-replayed" not in again.headers


def test_an_expired_picture_is_a_404(server, folder):
    """A replay whose picture is gone says so."""
    key = {"Idempotency-Key": "expired"}
    link = server.edit(*PARTS, **key, **ONE).json()["data"][0]["url"]
    (folder / "media" / link.partition("?")[0].rpartition("/")[2]).unlink()
    assert server.edit(*PARTS, **key, **ONE).status == 404
