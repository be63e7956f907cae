"""Servers that answer one thing, byte for byte."""

from __future__ import annotations

import asyncio
import io
import json

from PIL import Image


async def serving(answer):
    """Serve one raw answer to every request; returns the server, its address and the heads of requests."""
    heads = []

    async def handle(reader, writer):
        try:
            heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
            length = int(heads[-1].lower().partition("content-length: ")[2].partition("\r\n")[0])
            while length > 0:
                length -= len(await reader.read(min(length, 65_536)) or bytes(length))
            writer.write(answer)
            await writer.drain()
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    return server, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", heads


def raw(document):
    """Return a success with a document as it stands, or with the JSON of one."""
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


def png():
    """Return a small picture's file."""
    found = io.BytesIO()
    Image.new("RGB", (96, 80), (200, 30, 60)).save(found, "PNG")
    return found.getvalue()
