"""Keys, balances and usage over HTTP, with real servers."""

from __future__ import annotations

import time
from contextlib import contextmanager

import pytest

from fakes.gateway import png
from fakes.server import Server, document, form
from fluxvision.accounts.key_store import create_key
from fluxvision.accounts.quota import QuotaStore
from fluxvision.accounts.spending import DAY
from fluxvision.core.key_limits import Limits
from fluxvision.storage.database import Database, sqlite_url

ADMIN = {"Authorization": "Bearer admin-of-this-test-7c1f"}
KEY = {"Authorization": "Bearer key-of-this-test-7c1f"}
SETTINGS = {"admin_key": "admin-of-this-test-7c1f", "api_keys": "key-of-this-test-7c1f"}
MODEL = "flux-vision-upscaler"
NOON = time.time() // DAY * DAY + DAY / 2


def bearer(key):
    """Return the header of a key."""
    return {"Authorization": f"Bearer {key}"}


def create(server, **facts):
    """Create a key and return its JSON."""
    answer = server.post("/v1/keys", document({"name": "a", **facts}), **ADMIN)
    assert answer.status == 200, answer.body
    return answer.json()


@contextmanager
def quotas(server):
    """Open the ledger of a server's database: `run(method, …)` is one transaction, also of another function."""
    database = Database(sqlite_url(server.folder))
    found = QuotaStore(database, time.time)

    def run(method, **facts):
        work = getattr(found, method) if isinstance(method, str) else method
        return database.run_blocking(lambda connection: work(connection, **facts))

    yield run
    database.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Serve with an admin key and another one."""
    with Server(tmp_path_factory.mktemp("served") / "data", SETTINGS) as running:
        yield running


def test_the_life_of_a_key(server):
    """A key is created, works at once, is rotated and revoked; each time the old secret stops at once."""
    made = create(server, name="shop", budget_month=50, per_minute=60, models=[MODEL], expires_at=int(time.time()) + 99)
    assert (made["name"], made["budget_month"], made["per_minute"]) == ("shop", 50.0, 60)
    assert (made["status"], made["budget_day"], made["models"]) == ("active", None, [MODEL])
    assert server.get("/v1/models", bearer(made["key"])).status == 200
    rotated = server.get(f"/v1/keys/{made['id']}/rotate", ADMIN, "POST").json()
    assert server.get("/v1/models", bearer(made["key"])).status == 401
    assert server.get("/v1/models", bearer(rotated["key"])).status == 200
    revoked = server.get(f"/v1/keys/{made['id']}", ADMIN, "DELETE").json()
    assert revoked["status"] == "revoked"
    assert server.get("/v1/models", bearer(rotated["key"])).status == 401
    shown = server.get(f"/v1/keys/{made['id']}", ADMIN).json()
    assert shown == revoked
    assert shown in server.get("/v1/keys", ADMIN).json()["data"]


def change(server, made, **facts):
    """Ask for a change of a key."""
    return server.patch(f"/v1/keys/{made['id']}", document(facts), **ADMIN)


def test_a_key_is_changed(server):
    """Limits that are given hold at once, null takes one away, what is not given stays, and the secret too."""
    made = create(server, budget_day=2, per_minute=1, models=[MODEL])
    assert server.get("/v1/models", bearer(made["key"])).status == 200
    changed = change(server, made, name="other", per_minute=None, budget_month=7.5).json()
    stays = {name: value for name, value in made.items() if name != "key"}
    assert changed == {**stays, "name": "other", "per_minute": None, "budget_month": 7.5}
    assert {server.get("/v1/balance", bearer(made["key"])).status for _ in range(3)} == {200}
    assert change(server, made, parallel=0, models=[]).json()["models"] == []


@pytest.mark.parametrize(
    ("facts", "status", "param"),
    [({"budget_day": -1}, 400, "budget_day"), ({"secret": "a"}, 400, "secret"), ({"models": ["none"]}, 404, "model")],
)
def test_a_wrong_change(server, facts, status, param):
    """It is refused, and the key stays as it was."""
    made = create(server)
    answer = change(server, made, **facts)
    assert (answer.status, answer.json()["error"]["param"]) == (status, param)
    stays = {name: value for name, value in made.items() if name != "key"}
    assert server.get(f"/v1/keys/{made['id']}", ADMIN).json() == stays


def test_a_secret_is_shown_once(server):
    """Neither the list nor the key by itself has the secret, and no answer may be cached."""
    made = create(server)
    for path in ("/v1/keys", f"/v1/keys/{made['id']}"):
        answer = server.get(path, ADMIN)
        assert made["key"].encode() not in answer.body
        assert answer.headers["cache-control"] == "no-store"
    assert made["key"] not in server.log


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_other_keys_manage_nothing(server, method):
    """A configured key and a created one are refused."""
    for headers in (KEY, bearer(create(server)["key"])):
        answer = server.get("/v1/keys", headers, method)
        assert (answer.status, answer.json()["error"]["code"]) == (403, "FORBIDDEN")
        assert "admin key" in answer.json()["error"]["message"]


async def test_without_an_admin_key_nobody_manages(edge):
    """Where no admin key is configured, the answer says how to configure one."""
    answer = await edge().get("/v1/keys")
    assert answer.status == 403
    assert "FLUXVISION_ADMIN_KEY" in answer.json()["error"]["message"]


@pytest.mark.parametrize("path", ["/v1/keys", "/v1/balance", "/v1/usage"])
async def test_without_a_database_there_are_no_accounts(edge, path):
    """The answer names the settings that bring a database."""
    answer = await edge(admin_key="admin-of-this-test-7c1f").get(path, **ADMIN)
    assert answer.status == 404
    assert "FLUXVISION_DATA_DIR" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ({}, "name"),
        ({"name": ""}, "name"),
        ({"name": "  "}, "name"),
        ({"name": 5}, "name"),
        ({"name": "a", "budget_day": -1}, "budget_day"),
        ({"name": "a", "budget_total": "much"}, "budget_total"),
        ({"name": "a", "per_minute": 1.5}, "per_minute"),
        ({"name": "a", "expires_at": 5}, "expires_at"),
        ({"name": "a", "models": [5]}, "models"),
        ({"name": "a", "models": ["none"]}, "model"),
        ({"name": "a", "budget_dai": 5}, "budget_dai"),
        ([], None),
    ],
)
def test_a_wrong_key_request_is_refused_by_name(server, given, param):
    """The error names the parameter, and no key is made."""
    before = server.get("/v1/keys", ADMIN).body
    answer = server.post("/v1/keys", document(given), **ADMIN)
    assert answer.status in {400, 404}
    assert answer.json()["error"]["param"] == param
    assert server.get("/v1/keys", ADMIN).body == before


def test_what_is_no_json_is_refused(server):
    """A body that cannot be parsed is a 400."""
    assert server.post("/v1/keys", ({}, b"{"), **ADMIN).status == 400


def test_balance_and_usage(server):
    """A key sees what it has used and has left, the admin key what all have used."""
    made = create(server, budget_day=1, budget_total=2)
    headers, limits = bearer(made["key"]), Limits(budget_day=1_000_000)
    with quotas(server) as run:
        common = {"key_id": made["id"], "limits": limits, "now": NOON}
        run("admit", request_id="one", model="m", reserved=400_000, **common)
        run("settle", request_id="one", status="completed", cost=250_000, provider="fal", ended_at=NOON)
        run("admit", request_id="two", model="n", reserved=500_000, **common)
    found = server.get("/v1/balance", headers).json()
    assert (found["key_id"], found["currency"]) == (made["id"], "USD")
    assert found["budgets"] == [
        {"period": "day", "limit": 1.0, "spent": 0.25, "reserved": 0.5, "left": 0.25},
        {"period": "month", "limit": None, "spent": 0.25, "reserved": 0.5, "left": None},
        {"period": "total", "limit": 2.0, "spent": 0.25, "reserved": 0.5, "left": 1.25},
    ]
    found = server.get("/v1/usage?group_by=model", headers).json()
    assert (found["requests"], found["cost"], found["group_by"]) == (2, 0.25, "model")
    assert found["data"] == [{"group": "m", "requests": 1, "cost": 0.25}, {"group": "n", "requests": 1, "cost": 0.0}]
    assert server.get("/v1/usage", KEY).json()["data"] == []
    everything = server.get("/v1/usage?group_by=key", ADMIN).json()["data"]
    assert {"group": made["id"], "requests": 2, "cost": 0.25} in everything


@pytest.mark.parametrize(
    ("query", "requests"),
    [
        ("start=2001-01-02", 1),
        ("start=2001-01-02T12:00:01", 0),
        ("start=2001-01-02T12:00:01%2B01:00", 1),
        ("end=2001-01-02", 0),
        ("start=978393600&end=978480000", 1),
        ("end=978436800", 0),
    ],
)
def test_usage_within_a_time(server, query, requests):
    """Start and end are Unix times or dates; the start is within, the end is not."""
    noon = 978_436_800.0  # 2001-01-02T12:00:00Z
    made = create(server)
    with quotas(server) as run:
        facts = {"request_id": made["id"], "key_id": made["id"], "model": "m", "reserved": 0, "limits": Limits()}
        run("admit", now=noon, **facts)
    assert server.get(f"/v1/usage?{query}", bearer(made["key"])).json()["requests"] == requests


@pytest.mark.parametrize(
    ("query", "param"),
    [("group_by=moon", "group_by"), ("start=soon", "start"), ("end=nan", "end"), ("end=inf", "end")],
)
def test_a_wrong_question_about_usage_is_refused(server, query, param):
    """The error names the parameter."""
    answer = server.get(f"/v1/usage?{query}", KEY)
    assert (answer.status, answer.json()["error"]["param"]) == (400, param)


def test_two_gateways_share_the_keys(database_url, tmp_path):
    """A key that one gateway makes works on the other at once, and one that it revokes stops there in two seconds."""
    settings = {**SETTINGS, "database_url": database_url}
    with Server(tmp_path / "one", settings) as server, Server(tmp_path / "other", settings) as other:
        made = create(server)
        assert other.get("/v1/models", bearer(made["key"])).status == 200
        server.get(f"/v1/keys/{made['id']}", ADMIN, "DELETE")
        until = time.monotonic() + 2.0
        while other.get("/v1/models", bearer(made["key"])).status == 200:
            assert time.monotonic() < until
            time.sleep(0.05)


def test_a_model_that_the_key_does_not_allow(server):
    """An edit, and its dry run, with another model than the key's are refused by the model's name; others work."""
    parts = (("model", MODEL), ("image", png(8, 6), "a.png"))
    with quotas(server) as run:
        _, other = run(create_key, name="a", now=time.time(), models=["another-model"])
    for query in ("", "?dryRun=true"):
        answer = server.post(f"/v1/images/edits{query}", form(*parts), **bearer(other))
        assert (answer.status, answer.json()["error"]["param"]) == (403, "model")
        assert f"{MODEL}; it may use another-model" in answer.json()["error"]["message"]
    assert server.edit(*parts, **bearer(create(server, models=[MODEL])["key"])).status == 200


def test_the_first_key_makes_keys_necessary(tmp_path):
    """A server with a database and without any key asks for one as soon as the first is made by another process."""
    (tmp_path / "data").mkdir()
    database = Database(sqlite_url(tmp_path / "data"))
    with Server(tmp_path / "data") as server:
        assert server.get("/v1/models").status == 200
        _, secret = database.run_blocking(lambda connection: create_key(connection, name="a", now=time.time()))
        database.close()
        time.sleep(1.0)
        assert server.get("/v1/models").status == 401
        assert server.get("/v1/models", bearer(secret)).status == 200
