"""An ASGI client for applications in this process: no socket, and a caller that can go away at will."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any


@dataclass(slots=True)
class Client:
    """One request; `gone` set means that the caller hung up, `takes` how many messages of the answer it reads.

    `lost` is what breaks when the application asks for news of the caller, once the body is there. One that `stalls`
    has more to send than its chunks, and does not.
    """

    method: str
    path: str
    headers: dict[str, str] = field(default_factory=dict)
    chunks: Sequence[bytes] = ()
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    takes: float = inf
    lost: Exception | None = None
    stalls: bool = False
    sent: list[dict[str, Any]] = field(default_factory=list)

    async def ask(self, app: Any) -> Client:
        """Make the request and wait for its end."""
        path, _, query = self.path.partition("?")
        headers = {"host": "localhost:8000", **{name.lower(): value for name, value in self.headers.items()}}
        pending = list(self.chunks) or [b""]
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": self.method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": query.encode(),
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        }

        async def receive() -> dict[str, Any]:
            if pending:
                return {"type": "http.request", "body": pending.pop(0), "more_body": self.stalls or bool(pending)}
            if self.lost is not None:
                raise self.lost
            await self.gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            if len(self.sent) >= self.takes:
                await asyncio.Event().wait()
            self.sent.append(message)

        await app(scope, receive, send)
        return self

    @property
    def status(self) -> int:
        """Return the status, 0 where nothing was answered."""
        return self.sent[0]["status"] if self.sent else 0

    @property
    def answered(self) -> dict[str, str]:
        """Return the response's headers."""
        return {name.decode().lower(): value.decode() for name, value in self.sent[0]["headers"]}

    @property
    def body(self) -> bytes:
        """Return what was sent so far."""
        return b"".join(message.get("body", b"") for message in self.sent[1:])

    def json(self) -> Any:
        """Return the body's JSON."""
        return json.loads(self.body)

    def events(self) -> list[tuple[str, Any]]:
        """Return the events of a stream: their names and data; comments have the name `:`."""
        found: list[tuple[str, Any]] = []
        for block in self.body.decode().strip().split("\n\n"):
            if block.startswith(":"):
                found.append((":", block[1:].strip()))
                continue
            lines = dict(line.split(": ", 1) for line in block.split("\n"))
            found.append((lines["event"], json.loads(lines["data"])))
        return found
