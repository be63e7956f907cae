"""HTTP/1.1 message framing: unambiguous headers, unread request bodies, and responses of the announced length."""

from __future__ import annotations

import asyncio
import math
import re
import time
from collections.abc import Callable, Iterable
from contextlib import suppress

from starlette.types import Message, Receive, Scope, Send

from fluxvision.core.errors import CallerGone, InvalidRequest
from fluxvision.http.parsing.body import BYTES_PER_SECOND

RawHeaders = Iterable[tuple[bytes, bytes]]

HOST = re.compile(rb"(?:[A-Za-z0-9._~%!$&'()*+,;=-]{0,255}|\[[0-9A-Fa-f:.]{2,45}\])(?::\d{0,5})?")
LINGER_SECONDS = 5.0
"""Seconds after an early response in which the rest of the request body is read and dropped."""
LINGER_BYTES = 64 * 1024 * 1024
"""Most bytes of a body that are dropped. A longer body is answered with `Connection: close`."""

PIECES = 1024
"""Pieces of a body that may have any size; each costs an iteration of the event loop."""
BYTES_PER_PIECE = 16
"""Least average size of further pieces. Network packets are larger; only chunks can be as small."""


def check_headers(scope: Scope) -> None:
    """Raise `InvalidRequest` for headers that two servers may understand differently (RFC 9112, 3.2 and 6.1).

    hyper, below granian, answers the other cases itself: it refuses what it cannot parse, and where a request has both
    Content-Length and Transfer-Encoding it drops the first and closes the connection after the answer.
    """
    hosts = [value for name, value in scope["headers"] if name == b"host"]
    codings = [value for name, value in scope["headers"] if name == b"transfer-encoding"]
    if len(hosts) > 1:
        raise InvalidRequest("The request has more than one Host header.")
    if scope["http_version"] == "1.1" and hosts in ([], [b""]):
        raise InvalidRequest("The request has no Host header.")
    if hosts and not HOST.fullmatch(hosts[0]):
        raise InvalidRequest("The Host header is not a host name.")
    if codings and [value.strip().lower() for value in codings] != [b"chunked"]:
        raise InvalidRequest("The only Transfer-Encoding that is read is chunked, once.")


class RequestBody:
    """The `receive` of one request, which counts how much of the body is left."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        """Wrap `receive`; the length is what the headers announce."""
        self._receive = receive
        self._pieces = self._seen = 0
        self._waits = False
        self.left: float = 0
        for name, value in scope["headers"]:
            if name == b"content-length":
                self.left = int(value) if value.isdigit() else math.inf
            elif name == b"transfer-encoding":
                self.left = math.inf
            elif name == b"expect":
                self._waits = True

    async def __call__(self) -> Message:
        """Return the next message; raises `InvalidRequest` for a body in many tiny chunks."""
        message = await self._receive()
        self._waits = False  # it was told to go on
        size = len(message.get("body", b""))
        self.left -= size
        self._seen += size
        self._pieces += 1
        if self._pieces > PIECES and self._seen < self._pieces * BYTES_PER_PIECE:
            raise InvalidRequest("The chunks of the request body are too small; send larger ones.")
        if not message.get("more_body", False):
            self.left = 0
        return message

    @property
    def lingers(self) -> bool:
        """Whether the caller is sending an unread body; False while it waits for `100 Continue`."""
        return self.left > 0 and not self._waits

    @property
    def ends_connection(self) -> bool:
        """Whether the connection must be closed after a response now: the rest of the body is too long, or not sent."""
        return self.left > (0 if self._waits else LINGER_BYTES)

    async def drain(self) -> None:
        """Read and drop the rest of the body for a bounded time.

        Closing a connection with unread bytes resets it, and the reset can destroy the response before the caller reads
        it.
        """
        limit = self._seen + LINGER_BYTES
        with suppress(TimeoutError, InvalidRequest):
            async with asyncio.timeout(LINGER_SECONDS):
                while self.lingers and self._seen < limit:
                    await self()


class ResponseSender:
    """The `send` of one request, which never sends a response that granian cannot send.

    The start is held back until the first piece of the body, so that another response can still replace it.
    """

    def __init__(self, scope: Scope, send: Send, patience: float, more: Callable[[RawHeaders], RawHeaders]) -> None:
        """Wrap `send`; `more` returns further headers of the response.

        The connection is closed when no message is accepted for `patience` seconds, or when the response is slower than
        `BYTES_PER_SECOND` afterwards.
        """
        self._send = send
        self._patience = patience
        self._more = more
        self._sent, self._waited = 0, 0.0
        self._head = scope["method"] == "HEAD"
        self._start: Message | None = None
        self._left: int | None = None
        self.status = 0
        """The status that was sent, 0 as long as there is none."""
        self.ended_at: float | None = None
        """When the end of the response was sent, on the clock of `time.perf_counter`."""

    async def __call__(self, message: Message) -> None:
        """Send a message; raises `CallerGone` when the caller does not accept it."""
        if message["type"] == "http.response.start":
            self._start = self._checked(message)
            return
        self._count(message)
        if self._start is not None:
            start, self._start = self._start, None
            start["headers"] = [*start["headers"], *self._more(start["headers"])]
            await self._pass(start)
            self.status = start["status"]
        await self._pass(message)
        if not message.get("more_body", False):
            self.ended_at = time.perf_counter()

    def check_complete(self) -> None:
        """Raise `ValueError` when no response was sent."""
        if not self.status:
            raise ValueError("The request was not answered.")

    async def _pass(self, message: Message) -> None:
        patience = min(self._patience, self._patience + self._sent / BYTES_PER_SECOND - self._waited)
        started = time.monotonic()
        try:
            async with asyncio.timeout(max(patience, 0.0)):
                await self._send(message)
        except TimeoutError:
            raise CallerGone("The caller stopped reading, or reads too slowly.") from None
        self._waited += time.monotonic() - started
        self._sent += len(message.get("body", b""))

    def _checked(self, start: Message) -> Message:
        """Return the start of a response; raises `ValueError` for a status that would end the process."""
        status = start["status"]
        if not 200 <= status <= 599:  # noqa: PLR2004, the final ones of HTTP
            raise ValueError("The status is none of HTTP.")
        length = None if self._head or status == 304 else dict(start["headers"]).get(b"content-length")  # noqa: PLR2004
        self._left = None if length is None else int(length)
        return start

    def _count(self, message: Message) -> None:
        """Raise `ValueError` when the body differs from its Content-Length, which would let the caller wait."""
        if self._left is None or message["type"] != "http.response.body":
            return
        self._left -= len(message.get("body", b""))
        if self._left < 0 or (self._left and not message.get("more_body", False)):
            raise ValueError("The body is not as long as its Content-Length.")
