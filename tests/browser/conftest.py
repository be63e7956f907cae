"""The real server with the real engine, a real browser, and pages that watch what leaves them."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from PIL import Image
from skimage import data

from fakes.server import Server

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FORBIDDEN = re.compile(r"content security policy|refused to", re.IGNORECASE)
PATIENCE = 30_000


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """`fluxvision serve`, as a user starts it, for more pictures a minute than a person asks for."""
    settings = {"playground_rate": "10000"}
    with Server(tmp_path_factory.mktemp("served") / "data", settings, module=("fluxvision", "serve")) as running:
        yield running


@pytest.fixture(scope="module")
def browser():
    """Chromium of this machine; not kept for longer, for its loop must not meet that of other tests."""
    if CHROMIUM is None:
        pytest.skip("there is no chromium on this machine")
    with sync_api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture
def open_page(browser, server):
    """Open pages of a server by path and window; none of them may reach beyond it or break its own policy."""
    contexts, foreign, broken = [], [], []

    def watch(page, url):
        page.on(
            "request",
            lambda one: None if one.url.startswith((url, "blob:", "data:")) else foreign.append(one.url),
        )
        page.on("console", lambda one: broken.append(one.text) if FORBIDDEN.search(one.text) else None)
        page.on("pageerror", lambda error: broken.append(str(error)))

    def opened(path="/", at=server, **window):
        context = browser.new_context(
            **{"viewport": {"width": 1280, "height": 800}, "reduced_motion": "reduce", **window}
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        watch(page, at.url)
        page.goto(at.url + path)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert foreign == []
    assert broken == []


@pytest.fixture
def photo(tmp_path) -> Path:
    """A photo of 96 × 64 pixels in a file whose name a shell must not read as words."""
    path = tmp_path / "it's a photo.png"
    Image.fromarray(data.astronaut()[40:232, 120:408]).resize((96, 64), Image.Resampling.BICUBIC).save(path)
    return path
