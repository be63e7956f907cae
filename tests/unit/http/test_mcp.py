"""POST /mcp: who is let in, and what is refused before the protocol begins."""

from __future__ import annotations

import asyncio
import base64
import json

import pytest

from fakes.asgi import Client
from fakes.server import wait_until
from fluxvision.http import mcp_sessions
from fluxvision.mcp.stdio import running_app

JSON = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
KEY = "a-key-of-sixteen-characters"
HELLO = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "a", "version": "1"}},
}


async def post(app, message=HELLO, **headers):
    sent = {**JSON, **headers}
    content = message if isinstance(message, bytes) else json.dumps(message).encode()
    return await Client("POST", "/mcp", sent, [content]).ask(app)


@pytest.mark.parametrize("headers", [{"Authorization": f"Bearer {KEY}"}, {"api-key": KEY}])
async def test_a_client_is_greeted(edge, headers):
    """The handshake is answered, without a session that would bind the client to this server."""
    found = edge(api_keys=KEY)
    async with running_app(found.app):
        answer = await post(found.app, **headers)
    assert answer.status == 200
    assert b'"name":"fluxvision"' in answer.body
    assert "mcp-session-id" not in answer.answered


async def test_a_client_that_hangs_up_ends_its_job(edge, picture):
    """Who goes away in the middle of a call pays for no further tile."""
    found = edge()
    arguments = {"image": base64.b64encode(picture).decode(), "tiles": 1000, "tile_seconds": 0.02}
    call = {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "upscale", "arguments": arguments}}
    client = Client("POST", "/mcp", JSON, [json.dumps(call).encode()])
    async with running_app(found.app):
        asked = asyncio.create_task(client.ask(found.app))
        await found.gateway.begun.wait()
        client.gone.set()
        await asked
        assert await asyncio.to_thread(wait_until, lambda: found.gateway.cancelled)


@pytest.mark.parametrize("authorization", [{}, {"Authorization": "Bearer wrong-key-of-characters"}])
async def test_where_keys_are_needed_nobody_comes_without(edge, authorization):
    """As for the API: 401 with OpenAI's error, before anything is read."""
    answer = await post(edge(api_keys=KEY).app, **authorization)
    assert (answer.status, answer.json()["error"]["code"]) == (401, "AUTHENTICATION_FAILED")


@pytest.mark.parametrize("headers", [{"Host": "evil.example"}, {"Origin": "https://evil.example"}])
async def test_without_keys_other_websites_are_refused(edge, headers):
    """A foreign host name (DNS rebinding) or origin is refused, as for the API."""
    answer = await post(edge().app, **headers)
    assert (answer.status, answer.json()["error"]["code"]) == (403, "FORBIDDEN")


async def test_a_stream_of_its_own_is_not_offered(edge):
    """GET is 405, by which clients know that there is none."""
    answer = await edge().get("/mcp")
    assert (answer.status, answer.answered["allow"]) == (405, "POST")


async def test_a_message_over_the_limit(edge):
    """A larger picture is to be sent as a URL."""
    answer = await post(edge().app, b"[" + b" " * mcp_sessions.MAX_BODY)
    assert answer.status == 413
    assert "give a larger picture as a URL" in answer.json()["error"]["message"]


async def test_without_the_sdk_it_says_what_to_install(edge, monkeypatch):
    """One sentence with the command."""
    monkeypatch.setattr(mcp_sessions, "find_spec", lambda _name: None)
    answer = await post(edge().app)
    assert answer.status == 500
    assert "pip install 'fluxvision[mcp]'" in answer.json()["error"]["message"]
