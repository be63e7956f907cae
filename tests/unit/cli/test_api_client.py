"""ApiClient: what a server says reaches the terminal as plain text."""

from __future__ import annotations

import asyncio
import json

import pytest

from fluxvision.cli.api_client import ApiClient, Refusal


def test_a_message_has_no_control_characters():
    """A server's words cannot steer the terminal."""

    async def answer(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        body = json.dumps({"error": {"message": "no\x1b[2J"}}).encode()
        head = f"HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        writer.close()

    async def ask():
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server, ApiClient(f"http://127.0.0.1:{port}/", "") as client:
            await client.batch("x")

    with pytest.raises(Refusal) as refused:
        asyncio.run(ask())
    assert refused.value.message == "no\N{REPLACEMENT CHARACTER}[2J"
