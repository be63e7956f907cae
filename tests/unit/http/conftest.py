"""An application in this process, with the fake gateway behind it."""

from __future__ import annotations

import io
from types import SimpleNamespace

import pytest

from fakes.asgi import Client
from fakes.gateway import Gateway, png
from fakes.server import form
from fluxvision.core.load_settings import load_settings
from fluxvision.http import build

NOW = 1_800_000_000.0


@pytest.fixture
def picture():
    """Return a small real PNG."""
    return png(32, 24)


@pytest.fixture
def edge(tmp_path):
    """Build an application on demand: `edge(api_keys="k")` has `app`, `gateway`, `log`, `clock` and `folder`."""

    def make(gateway=None, **settings):
        environment = {f"FLUXVISION_{name.upper()}": str(value) for name, value in settings.items()}
        found = SimpleNamespace(
            gateway=gateway or Gateway(), log=io.StringIO(), clock=SimpleNamespace(now=NOW), folder=tmp_path / "data"
        )

        def clock():
            return found.clock.now

        found.settings = load_settings({"FLUXVISION_DATA_DIR": str(found.folder), **environment})
        found.app = build(found.gateway, found.settings, now=clock, media_clock=clock, stream=found.log)

        async def edit(*parts, query="", **headers):
            content, body = form(*parts)
            return await Client("POST", f"/v1/images/edits{query}", {**content, **headers}, [body]).ask(found.app)

        async def get(path, method="GET", **headers):
            return await Client(method, path, headers).ask(found.app)

        found.edit, found.get = edit, get
        return found

    return make
