"""Calls of another server."""

from __future__ import annotations

import pytest
from aiohttp import web

from fluxvision.mcp.api import ApiRefusal, RequestBody
from fluxvision.mcp.http_api import HttpApi, open_link


@pytest.fixture
async def server():
    """A server that answers with what it was asked."""

    async def echo(request):
        content = (await request.read()).decode()
        key = request.headers.get("Authorization", "-")
        length = request.headers.get("Content-Length", "-")
        return web.Response(status=202, text=f"{request.method} {request.raw_path} {key} {length} {content}")

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", echo)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def read(opened):
    async with opened as response:
        return response.status, (await response.read()).decode()


@pytest.mark.parametrize("ending", ["", "/", "/v1", "/openai/v1/"])
async def test_the_address_may_be_any_of_the_server(server, ending):
    """The base URL of an SDK is as good as the server's own address, and the key goes along."""
    async with HttpApi(server + ending, "k") as api:
        assert await read(api.request("GET", "/v1/models")) == (202, "GET /v1/models Bearer k - ")


async def test_a_body_is_sent_as_it_is_read(server):
    """Its length is announced."""

    async def chunks():
        yield b"ab"
        yield b"c"

    async with HttpApi(server, "") as api:
        body = RequestBody("text/plain", 3, chunks())
        assert await read(api.request("POST", "/v1/x", body)) == (202, "POST /v1/x - 3 abc")


async def test_a_link_gets_no_key(server):
    """It is open to whoever has it, and may lead to another server."""
    async with HttpApi(server, "k") as api:
        assert await read(api.request("GET", f"{server}/media/a")) == (202, "GET /media/a - - ")
    assert await read(open_link(f"{server}/media/b")) == (202, "GET /media/b - - ")


async def test_an_address_stays_as_it_is(server):
    """Dots in a name lead to no other address."""
    async with HttpApi(server, "k") as api:
        assert await read(api.request("GET", "/v1/models/../keys")) == (202, "GET /v1/models/../keys Bearer k - ")


async def test_a_server_that_is_not_there():
    """One sentence, without the address."""
    async with HttpApi("http://127.0.0.1:9", "k") as api:
        with pytest.raises(ApiRefusal, match=r"^The server cannot be reached \(ClientConnectorError\)\.$"):
            await read(api.request("GET", "/v1/models"))
