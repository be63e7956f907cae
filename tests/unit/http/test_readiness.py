"""/readyz stands for a picture that was made a moment ago."""

from __future__ import annotations

import asyncio

import pytest

from fakes.gateway import Gateway
from fakes.painter import Painter
from fluxvision.core.errors import Unavailable
from fluxvision.engine.backends import registry, weight_files
from fluxvision.gateway import gateway as flow
from fluxvision.http import health
from fluxvision.http.readiness import FRESH, Readiness
from fluxvision.storage.data_dir import open_data_dir


class Checked(Gateway):
    """Counts its checks; `wrong` is what they find, and `wait` holds them up."""

    def __init__(self, wrong=None):
        """Find this wrong."""
        super().__init__()
        self.checks, self.wrong, self.wait = 0, wrong, asyncio.Event()
        self.wait.set()

    async def check(self, folder):
        """Leave a file and find what is to be found."""
        self.checks += 1
        (folder / "small.png").write_bytes(b"x")
        await self.wait.wait()
        if self.wrong is not None:
            raise self.wrong


@pytest.mark.parametrize(
    ("wrong", "status"),
    [
        (Unavailable("a small picture cannot be enlarged"), "a small picture cannot be enlarged"),
        (ZeroDivisionError("/a/path"), "Something went wrong on this server."),
    ],
)
async def test_a_server_that_cannot_make_a_picture_is_not_ready(wrong, status, edge):
    """The answer is 503 and names the stage, the log has the trace, and no file stays."""
    served = edge(Checked(wrong))
    answer = await served.get("/readyz")
    assert (answer.status, answer.json()["status"]) == (503, status)
    assert '"not ready"' in served.log.getvalue()
    assert "/a/path" not in served.log.getvalue()
    assert list(served.folder.rglob("small.png")) == []


async def test_an_engine_that_fails_makes_a_server_not_ready(edge, tmp_path, monkeypatch):
    """The real check of the real gateway: without weights it is 503, with them 200."""
    registry.load_backend.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(weight_files, "OWN", tmp_path)
        answer = await edge(flow.Gateway({"embedded": Painter()})).get("/readyz")
    assert (answer.status, answer.json()["status"]) == (503, "a small picture cannot be enlarged")
    assert (await edge(flow.Gateway({"embedded": Painter()})).get("/readyz")).status == 200


async def test_a_result_holds_for_a_few_seconds(tmp_path):
    """Who asks again at once is told the last result; later there is another check, which may end otherwise."""
    gateway, now = Checked(), [0.0]
    readiness = Readiness(gateway, open_data_dir(str(tmp_path / "data")), None, lambda: now[0])
    assert [await readiness.failure() for _ in range(3)] == [None] * 3
    assert gateway.checks == 1
    now[0] += FRESH
    assert await readiness.failure() is None
    assert gateway.checks == 2


async def test_one_check_at_a_time(edge, monkeypatch):
    """While one is on its way others wait for it; a caller that waits in vain is told so and the check goes on."""
    monkeypatch.setattr(health, "PATIENCE", 0.05)
    gateway = Checked()
    gateway.wait.clear()
    served = edge(gateway)
    answers = await asyncio.gather(*(served.get("/readyz") for _ in range(3)))
    assert {(answer.status, answer.json()["status"]) for answer in answers} == {
        (503, "the checks did not end within 0.05 seconds")
    }
    assert gateway.checks == 1
    gateway.wait.set()
    assert (await served.get("/readyz")).status == 200
    assert gateway.checks == 1
