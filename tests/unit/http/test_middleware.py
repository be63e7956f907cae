"""The outermost layer by itself."""

from __future__ import annotations

import gc
import io
import json
import weakref
from typing import Any

import pytest

from fluxvision.core.errors import InvalidRequest
from fluxvision.core.types import Attempt
from fluxvision.http import observability
from fluxvision.http.middleware import ErrorMiddleware
from fluxvision.http.observability import Metrics
from fluxvision.http.state import RECORD


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
    frame = ErrorMiddleware(fail, observability.create_logger("info", io.StringIO()), Metrics(1), 1.0)
    gc.disable()
    try:
        await frame(
            {"type": "http", "http_version": "1.1", "method": "GET", "path": "/", "headers": [(b"host", b"localhost")]},
            receive,
            send,
        )
        assert seen[0]() is None
    finally:
        gc.enable()
    assert sent[0]["status"] in {400, 500}


async def test_what_was_paid_is_told_though_the_end_failed():
    """A picture that was made, and could not be put behind its link, has its cost in the error."""

    async def fail(scope: dict[str, Any], *_given: object) -> None:
        scope[RECORD].attempts = [Attempt("fal", "ok", 1.0, 80_000)]
        raise OSError(28, "full")

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    sent: list[dict[str, Any]] = []
    frame = ErrorMiddleware(fail, observability.create_logger("info", io.StringIO()), Metrics(1), 1.0)
    await frame(
        {"type": "http", "http_version": "1.1", "method": "GET", "path": "/", "headers": [(b"host", b"localhost")]},
        receive,
        send,
    )
    assert sent[0]["status"] == 503
    assert (b"x-should-retry", b"false") in sent[0]["headers"]
    assert json.loads(sent[1]["body"])["metadata"]["cost"] == 0.08
