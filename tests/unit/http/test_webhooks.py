"""Webhooks over HTTP: the field of an edit, /v1/webhooks, and messages of a real server to a real receiver."""

from __future__ import annotations

import base64
import time

import pytest
from standardwebhooks import Webhook

from fakes.gateway import png
from fakes.receiver import receiving
from fakes.server import Server, document, form, wait_until
from fluxvision.accounts.key_store import create_key
from fluxvision.storage.database import open_in

QUICK = ("fakes.quick_webhooks",)
MODEL = "flux-vision-upscaler"
GIVEN = (("image", png(8, 6)), ("model", MODEL))
PAGE = {"X-Fluxvision-Client": "page", "Origin": "http://localhost:8000"}


@pytest.fixture(scope="module")
def receiver():
    """A server that receives webhooks."""
    with receiving() as found:
        yield found


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server that sends webhooks again after a moment."""
    settings = {"allow_private_urls": "true", "workers": "4"}
    with Server(tmp_path_factory.mktemp("served") / "data", settings, module=QUICK) as running:
        yield running


def verified(server, message, headers=None):
    """Return the message that the library verifies by the caller's secret."""
    secret = server.get("/v1/webhooks/secret", headers).json()["secret"]
    return Webhook(secret).verify(message.body, message.headers)


def deliveries(server, query=""):
    """Return the deliveries by the path of their address."""
    rows = server.get(f"/v1/webhooks/deliveries?limit=100{query}").json()["data"]
    return {row["url"].rpartition("/")[2]: row for row in rows}


def test_the_end_of_a_request_is_told(server, receiver):
    """The message is the request as it is shown, with links that work; the request itself is answered as without it."""
    answer = server.post("/v1/images/edits", form(*GIVEN, ("webhook_url", receiver.url("/completed"))))
    assert answer.status == 200
    assert wait_until(lambda: receiver.at("/completed"))
    event = verified(server, receiver.at("/completed")[0])
    assert event["type"] == "request.completed"
    request = server.get(f"/v1/requests/{answer.json()['id']}").json()
    assert event["data"]["id"] == request["id"] == answer.json()["id"]
    assert event["data"]["status"] == "completed"
    assert event["data"]["background"] is False
    link = event["data"]["response"]["data"][0]["url"]
    assert server.get(link.removeprefix(server.url)).status == 200
    assert "webhook_url" not in str(answer.json())
    assert wait_until(lambda: deliveries(server)["completed"]["status"] == "delivered")


def test_json_takes_the_field_too(server, receiver):
    """A failure is told, too, and the field in a JSON document."""
    picture = "data:image/png;base64," + base64.b64encode(png(8, 6)).decode()
    given = {"model": MODEL, "image": picture, "fail": "upstream"}
    answer = server.post("/v1/images/edits", document({**given, "webhook_url": receiver.url("/failed")}))
    assert answer.status == 502
    assert wait_until(lambda: receiver.at("/failed"))
    event = verified(server, receiver.at("/failed")[0])
    assert (event["type"], event["data"]["error"]["code"]) == ("request.failed", "UPSTREAM_ERROR")


def test_a_cancelled_request_is_told(server, receiver):
    """DELETE of a background request sends its message."""
    fields = (("tile_seconds", "20"), ("webhook_url", receiver.url("/cancelled")))
    request_id = server.post("/v1/images/edits", form(*GIVEN, *fields), Prefer="respond-async").json()["id"]
    assert wait_until(lambda: server.get(f"/v1/requests/{request_id}").json()["status"] == "running")
    server.get(f"/v1/requests/{request_id}", method="DELETE")
    assert wait_until(lambda: receiver.at("/cancelled"))
    assert verified(server, receiver.at("/cancelled")[0])["type"] == "request.cancelled"


def test_a_receiver_that_fails_twice_gets_it(server, receiver):
    """The third attempt delivers the message, with the id of the first one."""
    receiver.answers["/twice"] = [500, 503]
    assert server.post("/v1/images/edits", form(*GIVEN, ("webhook_url", receiver.url("/twice")))).status == 200
    assert wait_until(lambda: deliveries(server).get("twice", {}).get("status") == "delivered")
    assert deliveries(server)["twice"]["attempts"] == 3
    assert len({message.headers["webhook-id"] for message in receiver.at("/twice")}) == 1
    assert verified(server, receiver.at("/twice")[-1])["type"] == "request.completed"


def test_a_redirect_ends_as_a_dead_letter(server, receiver):
    """A receiver that redirects is asked again and then given up; where it leads gets nothing, and no log has it."""
    receiver.answers["/redirects"] = [302] * 3
    assert server.post("/v1/images/edits", form(*GIVEN, ("webhook_url", receiver.url("/redirects")))).status == 200
    assert wait_until(lambda: "redirects" in deliveries(server, "&status=dead"))
    row = deliveries(server, "&status=dead")["redirects"]
    assert (row["attempts"], row["last_error"], row["next_at"]) == (3, "status_302", None)
    assert receiver.at("/elsewhere") == []
    assert "redirects" not in deliveries(server, "&status=delivered")
    assert str(receiver.port) not in server.log
    assert "whsec_" not in server.log


