"""The commands for stored keys and the database."""

from __future__ import annotations

import json

import pytest

from fakes.cli_process import REAL, run
from fakes.server import Server
from fluxvision.accounts.key_store import list_keys
from fluxvision.storage.database import Database, sqlite_url

MODEL = "flux-vision-upscaler"


@pytest.fixture
def stored(folder, monkeypatch):
    """Configure a data folder; read its keys."""
    (folder / "data").mkdir()
    monkeypatch.setenv("FLUXVISION_DATA_DIR", str(folder / "data"))

    def read():
        database = Database(sqlite_url(folder / "data"))
        found = database.run_blocking(list_keys)
        database.close()
        return found

    return read


def created(line, *arguments):
    """Create a key and return its JSON."""
    assert line("keys", "create", *arguments, "--json") == 0
    return json.loads(line.out)


def test_a_key_is_created(line, stored):
    """All limits arrive in the database; the key is printed, and a sentence that it is shown once."""
    limits = ("--budget-day", "1.5", "--budget-month", "20", "--budget-total", "100", "--per-minute", "60")
    more = ("--parallel", "2", "--model", "gpt-image-1", "--expires", "2999-01-31")
    assert line("keys", "create", "shop", *limits, *more) == 0
    [key] = stored()
    assert (key.name, key.models) == ("shop", (MODEL,))
    found = key.limits
    assert (found.budget_day, found.budget_month, found.budget_total) == (1_500_000, 20_000_000, 100_000_000)
    assert (found.per_minute, found.parallel) == (60, 2)
    rows = dict(row.split(None, 1) for row in line.out.splitlines())
    assert (rows["id"], rows["name"], rows["key"][:3]) == (key.id, "shop", "fv_")
    assert rows["limits"] == f"$1.50 a day, $20.00 a month, $100.00 in all, 60 a minute, 2 at a time, {MODEL}"
    assert "this one time" in line.err


@pytest.mark.usefixtures("stored")
def test_keys_are_listed(line):
    """The table has a row per key, without secrets; the JSON is that of GET /v1/keys."""
    one, two = created(line, "a"), created(line, "b", "--per-minute", "5", "--expires", "2999-01-31")
    assert line("keys", "list") == 0
    rows = [row.split() for row in line.out.splitlines()]
    assert rows[1] == [one["id"], "a", one["hint"], "active", "never", "none"]
    assert rows[2] == [two["id"], "b", two["hint"], "active", "2999-01-31", "00:00", "5", "a", "minute"]
    assert one["key"] not in line.out
    line("keys", "list", "--json")
    found = json.loads(line.out)
    assert found["data"] == [{name: value for name, value in key.items() if name != "key"} for key in (one, two)]


def test_a_key_is_revoked(line, stored):
    """It is revoked for good: it cannot be rotated either."""
    key = created(line, "a")
    assert line("keys", "revoke", key["id"]) == 0
    assert "revoked" in line.out
    assert [one.revoked_at is not None for one in stored()] == [True]
    assert line("keys", "rotate", key["id"]) == 2
    assert "revoked" in line.err


def test_a_key_is_changed(line, stored):
    """What is given changes, `none` takes a limit away, and all else stays."""
    key = created(line, "a", "--budget-day", "2", "--parallel", "2", "--model", MODEL, "--expires", "2999-01-31")
    assert line("keys", "update", key["id"], "--name", "b", "--budget-day", "none", "--per-minute", "9") == 0
    assert line.out.splitlines()[-1].split(None, 1)[1] == f"9 a minute, 2 at a time, {MODEL}"
    assert line("keys", "update", key["id"], "--model", "none", "--expires", "none", "--json") == 0
    assert json.loads(line.out)["expires_at"] is None
    [found] = stored()
    assert (found.name, found.models, found.expires_at) == ("b", (), None)
    assert (found.limits.budget_day, found.limits.per_minute, found.limits.parallel) == (None, 9, 2)
    assert line("keys", "update", key["id"]) == 2
    assert "what to change" in line.err


@pytest.mark.usefixtures("stored")
def test_a_key_is_rotated(line):
    """It gets another secret under the same id."""
    key = created(line, "a", "--parallel", "2")
    assert line("keys", "rotate", key["id"], "--json") == 0
    rotated = json.loads(line.out)
    assert rotated["key"] != key["key"]
    assert (rotated["id"], rotated["parallel"]) == (key["id"], 2)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("revoke", "key_none"), "no API key"),
        (("update", "key_none", "--parallel", "1"), "no API key"),
        (("update", "key_none", "--parallel", "many"), "--parallel"),
        (("create", "a", "--model", "none"), "no model"),
        (("create", "a", "--budget-day", "-1"), "--budget-day"),
        (("create", "a", "--expires", "2001-01-01"), "expires_at must be in the future"),
        (("create", "a", "--expires", "soon"), "--expires"),
        (("create", ""), "name"),
    ],
)
def test_wrong_arguments(line, stored, arguments, words):
    """Each is refused with a sentence and the exit code of a wrong usage, and no key is made."""
    assert line("keys", *arguments) == 2
    assert words in line.err
    assert stored() == []


@pytest.mark.parametrize("arguments", [("keys", "list"), ("keys", "create", "a")])
def test_without_a_database(line, monkeypatch, arguments):
    """Where the settings name no database, the error names the settings."""
    monkeypatch.delenv("FLUXVISION_DATA_DIR", raising=False)
    monkeypatch.delenv("FLUXVISION_DATABASE_URL", raising=False)
    assert line(*arguments) == 2
    assert "FLUXVISION_DATA_DIR or FLUXVISION_DATABASE_URL" in line.err


def test_a_running_server_sees_the_commands(tmp_path):
    """A key that the command makes works on a running server at once."""
    with Server(tmp_path / "data", {"admin_key": "key-of-this-test-7c1f"}) as server:
        done = run("keys", "create", "a", "--json", command=REAL, FLUXVISION_DATA_DIR=str(server.folder))
        assert done.returncode == 0, done.stderr
        key = json.loads(done.stdout)["key"]
        assert server.get("/v1/models", {"Authorization": f"Bearer {key}"}).status == 200
