"""The page's files: how they are sent, and what a browser may do with them."""

from __future__ import annotations

import gzip
import io
import json

import pytest
from PIL import Image

from fakes.server import Server
from fluxvision.http import site

CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HTML = "<!doctype html><title>Page</title>" + "<p>words</p>" * 50


@pytest.fixture
def built(tmp_path, monkeypatch):
    """A page as the build makes it."""
    folder = tmp_path / "page"
    (folder / "assets").mkdir(parents=True)
    (folder / "index.html").write_text(HTML)
    (folder / "assets" / "index-a1b2.js").write_text("let a = 1;\n" * 50)
    (folder / "assets" / "font-1.woff2").write_bytes(b"wOF2" + bytes(99))
    (folder / "assets" / "strange.exe").write_bytes(b"MZ")
    (folder / "secret.json").write_text("{}")
    monkeypatch.setattr(site, "PAGE", folder)
    return folder


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/", 200),
        ("/models", 200),
        ("/models/flux-vision-upscaler", 200),
        ("/models/fal-ai/flux-vision-upscaler", 200),
        ("/models/nothing", 404),
    ],
)
@pytest.mark.usefixtures("built")
async def test_the_page_is_at_its_addresses(edge, path, status):
    """Each address of the page is the same file; one of a model that does not exist has the status of that."""
    answer = await edge(api_keys="k").get(path, accept="text/html,*/*")
    assert (answer.status, answer.body.decode()) == (status, HTML)
    assert answer.answered["content-type"] == "text/html; charset=utf-8"
    assert answer.answered["cache-control"] == "no-cache"
    assert answer.answered["vary"] == "accept, accept-encoding"  # without HTML in it, /models is the API's list


@pytest.mark.usefixtures("built")
async def test_what_a_browser_may_do(edge):
    """The policy allows nothing from elsewhere and nothing inline."""
    headers = (await edge().get("/")).answered
    assert headers["content-security-policy"] == CSP
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert "camera=()" in headers["permissions-policy"]


async def test_a_browser_that_has_it_gets_nothing(edge, built):
    """The tag names the content; with it in hand the answer is 304, and another page has another tag."""
    served = edge()
    tag = (await served.get("/")).answered["etag"]
    for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        again = await served.get("/", **{"if-none-match": known})
        assert (again.status, again.body) == (304, b"")
    (built / "index.html").write_text(HTML + "<p>new</p>")
    assert (await served.get("/", **{"if-none-match": tag})).status == 200


@pytest.mark.usefixtures("built")
async def test_assets_stay_and_are_small(edge):
    """A name that changes with the content is kept for ever; text is compressed where that is wished."""
    plain = await edge().get("/assets/index-a1b2.js")
    packed = await edge().get("/assets/index-a1b2.js", **{"accept-encoding": "br, gzip"})
    assert plain.answered["cache-control"] == "public, max-age=31536000, immutable"
    assert (packed.answered["content-encoding"], packed.answered["vary"]) == ("gzip", "accept-encoding")
    assert gzip.decompress(packed.body) == plain.body
    assert len(packed.body) < len(plain.body)
    font = await edge().get("/assets/font-1.woff2", **{"accept-encoding": "gzip"})
    assert "content-encoding" not in font.answered


@pytest.mark.parametrize(
    "path",
    [
        "/assets/nothing.js",
        "/assets/..%2fsecret.json",
        "/assets/../secret.json",
        "/assets/strange.exe",
        "/assets/",
        "/assets/.hidden.js",
        "/examples/nothing.jpg",
        "/examples/../examples.json",
        "/docs/../page/index.html",
        "/docs/%2e%2e/page/index.html",
        "/docs//etc/passwd",
    ],
)
@pytest.mark.usefixtures("built")
async def test_nothing_else_is_sent(edge, path):
    """Names lead to files of their folder only, and only to kinds that a page is made of."""
    assert (await edge().get(path)).status == 404


async def test_a_checkout_without_the_page_says_so(edge, tmp_path, monkeypatch):
    """One plain sentence, and the API is there all the same."""
    monkeypatch.setattr(site, "PAGE", tmp_path / "nowhere")
    served = edge()
    answer = await served.get("/")
    assert (answer.status, answer.answered["content-type"]) == (503, "text/plain; charset=utf-8")
    assert "make page" in answer.body.decode()
    assert (await served.get("/v1/models")).status == 200


@pytest.mark.usefixtures("built")
async def test_other_host_names_get_no_page(edge):
    """Without keys the page is for local names, like everything else."""
    assert (await edge().get("/", host="evil.example")).status == 403
    assert (await edge(api_keys="k").get("/", host="up.example")).status == 200


async def test_the_facts_and_their_pictures(edge):
    """Every picture that the facts name is there and has the size that they say."""
    served = edge(max_upload_bytes="1234", playground_rate="7")
    facts = (await served.get("/v1/page")).json()
    assert facts["limits"]["max_upload_bytes"] == 1234
    assert facts["limits"]["requests_per_minute"] == 7
    assert {*facts["examples"][0]} == {"name", "title", "url", "width", "height"}
    pictures = [(row["url"], row) for row in facts["examples"]]
    pictures += [(row[key], row) for rows in facts["gallery"].values() for row in rows for key in ("before", "after")]
    for url, row in pictures:
        answer = await served.get(url)
        assert answer.answered["content-type"] in {"image/jpeg", "image/webp"}
        assert Image.open(io.BytesIO(answer.body)).size == (row["width"], row["height"])
        assert len(answer.body) <= 60_000


def test_the_pictures_say_where_they_come_from():
    """Each example has a credit in the folder's page; nothing lies there that the facts do not name."""
    examples = json.loads((site.DATA / "examples.json").read_text())
    text = (site.DATA / "README.md").read_text()
    assert all(row["credit"] in text for row in examples)
    named = {row["url"].rpartition("/")[2] for row in examples} | {"README.md", "examples.json", "gallery.json"}
    gallery = json.loads((site.DATA / "gallery.json").read_text())
    named |= {row[key].rpartition("/")[2] for rows in gallery.values() for row in rows for key in ("before", "after")}
    assert {path.name for path in site.DATA.iterdir()} == named
    assert sum(path.stat().st_size for path in site.DATA.iterdir()) < 1_500_000


def test_head_on_a_real_server(tmp_path):
    """HEAD has the headers of GET and no body."""
    with Server(tmp_path / "data") as server:
        whole, head = server.get("/examples/coffee.jpg"), server.get("/examples/coffee.jpg", method="HEAD")
        assert (head.status, head.body) == (200, b"")
        assert int(head.headers["content-length"]) == len(whole.body)
