"""The servers of `gateway.py` made for it: `upstream PORT FOLDER`, and `floor`, `whole` and `relay PORT UPSTREAM_PORT`.

The upstream reads a request to its end and gives a prepared answer: that of the largest upload in FOLDER (files named
by the upload's bytes, `4096.json`) which the request can hold. The floor is the least that a gateway on our stack has
to do: granian, plain ASGI, the push parser, memory, and aiohttp to send the form on from there. Whole goes the quickest
way that was found through the same libraries, without a limit on anything: the body in one piece, by granian's own
interface, cut up by a search for the boundary. The relay copies bytes from one socket to the other and looks at none of
them: what the bytes cost anything that stands in between.
"""

from __future__ import annotations

import asyncio
import secrets
import select
import socket
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import uvloop
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.server.embed import Server
from multipart import MultipartSegment, PushMultipartParser, parse_options_header  # type: ignore[import-untyped]

from gateway_wire import HEAD, Message, form

READ = 1024 * 1024
"""Bytes that are read at once at most, and that are sent in one piece."""
MODELS = b'{"object":"list","data":[]}'


class OpenAIServer(asyncio.Protocol):
    """One connection to the fake provider."""

    def __init__(self, answers: list[tuple[int, bytes]]) -> None:
        """Give one of `answers`: least bytes of the body, and the whole response; the largest first."""
        self._answers = answers
        self._request = Message()
        self._transport: asyncio.Transport

    def connection_made(self, transport: Any) -> None:
        """Keep the connection."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Count the body; at its end, answer."""
        if not self._request.take(data):
            return
        self._transport.write(self._answer(self._request))
        self._request = Message()

    def _answer(self, request: Message) -> bytes:
        if request.head.startswith(b"GET"):
            return response(200, MODELS)
        return next((answer for least, answer in self._answers if request.count >= least), response(400, b"{}"))


def response(status: int, body: bytes) -> bytes:
    """Return a whole response."""
    return b"HTTP/1.1 %d OK\r\nContent-Type: application/json\r\nContent-Length: %d" % (status, len(body)) + HEAD + body


def prepared(folder: Path) -> list[tuple[int, bytes]]:
    """Return the answers of a folder, the largest upload first."""
    paths = sorted(folder.glob("*.json"), key=lambda path: int(path.stem), reverse=True)
    return [(int(path.stem), response(200, path.read_bytes())) for path in paths]


async def upstream(port: int, answers: list[tuple[int, bytes]]) -> None:
    """Serve until the end of the process."""
    server = await asyncio.get_running_loop().create_server(lambda: OpenAIServer(answers), "127.0.0.1", port)
    await server.serve_forever()


class Floor:
    """The least gateway."""

    def __init__(self, upstream_port: int) -> None:
        """Send every edit to this port."""
        self._url = f"http://127.0.0.1:{upstream_port}/v1/images/edits"
        self._client: aiohttp.ClientSession | None = None

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Answer an edit as the upstream does, and everything else with a 200."""
        if scope["type"] != "http":
            return
        if scope["method"] == "GET":
            await self._reply(send, MODELS)
            return
        fields, picture = await self._parse(scope, receive)
        await self._reply(send, await self._forward(fields, picture))

    async def __rsgi__(self, scope: Any, protocol: Any) -> None:
        """Do the same by granian's own interface, with the body whole."""
        answer = MODELS
        if scope.method != "GET":
            boundary = parse_options_header(scope.headers.get("content-type"))[1]["boundary"]
            answer = await self._forward(*_cut(await protocol(), b"\r\n--" + boundary.encode()))
        protocol.response_bytes(200, [("content-type", "application/json")], answer)

    @staticmethod
    async def _parse(scope: dict[str, Any], receive: Any) -> tuple[dict[str, str], bytes]:
        content_type = dict(scope["headers"])[b"content-type"].decode()
        parser = PushMultipartParser(parse_options_header(content_type)[1]["boundary"])
        fields: dict[str, str] = {}
        pieces: list[bytes] = []
        name, is_file, more = "", False, True
        while more:
            message = await receive()
            more = message.get("more_body", False)
            for event in parser.parse(message["body"]):
                if isinstance(event, MultipartSegment):
                    name, is_file = event.name, event.filename is not None
                elif event is not None and is_file:
                    pieces.append(event)
                elif event is not None:
                    fields[name] = fields.get(name, "") + event.decode()
        parser.close()
        return fields, b"".join(pieces)

    async def _forward(self, fields: dict[str, str], picture: bytes) -> bytes:
        if self._client is None:
            self._client = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        boundary = secrets.token_hex(16)
        before, behind = form(boundary, fields)
        headers = {
            "Content-Type": f"multipart/form-data; boundary={boundary}",
            "Content-Length": str(len(before) + len(picture) + len(behind)),
        }

        async def body() -> AsyncIterator[bytes]:
            yield before
            yield picture
            yield behind

        whole = before + picture + behind if len(picture) < READ else body()
        async with self._client.post(self._url, data=whole, headers=headers) as answer:
            answer.raise_for_status()
            return await answer.read()

    @staticmethod
    async def _reply(send: Any, body: bytes) -> None:
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def _cut(body: bytes, delimiter: bytes) -> tuple[dict[str, str], bytes]:
    """Return the fields and the picture of a form."""
    fields: dict[str, str] = {}
    picture, start = b"", len(delimiter)
    while (end := body.find(delimiter, start)) >= 0:
        content = body.index(HEAD, start) + len(HEAD)
        head = body[start:content]
        if b'filename="' in head:
            picture = body[content:end]
        else:
            name = head.partition(b'name="')[2].partition(b'"')[0]
            fields[name.decode()] = body[content:end].decode()
        start = end + len(delimiter)
    return fields, picture


async def floor(port: int, upstream_port: int, interface: Interfaces) -> None:
    """Serve until the end of the process."""
    server = Server(
        Floor(upstream_port),
        address="127.0.0.1",
        port=port,
        interface=interface,
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(max_buffer_size=READ),
        websockets=False,
        log_level=LogLevels.error,
    )
    await server.serve()


def relay(port: int, upstream_port: int) -> None:
    """Serve until the end of the process, each connection in a thread."""
    with socket.create_server(("127.0.0.1", port)) as listening:
        while True:
            caller, _ = listening.accept()
            threading.Thread(target=_relayed, args=(caller, upstream_port), daemon=True).start()


def _relayed(caller: socket.socket, upstream_port: int) -> None:
    held = memoryview(bytearray(READ))
    with caller, socket.create_connection(("127.0.0.1", upstream_port)) as provider:
        to = {caller: provider, provider: caller}
        watch = select.poll()
        ends = {end.fileno(): end for end in to}
        for number in ends:
            watch.register(number, select.POLLIN)
        while True:
            for number, _ in watch.poll():
                count = ends[number].recv_into(held)
                if not count:
                    return
                to[ends[number]].sendall(held[:count])


if __name__ == "__main__":
    which, own, other = sys.argv[1:]
    if which == "relay":
        relay(int(own), int(other))
    if which == "upstream":
        serving = upstream(int(own), prepared(Path(other)))
    else:
        serving = floor(int(own), int(other), Interfaces.RSGI if which == "whole" else Interfaces.ASGI)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serving)
