"""The documents as pages: the files that they are made of, where their links lead, and what a browser runs for them."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import tomllib
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urldefrag, urljoin, urlsplit

import drawing
import pytest

from fakes.asgi import Client
from fakes.gateway import Gateway
from fluxvision.core.load_settings import load_settings
from fluxvision.http import build, docs

ROOT = Path(__file__).parents[3]
START = "/docs/"
BROWSER = {"accept": "text/html,*/*"}
ELSEWHERE = {"/", "/models", "/openapi.json"}
"""What the pages link to beside each other."""


@pytest.fixture
async def served(tmp_path):
    """Fetch an address of the site."""
    app = build(Gateway(), load_settings({"FLUXVISION_DATA_DIR": str(tmp_path / "data"), "FLUXVISION_API_KEYS": "k"}))

    async def get(path, method="GET", headers=BROWSER):
        return await Client(method, path, dict(headers)).ask(app)

    return get


class Elements(HTMLParser):
    """The elements of a page: names and attributes."""

    def __init__(self, text: str) -> None:
        """Read a page."""
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        """Note an element."""
        self.found.append((tag, dict(attributes)))

    def all(self, name):
        """Return the values of an attribute."""
        return [attributes[name] for _, attributes in self.found if name in attributes]


def test_every_document_has_its_page():
    """No file in docs/ is forgotten."""
    sources = {page.source for page in docs.pages().values()}
    assert {path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md")} - sources == set()


def test_the_wheel_has_every_document():
    """Each page and picture is a file of the package, or one that the build copies into it."""
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    copied = {path.relative_to(ROOT).as_posix() for row in wheel["include"] for path in ROOT.glob(row.lstrip("/"))}
    copied |= {
        source for source, place in wheel["force-include"].items() if place == f"fluxvision/http/documents/{source}"
    }
    files = [ROOT / page.source for page in docs.pages().values() if page.source.endswith(".md")]
    files += [docs.ROOT / docs.DRAWING, *docs.FILES.values()]
    needed = {path.relative_to(ROOT).as_posix() for path in files if path.is_file() and docs.HERE not in path.parents}
    assert needed - copied == set()
    assert wheel["sources"]["docs"] == "fluxvision/http/documents/docs"


def test_the_icon_is_that_of_the_page():
    """The documents have the icon of the page, whose build has a name that changes."""
    assert docs.FILES["icon.svg"].read_bytes() == (ROOT / "web" / "src" / "icon.svg").read_bytes()


def test_a_server_without_readers_loads_no_renderer():
    """The renderer is imported for the first page, not at the start of the server."""
    program = "import sys, fluxvision.create_gateway; print('markdown_it' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout == b"False\n"


async def test_a_page_is_rendered_once(served, monkeypatch):
    """The second request gets what the first one made, and a browser that has it gets 304."""
    first = await served("/docs/prices")
    monkeypatch.setattr(docs, "render", None)
    assert (await served("/docs/prices")).body == first.body
    again = await served("/docs/prices", headers={**BROWSER, "if-none-match": first.answered["etag"]})
    assert (again.status, again.body) == (304, b"")
    assert first.answered["cache-control"] == "no-cache"


async def test_all_links_lead_somewhere(served):
    """From the start page every page, picture, style and anchor is reached, and nothing is asked of another address."""
    texts: dict[str, Elements] = {}
    pending, anchors = [START], []
    while pending:
        path = pending.pop()
        if path in texts or path in ELSEWHERE:
            continue
        answer = await served(path)
        assert answer.status == 200, path
        kind = answer.answered["content-type"]
        texts[path] = Elements(answer.body.decode() if kind.startswith("text/html") else "")
        for target in texts[path].all("href") + texts[path].all("src"):
            if target.startswith("data:"):
                continue
            where, anchor = urldefrag(urljoin(f"http://here{path}", target))
            link = urlsplit(where)
            if link.netloc != "here":
                assert target in texts[path].all("href"), "only a link for people may lead away"
                continue
            pending.append(link.path)
            anchors += [(link.path, anchor)] if anchor else []
    assert {"/docs/api", "/docs/reference", "/docs/prices", "/docs/normalization", "/docs/decisions"} <= set(texts)
    assert [(path, name) for path, name in anchors if name not in texts[path].all("id")] == []


async def test_a_browser_runs_nothing_inline(served):
    """No page has a style or a script in itself, which the policy forbids; each has one heading and a language."""
    for page in [*docs.pages(), "nothing-here"]:
        answer = await served(START + page.removesuffix("index"))
        elements = Elements(answer.body.decode())
        assert elements.all("style") == []
        assert not [name for _, attributes in elements.found for name in attributes if name.startswith("on")]
        assert all("src" in attributes for tag, attributes in elements.found if tag == "script")
        assert "style" not in {tag for tag, _ in elements.found}
        assert [tag for tag, _ in elements.found].count("h1") == 1
        assert elements.all("lang") == ["en"]


@pytest.mark.parametrize(
    ("path", "method", "headers", "kind"),
    [
        ("/docs/nothing", "GET", BROWSER, "text/html"),
        ("/docs/decisions/", "GET", BROWSER, "text/html"),
        ("/nothing", "HEAD", BROWSER, "text/html"),
        ("/media/expired.png", "GET", BROWSER, "text/html"),
        ("/docs/nothing", "GET", {}, "application/json"),
        ("/nothing", "POST", BROWSER, "application/json"),
        ("/v1/models/nothing", "GET", {**BROWSER, "authorization": "Bearer k"}, "application/json"),
    ],
)
async def test_an_address_that_leads_nowhere(served, path, method, headers, kind):
    """A browser is told in a page, a program in OpenAI's error body."""
    answer = await served(path, method, headers)
    assert (answer.status, answer.answered["content-type"].partition(";")[0]) == (404, kind)
    assert answer.answered["x-request-id"]
    assert (b"Nothing here" in answer.body) == (kind == "text/html" and method == "GET")


async def test_without_the_slash(served):
    """/docs leads to /docs/."""
    answer = await served("/docs")
    assert (answer.status, answer.answered["location"]) == (308, "docs/")


def test_the_drawing_has_every_layer():
    """The drawing names each module of the table that the tests hold the code to."""
    text = drawing.TARGET.read_text(encoding="utf-8")
    assert all(f">{name}</text>" in text for row in drawing.layers() for name in row)


def test_files_of_others_are_as_they_were():
    """The files that others made are those that NOTICE names, with their licence beside them."""
    notice = (ROOT / "NOTICE").read_text(encoding="utf-8")
    files = {path.name: path for path in (docs.DESIGN / "vendor").iterdir()}
    assert set(files) == {"swagger-ui-bundle.js", "swagger-ui.css", "LICENSE", "NOTICE"}
    for name in ("swagger-ui-bundle.js", "swagger-ui.css"):
        assert re.search(rf"{name}\s+\d+ bytes\s+sha256 {hashlib.sha256(files[name].read_bytes()).hexdigest()}", notice)
