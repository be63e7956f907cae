"""The outermost layer by itself."""

from __future__ import annotations

import gc
import io
import weakref

import pytest

from fluxvision.errors import InvalidRequest
from fluxvision.http import logs
from fluxvision.http.frame import Frame
from fluxvision.http.metrics import Metrics


class Held:
    """Stands for a picture that is open while the request fails."""


@pytest.mark.parametrize("error", [InvalidRequest("no"), ValueError("no")], ids=lambda error: type(error).__name__)
async def test_a_failed_request_leaves_nothing_behind(error):
    """What a handler held when it failed is gone with the answer, not when the collector looks for cycles."""
    seen: list[weakref.ref[Held]] = []

    async def fail(*_given: object) -> None:
        held = Held()
        seen.append(weakref.ref(held))
        raise type(error)(*error.args)

    async def send(message: dict[str, object]) -> None:
        sent.append(message)

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": b"", "more_body": False}

    sent: list[dict[str, object]] = []
    frame = Frame(fail, logs.logger("info", io.StringIO()), Metrics(1), 1.0)
    gc.disable()
    try:
        await frame({"type": "http", "method": "GET", "path": "/", "headers": []}, receive, send)
        assert seen[0]() is None
    finally:
        gc.enable()
    assert sent[0]["status"] in {400, 500}
