"""The load that `gateway.py` puts on a server: callers that send one prepared upload again and again.

Takes one JSON object (see `Order`) and prints one: the seconds of every request that is counted, requests per second,
all answers, the seconds of the whole run, how many cores the callers kept busy meanwhile, and failures. They speak
HTTP on bare connections of an event loop: a request is one write of bytes that were prepared before, so that the load
costs little beside the servers.
"""

from __future__ import annotations

import asyncio
import base64
import json
import struct
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvloop

from gateway_wire import Message, upload

PATIENCE = 120.0
"""Seconds that the last answers may take."""
ENOUGH = 5
"""Failures after which a caller gives up."""


@dataclass(frozen=True, slots=True)
class Order:
    """What to send where; `size` is that of the picture that has to come back."""

    port: int
    path: str
    key: str
    model: str
    picture: str
    size: list[int]
    callers: int
    warm: float
    seconds: float


@dataclass(slots=True)
class Seen:
    """What the callers of one run saw. Requests that began before `begin` are not counted."""

    begin: float
    end: float
    seconds: list[float] = field(default_factory=list)
    within: int = 0
    answers: int = 0
    failures: list[str] = field(default_factory=list)
    last: Message | None = None

    def add(self, started: float, now: float, answer: Message) -> None:
        """Take one answer into account."""
        if not answer.head.startswith(b"HTTP/1.1 200"):
            self.failures.append((answer.head.split(b"\r\n")[0] + b" " + answer.body[:500]).decode("utf-8", "replace"))
            return
        self.last = answer
        self.answers += 1
        if started >= self.begin:
            self.seconds.append(now - started)
        self.within += self.begin <= now <= self.end


class Caller(asyncio.Protocol):
    """One connection that asks, waits for the whole answer, and asks again until the time is over."""

    def __init__(self, request: bytes, seen: Seen) -> None:
        """Send `request` as soon as there is a connection."""
        self._request, self._seen = request, seen
        self._transport: asyncio.Transport
        self._answer = Message(keep=True)
        self._started = 0.0
        self._ended = False
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        """Ask for the first time."""
        self._transport = transport
        self._ask()

    def data_received(self, data: bytes) -> None:
        """Take a piece of the answer; at its end, ask again."""
        if not self._answer.take(data):
            return
        now = time.perf_counter()
        self._seen.add(self._started, now, self._answer)
        if now < self._seen.end and len(self._seen.failures) < ENOUGH:
            self._ask()
        else:
            self._ended = True
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """End; a connection that the server ended is a failure."""
        if not self._ended:
            self._seen.failures.append(f"connection lost: {exc}")
        self.done.set_result(None)

    def _ask(self) -> None:
        self._answer = Message(keep=True)
        self._started = time.perf_counter()
        self._transport.write(self._request)


def size(answer: Message | None) -> list[int]:
    """Return width and height of the PNG in an answer."""
    if answer is None:
        return []
    picture = base64.b64decode(json.loads(answer.content())["data"][0]["b64_json"])
    return list(struct.unpack(">II", picture[16:24]))


async def load(order: Order) -> dict[str, Any]:
    """Run the callers for the warm-up and the time that is counted."""
    loop = asyncio.get_running_loop()
    request = upload(order.port, order.path, order.key, order.model, Path(order.picture))
    cpu, wall = time.process_time(), time.perf_counter()
    seen = Seen(wall + order.warm, wall + order.warm + order.seconds)
    async with asyncio.timeout(order.warm + order.seconds + PATIENCE):
        pairs = [
            await loop.create_connection(lambda: Caller(request, seen), "127.0.0.1", order.port)
            for _ in range(order.callers)
        ]
        await asyncio.gather(*(caller.done for _, caller in pairs))
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    if not seen.failures and size(seen.last) != order.size:
        seen.failures.append(f"the picture has {size(seen.last)} pixels, not {order.size}")
    return {
        "seconds": seen.seconds,
        "rate": seen.within / order.seconds if order.seconds else 0.0,
        "answers": seen.answers,
        "wall": wall,
        "cores": cpu / wall,
        "failures": seen.failures,
    }


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(json.dumps(runner.run(load(Order(**json.loads(sys.argv[1]))))))
