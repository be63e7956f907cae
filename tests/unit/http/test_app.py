"""The application as a whole: ids, numbers, health, keys, and who may reach it."""

from __future__ import annotations

import asyncio
import errno
import gc
import json
import re
import socket
import threading
import uuid
from contextlib import asynccontextmanager

import pytest

from fakes.asgi import Client
from fakes.gateway import Gateway
from fakes.server import PATIENCE
from fluxvision.core.errors import ConfigError
from fluxvision.core.load_settings import load_settings
from fluxvision.gateway.execution import ExecutionReport
from fluxvision.http import app as http_server
from fluxvision.http.base64_stream import InMemoryFile, encode_base64
from fluxvision.http.middleware import request_id
from fluxvision.http.observability import Metrics
from fluxvision.http.run_job import JobObserver
from fluxvision.http.state import AppState
from fluxvision.server import check_exposure, open_database, serve
from fluxvision.storage.media_folder import MediaFolder

MODEL = ("model", "flux-vision-upscaler")


def test_request_ids_are_uuids_that_sort_by_time():
    """An id is a version 7 UUID behind req_; later ids are greater."""
    ids = [request_id(1_800_000_000_000 + step) for step in range(50)]
    assert ids == sorted(set(ids))
    assert {uuid.UUID(each.removeprefix("req_")).version for each in ids} == {7}
    assert {uuid.UUID(each.removeprefix("req_")).variant for each in ids} == {uuid.RFC_4122}


async def test_one_line_per_request(edge, picture):
    """The log line has the route's template, the status, the model, the provider and the cost; never the query."""
    served = edge()
    answer = await served.edit(
        MODEL, ("image", picture, "holiday.png"), ("prompt", "secret"), query="?dryRun=false&secret=1"
    )
    line = json.loads(served.log.getvalue())
    assert line["route"] == "/v1/images/edits"
    assert (line["method"], line["status"], line["model"], line["provider"], line["cost_micros"]) == (
        "POST",
        200,
        "flux-vision-upscaler",
        "embedded",
        0,
    )
    assert line["request_id"] == answer.answered["x-request-id"]
    assert not re.search("secret|holiday", served.log.getvalue())


async def test_the_numbers(edge, picture):
    """/metrics counts requests by route and status, megapixels, and attempts by outcome."""
    served = edge()
    await served.edit(MODEL, ("image", picture, "a"))
    text = (await served.get("/metrics")).body.decode()
    assert 'fluxvision_requests_total{route="/v1/images/edits",status="200"} 1.0' in text
    assert "fluxvision_output_megapixels_total 0.003072" in text
    assert 'fluxvision_attempts_total{outcome="ok",provider="embedded"} 1.0' in text
    assert "fluxvision_jobs_running 0.0" in text


async def test_readiness_follows_the_providers_and_the_drain(edge):
    """Ready while a provider is; not while draining; alive in both cases."""
    served = edge()
    assert (await served.get("/readyz")).json()["providers"] == {"embedded": True, "fal": False}
    await served.app.drain(0)
    assert (await served.get("/readyz")).status == 503
    assert (await served.get("/healthz")).status == 200
    assert (await served.edit(MODEL)).status == 503


@pytest.mark.parametrize(
    ("path", "status"),
    [("/v1/models", 401), ("/openai/v1/models", 401), ("/metrics", 401), ("/healthz", 200), ("/readyz", 200)],
)
async def test_keys_guard_the_api(edge, path, status):
    """With keys configured the API and the numbers ask for one; probes do not, and any host name is answered."""
    served = edge(api_keys="one,two")
    assert (await served.get(path, Host="anything.example")).status == status
    assert (await served.get(path, Host="anything.example", Authorization="Bearer two")).status == 200


@pytest.mark.parametrize(
    ("host", "status"),
    [("10.1.2.3:8000", 200), ("fluxvision:8000", 200), ("nas.local", 200), ("up.example", 200), ("evil.example", 403)],
)
async def test_a_server_open_to_the_network_answers_names_that_cannot_be_rebound(edge, host, status):
    """Without keys but opened on purpose: addresses, local names and the public address are answered."""
    served = edge(host="0.0.0.0", allow_unauthenticated="true", public_url="http://up.example")  # noqa: S104
    assert (await served.get("/v1/models", Host=host)).status == status


