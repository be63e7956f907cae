"""What a server notes of requests that it does not store: counted for a limited key, written later for the others."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from fakes.gateway import png
from fakes.server import Server, form, wait_until
from fluxvision.accounts.key_store import create_key
from fluxvision.core.key_limits import Limits
from fluxvision.storage.database import open_in

PICTURE = png(8, 6)


@pytest.fixture
def folder(tmp_path):
    """The data folder of a server."""
    found = tmp_path / "data"
    found.mkdir()
    return found


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server without keys."""
    with Server(tmp_path_factory.mktemp("served") / "data") as running:
        yield running


def key_with(folder, **limits):
    """Create a key in the server's database and return its secret."""
    database = open_in(folder)
    with database.begin() as connection:
        _, secret = create_key(connection, name="test", now=time.time(), limits=Limits(**limits))
    database.close()
    return {"Authorization": f"Bearer {secret}"}


def edit(server, headers, **fields):
    parts = (
        ("image", PICTURE),
        ("model", "flux-vision-upscaler"),
        *((name, str(value)) for name, value in fields.items()),
    )
    return server.post("/v1/images/edits", form(*parts), **headers)


def test_every_request_is_noted(folder):
    """With a history, requests that ended well and badly are listed a little later, the newest first."""
    with Server(folder, {"history": "true"}) as server:
        assert edit(server, {}).status == 200
        assert edit(server, {}, fail="upstream").status == 502
        assert wait_until(lambda: len(server.get("/v1/requests").json()["data"]) == 2)
        rows = server.get("/v1/requests").json()["data"]
        assert [(row["status"], row["provider"], row["cost_micros"]) for row in rows] == [
            ("failed", None, 0),
            ("completed", "embedded", 0),
        ]
        first = server.get("/v1/requests?limit=1").json()
        rest = server.get(f"/v1/requests?limit=1&cursor={first['next_cursor']}").json()
        assert [first["data"][0]["id"], rest["data"][0]["id"]] == [row["id"] for row in rows]
        assert (first["has_more"], rest["has_more"]) == (True, False)


def test_a_key_has_its_requests_per_minute(folder):
    """Each answer tells what is left of the minute; one request more is refused with the time to wait."""
    key = key_with(folder, per_minute=2)
    with Server(folder) as server:
        answers = [edit(server, key) for _ in range(3)]
        assert [answer.status for answer in answers] == [200, 200, 429]
        assert [answer.headers["x-ratelimit-remaining-requests"] for answer in answers] == ["1", "0", "0"]
        assert 1 <= int(answers[2].headers["retry-after"]) <= 60


def test_a_key_has_its_jobs_at_once(folder):
    """A second job of a key that may have one at a time is refused while the first one runs, and taken afterwards."""
    key = key_with(folder, parallel=1)

    def long_job(server):
        while (answer := edit(server, key, tile_seconds=2.0)).status == 429:
            pass  # one of the short ones below had the place
        return answer

    with Server(folder, {"workers": "4"}) as server, ThreadPoolExecutor(1) as pool:
        first = pool.submit(long_job, server)
        assert wait_until(lambda: edit(server, key).status == 429)
        assert first.result().status == 200
        assert edit(server, key).status == 200


def test_keys_see_their_own_requests(folder):
    """A key lists and reads its own requests alone."""
    one, other = key_with(folder, per_minute=100), key_with(folder, per_minute=100)
    with Server(folder) as server:
        request_id = edit(server, one).json()["id"]
        assert [row["id"] for row in server.get("/v1/requests", one).json()["data"]] == [request_id]
        assert server.get("/v1/requests", other).json()["data"] == []
        assert server.get(f"/v1/requests/{request_id}", one).status == 200
        assert server.get(f"/v1/requests/{request_id}", other).status == 404


@pytest.mark.parametrize(
    ("query", "param"),
    [("limit=0", "limit"), ("limit=x", "limit"), ("status=odd", "status"), ("created_after=x", "created_after")],
)
def test_a_wrong_question_names_the_parameter(server, query, param):
    """A value that cannot be used in the list's address is a 400 that names it."""
    answer = server.get(f"/v1/requests?{query}")
    assert (answer.status, answer.json()["error"]["param"]) == (400, param)