def test_a_repeated_request_is_told_once(server, receiver):
    """The same idempotency key gets the same answer and no second message; with another webhook it is refused."""
    parts = form(*GIVEN, ("webhook_url", receiver.url("/once")))
    for _ in range(2):
        assert server.post("/v1/images/edits", parts, **{"Idempotency-Key": "webhook"}).status == 200
    assert wait_until(lambda: receiver.at("/once"))
    other = form(*GIVEN, ("webhook_url", receiver.url("/other")))
    assert server.post("/v1/images/edits", other, **{"Idempotency-Key": "webhook"}).status == 422
    assert len(receiver.at("/once")) == 1


def test_the_secret_is_rotated(server):
    """GET shows the same secret each time, POST makes another one and tells until when the one before signs."""
    first, again = (server.get("/v1/webhooks/secret").json() for _ in range(2))
    assert (first["secret"], first["secret"][:6]) == (again["secret"], "whsec_")
    rotated = server.get("/v1/webhooks/secret", method="POST").json()
    assert rotated["secret"] != first["secret"]
    assert abs(rotated["previous_until"] - time.time() - 24 * 3600) < 60
    assert server.get("/v1/webhooks/secret").json() == rotated


def test_keys_have_their_own(tmp_path, receiver):
    """Each key has a secret of its own and lists its own deliveries alone."""
    folder = tmp_path / "data"
    folder.mkdir()
    database = open_in(folder)
    keys = []
    for _ in range(2):
        with database.begin() as connection:
            _, secret = create_key(connection, name="test", now=time.time())
        keys.append({"Authorization": f"Bearer {secret}"})
    database.close()
    with Server(folder, {"allow_private_urls": "true"}, module=QUICK) as running:
        secrets = [running.get("/v1/webhooks/secret", one).json()["secret"] for one in keys]
        assert secrets[0] != secrets[1]
        parts = form(*GIVEN, ("webhook_url", receiver.url("/own")))
        assert running.post("/v1/images/edits", parts, **keys[0]).status == 200
        assert wait_until(lambda: receiver.at("/own"))
        assert verified(running, receiver.at("/own")[0], keys[0])["type"] == "request.completed"
        listed = [running.get("/v1/webhooks/deliveries", one).json()["data"] for one in keys]
        assert [len(rows) for rows in listed] == [1, 0]


@pytest.mark.parametrize(
    ("url", "private", "reason"),
    [
        ("http://example.org/", False, "must begin with https://"),
        ("ftp://example.org/", True, "must begin with http:// or https://"),
        ("https://127.0.0.1/", False, "without a public address"),
        ("https://[::1]/", False, "without a public address"),
        ("https://2130706433/", False, "without a public address"),
        ("https://localhost/", False, "without a public address"),
        ("https://nothing.invalid/", False, "cannot be found"),
        ("https://user:word@example.org/", False, "user name or password"),
        ("https://example.org:22/", False, "one of the ports"),
    ],
)
async def test_a_wrong_address_is_refused(edge, picture, url, private, reason):
    """An address that must not be posted to is a 400 that names the field and repeats nothing of it."""
    opened = edge(allow_private_urls=str(private).lower())
    parts = (("image", picture), ("model", MODEL), ("webhook_url", url))
    answer = await opened.edit(*parts, query="?dryRun=true")
    error = answer.json()["error"]
    assert (answer.status, error["param"]) == (400, "webhook_url")
    assert reason in error["message"]
    assert url not in error["message"]


async def test_it_is_no_parameter_of_a_provider(edge, picture):
    """The job and the receipt have nothing of the address; an empty one and null mean that it is absent."""
    opened = edge(allow_private_urls="true")
    for url in ("http://127.0.0.1:9/", "", "null"):
        answer = await opened.edit(("image", picture), ("model", MODEL), ("webhook_url", url), query="?dryRun=true")
        assert answer.status == 200
        assert "webhook_url" not in str(answer.json().get("normalization"))


async def test_the_page_without_a_key_has_none(edge, picture):
    """A webhook of the page without a key is refused."""
    opened = edge(playground="true")
    parts = (("image", picture), ("model", MODEL), ("webhook_url", "https://example.org/"))
    answer = await opened.edit(*parts, **PAGE)
    assert (answer.status, answer.json()["error"]["param"]) == (400, "webhook_url")


@pytest.mark.parametrize(("query", "param"), [("status=odd", "status"), ("limit=0", "limit"), ("cursor=x", "cursor")])
def test_a_wrong_question_names_the_parameter(server, query, param):
    """A value that cannot be used in the list's address is an error that names it."""
    answer = server.get(f"/v1/webhooks/deliveries?{query}")
    assert (answer.status, answer.json()["error"]["param"]) == (404 if param == "cursor" else 400, param)