async def test_any_key_is_taken_without_keys(edge):
    """SDKs insist on sending a key; without configured ones it does not matter which."""
    assert (await edge().get("/v1/models", Authorization="Bearer anything")).status == 200


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_loopback_needs_no_key(host):
    """Listening on this machine alone is always fine."""
    check_exposure(load_settings({"FLUXVISION_HOST": host}))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "example.com", ""])  # noqa: S104
def test_the_network_needs_a_key_or_a_decision(host):
    """Beyond loopback the server wants keys, or to be told that everybody may use it."""
    flags = {"host": host}
    with pytest.raises(ConfigError, match="FLUXVISION_API_KEYS"):
        check_exposure(load_settings({}, flags))
    check_exposure(load_settings({"FLUXVISION_API_KEYS": "key-of-this-test-7c1f"}, flags))
    check_exposure(load_settings({"FLUXVISION_ADMIN_KEY": "key-of-this-test-7c1f"}, flags))
    check_exposure(load_settings({"FLUXVISION_ALLOW_UNAUTHENTICATED": "true"}, flags))


def test_the_database_is_in_the_data_folder(tmp_path):
    """It is opened where it is there or keys are managed; a folder that cannot be used is a named setting."""

    def opened(folder, **settings):
        return open_database(load_settings({"FLUXVISION_DATA_DIR": str(folder), **settings}))

    admin = {"FLUXVISION_ADMIN_KEY": "an-admin-key-of-this-test-91"}
    folder = tmp_path / "a" / "b"
    assert open_database(load_settings({})) is None
    assert opened(folder) is None
    opened(folder, **admin).close()
    assert (folder / "fluxvision.db").is_file()
    opened(folder).close()
    (tmp_path / "file").touch()
    for unusable in ("/proc/no", tmp_path / "file"):
        with pytest.raises(ConfigError) as error:
            opened(unusable, **admin)
        assert error.value.param == "data_dir"


