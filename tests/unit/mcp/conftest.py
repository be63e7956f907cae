"""The MCP server in this process, in front of the application with a fake gateway."""

from __future__ import annotations

import io
from contextlib import asynccontextmanager
from types import SimpleNamespace

import pytest
from mcp import Client

from fakes.gateway import Gateway, png
from fluxvision.core.load_settings import load_settings
from fluxvision.http import build
from fluxvision.mcp.asgi_api import AsgiApi
from fluxvision.mcp.server import create_server


@pytest.fixture
def picture(tmp_path):
    """Write a small real PNG and return its path."""
    path = tmp_path / "photo.png"
    path.write_bytes(png(32, 24))
    return path


@pytest.fixture
def session(tmp_path):
    """Open a client on demand: `session(api_keys="k", key="k", local=True)` has `client`, `gateway` and `errors`."""

    @asynccontextmanager
    async def make(key="", *, local=True, mode="auto", **settings):
        environment = {f"FLUXVISION_{name.upper()}": str(value) for name, value in settings.items()}
        found = SimpleNamespace(gateway=Gateway(), errors=[])
        loaded = load_settings({"FLUXVISION_DATA_DIR": str(tmp_path / "data"), **environment})
        app = build(found.gateway, loaded, stream=io.StringIO())
        headers = [(b"host", b"localhost"), *([(b"authorization", b"Bearer " + key.encode())] if key else [])]
        api = AsgiApi(app, headers, serves_links=not local)
        server = create_server(lambda _context: api, found.errors.append, local=local)
        async with Client(server, mode=mode) as found.client:
            yield found

    return make
