"""A page of another website calls the server: with fetch, and with OpenAI's SDK for browsers."""

from __future__ import annotations

import base64
import http.server
import threading
from functools import partial
from pathlib import Path

import pytest

from fakes.server import Server

SDK = Path(__file__).parents[1] / "clients" / "node" / "node_modules" / "openai"
KEY = "a-key-of-the-browser-tests"
FETCH = """async ([url, key]) => {
  try {
    const answer = await fetch(url, {headers: {authorization: `Bearer ${key}`, 'x-stainless-os': 'test'}});
    return [answer.status, answer.headers.get('x-request-id')];
  } catch (error) { return [0, String(error)]; }
}"""
EDIT = """async ([base, key, b64]) => {
  const {default: OpenAI, toFile} = await import('/index.mjs');
  const client = new OpenAI({baseURL: base, apiKey: key, dangerouslyAllowBrowser: true, maxRetries: 0});
  const bytes = Uint8Array.from(atob(b64), (letter) => letter.charCodeAt(0));
  const image = await toFile(bytes, 'a.png', {type: 'image/png'});
  const answer = await client.images.edit({model: 'gpt-image-1', image, prompt: 'x'});
  const png = await fetch(`data:image/png;base64,${answer.data[0].b64_json}`);
  const picture = await createImageBitmap(await png.blob());
  return [picture.width, picture.height];
}"""


class _Site(http.server.SimpleHTTPRequestHandler):
    """Serves the SDK's files, and `/` with a page that may do everything."""

    def do_GET(self) -> None:
        """Send a file, or the page."""
        if self.path != "/":
            super().do_GET()
            return
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>Another website</title>")

    def log_message(self, *_given: object) -> None:
        """Stay silent."""


@pytest.fixture(scope="module")
def website():
    """Serve another website, whose origin differs by its port."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(_Site, directory=str(SDK))) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


@pytest.fixture(scope="module")
def opened(tmp_path_factory, website):
    """A server with a key that the website may call."""
    settings = {"api_keys": KEY, "cors_origins": website}
    folder = tmp_path_factory.mktemp("served") / "data"
    with Server(folder, settings, module=("fluxvision", "serve")) as running:
        yield running


@pytest.fixture
def page(browser, website):
    """A page of the website."""
    found = browser.new_context().new_page()
    found.goto(website)
    yield found
    found.context.close()


def test_fetch_reads_answers_and_errors(page, opened):
    """After a preflight without a key the page reads results, errors and their request ids."""
    for key, status in ((KEY, 200), ("wrong", 401)):
        found = page.evaluate(FETCH, [f"{opened.url}/v1/models", key])
        assert found[0] == status
        assert found[1].startswith("req_")


def test_another_website_reads_nothing(page, server):
    """A server without the setting stays closed: the browser does not let the page read the answer."""
    status, error = page.evaluate(FETCH, [f"{server.url}/v1/models", KEY])
    assert (status, "Failed to fetch" in error) == (0, True)


@pytest.mark.skipif(not SDK.is_dir(), reason="the Node SDK is not installed: make setup")
def test_openais_sdk_edits_from_a_browser(page, opened, photo):
    """The SDK in the page enlarges a picture."""
    b64 = base64.b64encode(photo.read_bytes()).decode()
    assert page.evaluate(EDIT, [f"{opened.url}/openai/v1", KEY, b64]) == [192, 128]