def test_an_address_that_is_taken_is_a_configuration_error(tmp_path):
    """A port in use, or an address that is not this machine's, is named in one line before anything starts."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen(1)
        for flags in ({"port": taken.getsockname()[1]}, {"host": "203.0.113.9", "allow_unauthenticated": True}):
            with pytest.raises(ConfigError, match="cannot be listened on"):
                serve(load_settings({"FLUXVISION_DATA_DIR": str(tmp_path / "data")}, flags), lambda _settings: None)
    assert not (tmp_path / "data").exists()


async def test_the_lifespan_closes_everything(edge):
    """At the end the gateway is closed and the uploads folder is gone."""
    served = edge()
    messages = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    sent = []

    async def receive():
        return messages.pop(0)

    async def send(message):
        sent.append(message["type"])

    await served.app({"type": "lifespan", "state": {}, "asgi": {}}, receive, send)
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert served.gateway.closed
    assert list((served.folder / "uploads").glob("run-*")) == []


async def test_a_failing_sweep_and_a_failing_gateway_do_not_break_the_end(edge, monkeypatch):
    """A sweep that fails is logged and tried again; what fails at the end keeps nothing else from ending."""

    class Failing(Gateway):
        async def aclose(self):
            await super().aclose()
            raise OSError("a secret path")

    calls = []
    twice = threading.Event()

    def sweep(_folder, _now):
        calls.append(1)
        if len(calls) > 1:
            twice.set()
        raise PermissionError("a secret path")

    monkeypatch.setattr(MediaFolder, "sweep", sweep)
    monkeypatch.setattr(http_server, "SWEEP_SECONDS", 0.01)
    served = edge(gateway=Failing())
    messages = [{"type": "lifespan.startup"}]
    sent = []

    async def receive():
        if messages:
            return messages.pop(0)
        await asyncio.to_thread(twice.wait, 5)
        return {"type": "lifespan.shutdown"}

    async def send(message):
        sent.append(message["type"])

    with pytest.raises(OSError, match="a secret path"):
        await served.app({"type": "lifespan", "state": {}, "asgi": {}}, receive, send)
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.failed"]
    assert served.gateway.closed
    assert list((served.folder / "uploads").glob("run-*")) == []
    assert '"event":"sweep"' in served.log.getvalue()
    assert "secret" not in served.log.getvalue()


@asynccontextmanager
async def living(served):
    """Run the lifespan of an application, which looks after its memory all the time."""
    messages = [{"type": "lifespan.startup"}]
    done = asyncio.Event()

    async def receive():
        if messages:
            return messages.pop(0)
        await done.wait()
        return {"type": "lifespan.shutdown"}

    async def send(_message):
        pass

    task = asyncio.create_task(served.app({"type": "lifespan", "state": {}, "asgi": {}}, receive, send))
    yield
    done.set()
    await task


async def test_memory_is_released_once_the_last_job_is_done(edge, picture, monkeypatch):
    """Not before there was one, not while one runs, and not again before the next."""
    released = []
    served = edge()
    monkeypatch.setattr(http_server, "IDLE_SECONDS", 0.01)
    monkeypatch.setattr(http_server, "release_memory", lambda: released.append(served.gateway.running))
    async with living(served):
        await asyncio.sleep(0.1)
        assert released == []
        for jobs in (1, 2):
            body = [MODEL, ("image", picture, "a"), ("tile_seconds", "0.1")]
            await asyncio.gather(*(served.edit(*body) for _ in range(2)))
            await asyncio.sleep(0.1)
            assert released == [0] * jobs


async def test_memory_is_released_after_a_stored_job(edge, monkeypatch):
    """Not while one runs that no request waits for, and once it has ended."""
    released = threading.Event()
    served = edge()
    monkeypatch.setattr(http_server, "IDLE_SECONDS", 0.01)
    monkeypatch.setattr(http_server, "release_memory", released.set)
    running = served.app._running
    observer = JobObserver(Metrics(1), None, running)
    async with living(served):
        observer.begins()
        await asyncio.sleep(0.1)
        assert not released.is_set()
        observer.ends(ExecutionReport(()))
        assert await asyncio.to_thread(released.wait, PATIENCE)


async def test_free_memory_is_returned_while_jobs_run(edge, picture, monkeypatch):
    """A server that never rests returns what is free all the same."""
    trimmed = []
    served = edge()
    monkeypatch.setattr(http_server, "IDLE_SECONDS", 0.01)
    monkeypatch.setattr(http_server, "TRIM_SECONDS", 0.05)
    monkeypatch.setattr(http_server, "trim_memory", lambda: trimmed.append(served.gateway.running))
    async with living(served):
        await served.edit(MODEL, ("image", picture, "a"), ("tile_seconds", "0.5"))
    assert trimmed
    assert set(trimmed) == {1}


def test_the_edge_keeps_no_key(edge):
    """What the application holds after it was built are digests; the settings in its hand are covered."""
    served = edge(api_keys="sk-one,sk-two")
    held = [one for one in gc.get_objects() if type(one) is AppState and one.gateway is served.gateway]
    assert [one.settings.api_keys for one in held] == [("***", "***")]


@pytest.mark.parametrize(("number", "status"), [(errno.ENOSPC, 503), (errno.EDQUOT, 503), (errno.EIO, 500)])
async def test_a_full_disk_is_no_riddle(edge, number, status):
    """Without room on the disk callers get a 503 and may come back later; other failures stay a plain 500."""

    class Failing(Gateway):
        def find(self, _model):
            raise OSError(number, "a secret path")

    answer = await edge(gateway=Failing()).get("/v1/models/x")
    assert (answer.status, "retry-after" in answer.answered) == (status, status == 503)
    assert b"secret" not in answer.body


async def test_web_sockets_are_not_answered(edge):
    """There is no web socket here, and asking for one does no harm."""
    client = Client("GET", "/v1/models")

    async def websocket(scope, receive, send):
        await edge().app({**scope, "type": "websocket"}, receive, send)

    await client.ask(websocket)
    assert client.sent == []


@pytest.mark.parametrize("size", [0, 1, 2, 3, 786_431, 786_432, 786_433])
async def test_spliced_files_have_the_announced_length(tmp_path, size):
    """A body with a file in it is as long as it says, and is valid JSON."""
    path = tmp_path / "file"
    path.write_bytes(b"x" * size)
    body = encode_base64({"a": path, "b": [path]}, before=b"<", after=b">")
    text = b"".join(body.chunks())
    assert len(text) == body.length
    assert len(json.loads(text[1:-1])["a"]) == (size + 2) // 3 * 4


@pytest.mark.parametrize("size", [0, 1, 2, 3, 786_433])
async def test_a_file_in_memory_is_spliced_like_one_on_the_disk(tmp_path, size):
    """The same JSON, of the same announced length, and nothing is written."""
    path = tmp_path / "file"
    path.write_bytes(bytes(range(256)) * (size // 256) + b"x" * (size % 256))
    body = encode_base64({"a": InMemoryFile(path.read_bytes()), "b": 1})
    assert b"".join(body.chunks()) == b"".join(encode_base64({"a": path, "b": 1}).chunks())
    assert len(b"".join(body.chunks())) == body.length
