"""Calls of an application in this process."""

from __future__ import annotations

import asyncio

import pytest

from fluxvision.mcp.api import ApiRefusal, RequestBody
from fluxvision.mcp.asgi_api import AsgiApi

HEADERS = [(b"host", b"localhost")]


async def echo(scope, receive, send):
    """Answer with path, query and body."""
    content = b""
    while True:
        message = await receive()
        content += message["body"]
        if not message["more_body"]:
            break
    head = f"{scope['method']} {scope['path']}?{scope['query_string'].decode()} {len(scope['headers'])} ".encode()
    await send({"type": "http.response.start", "status": 201, "headers": [(b"Content-Type", b"text/plain")]})
    await send({"type": "http.response.body", "body": head, "more_body": True})
    await send({"type": "http.response.body", "body": content})


async def test_a_request_and_its_answer():
    """Method, decoded path, query, headers and body arrive; so do status, type and body of the answer."""

    async def chunks():
        yield b"ab"
        yield b"c"

    body = RequestBody("text/plain", 3, chunks())
    async with AsgiApi(echo, HEADERS).request("POST", "/a%20b?c=d", body) as response:
        assert (response.status, response.content_type) == (201, "text/plain")
        assert await response.read() == b"POST /a b?c=d 3 abc"


async def test_who_leaves_early_disconnects():
    """Leaving the block tells the application, which is not left waiting for a reader."""
    ended = asyncio.Event()

    async def endless(_scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(100):
            await send({"type": "http.response.body", "body": b"x", "more_body": True})
        await receive()
        assert (await receive())["type"] == "http.disconnect"
        ended.set()

    async with AsgiApi(endless, HEADERS).request("GET", "/") as response:
        assert await anext(aiter(response.chunks)) == b"x"
    await asyncio.wait_for(ended.wait(), 10)


async def test_an_application_without_an_answer():
    """It is an error, and no wait."""

    async def silent(_scope, _receive, _send):
        pass

    with pytest.raises(ApiRefusal, match="did not answer"):
        async with AsgiApi(silent, HEADERS).request("GET", "/"):
            pass


async def test_an_answer_over_the_limit():
    """Reading stops at the limit."""
    async with AsgiApi(echo, HEADERS).request("GET", "/") as response:
        with pytest.raises(ApiRefusal, match="larger than the limit of 3 bytes"):
            await response.read(3)
