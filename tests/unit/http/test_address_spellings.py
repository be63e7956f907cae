"""Other spellings of an address, and the error for an unknown one."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fakes.asgi import Client
from fakes.gateway import MODEL
from fakes.server import form
from fluxvision.http import app
from fluxvision.http.address_spellings import PathMiddleware

HTML = {"accept": "text/html,application/xhtml+xml"}
KEYED = {"api_keys": "one"}
PIECES = (
    "",
    "/",
    "v1",
    "openai",
    "deployments",
    "m",
    "images",
    "edits",
    "models",
    "files",
    "keys",
    ".",
    "metrics",
    "page",
)
API = ("/images/edits", "/models", "/models/{id:path}/llms.txt", "/models/{id:path}", "/files/{id}/content")
SITE = ("/healthz", "/media/{name}", "/models/{id:path}/llms.txt")


async def nothing(*_given: object) -> None:
    """Stand for the application."""


@pytest.mark.parametrize(
    ("path", "found", "model"),
    [
        ("/v1/images/edits", "/v1/images/edits", ""),
        ("/v1/images/edits/", "/v1/images/edits", ""),
        ("//v1//images///edits//", "/v1/images/edits", ""),
        ("/images/edits", "/v1/images/edits", ""),
        ("/v1/v1/images/edits", "/v1/images/edits", ""),
        ("/openai/images/edits", "/openai/v1/images/edits", ""),
        ("/openai/v1/v1/images/edits/", "/openai/v1/images/edits", ""),
        ("/models", "/v1/models", ""),
        ("/models/fal/topaz-upscale/", "/v1/models/fal/topaz-upscale", ""),
        ("/models/esrgan/llms.txt", "/models/esrgan/llms.txt", ""),
        ("/files/a/content", "/v1/files/a/content", ""),
        ("/healthz/", "/healthz", ""),
        ("/openai/deployments/gpt-image-1/images/edits", "/openai/v1/images/edits", "gpt-image-1"),
        ("/openai/deployments/fal/topaz-upscale/images/edits", "/openai/v1/images/edits", "fal/topaz-upscale"),
        ("/openai/v1/deployments/gpt-image-1//models/", "/openai/v1/models", "gpt-image-1"),
        ("/openai/deployments/a/b/c/d/e/images/edits", "/openai/v1/images/edits", "a/b/c/d/e"),
        ("/openai/deployments/a/b/c/d/e/f/images/edits", "/openai/deployments/a/b/c/d/e/f/images/edits", ""),
        ("/openai/deployments/images/edits", "/openai/deployments/images/edits", ""),
        ("/openai/deployments/m/", "/openai/deployments/m/", ""),
        ("/v2/images/edits", "/v2/images/edits", ""),
        ("/v1/../images/edits", "/v1/../images/edits", ""),
        ("/v1x/images/edits", "/v1x/images/edits", ""),
        ("/docs/", "/docs/", ""),
        ("/", "/", ""),
        ("", "", ""),
    ],
)
def test_a_spelling_is_a_route(path, found, model):
    """Slashes, prefixes and Azure's deployments lead to the route that is meant; all else stays as it is."""
    assert PathMiddleware(nothing, API, SITE).find_route(path) == (found, model)


@pytest.mark.parametrize(
    "path",
    ["/v1/images/edits/", "//openai//v1/images/edits", "/images/edits", "/openai/images/edits", "/v1/v1/images/edits"],
)
async def test_an_edit_is_served_at_every_spelling(edge, picture, path):
    """The picture is made at once, without a redirect, and the log has the route's own address."""
    served = edge()
    headers, body = form(("model", MODEL.id), ("image", picture, "a.png"))
    answer = await Client("POST", f"{path}?dryRun=true", headers, [body]).ask(served.app)
    assert (answer.status, answer.json()["estimated"]) == (200, True)
    assert json.loads(served.log.getvalue())["route"] in {"/v1/images/edits", "/openai/v1/images/edits"}


@pytest.mark.parametrize(
    ("fields", "named"), [((), "gpt-image-1"), ((("model", MODEL.id),), MODEL.id), ((("model", ""),), "gpt-image-1")]
)
async def test_the_model_of_azures_address_counts_unless_the_body_has_one(edge, picture, fields, named):
    """An edit below …/gpt-image-1 answers in base64, as that alias does, unless the body has another."""
    headers, body = form(*fields, ("image", picture, "a.png"))
    path = "/openai/deployments/gpt-image-1/images/edits?api-version=2025-04-01-preview"
    answer = await Client("POST", path, headers, [body]).ask(edge().app)
    assert answer.status == 200
    assert ("b64_json" in answer.json()["data"][0]) == (named == "gpt-image-1")


@pytest.mark.parametrize(
    ("path", "headers", "kind"),
    [
        ("/models", HTML, "text/html; charset=utf-8"),
        ("/models", {}, "application/json"),
        ("/models", {"accept": "application/json"}, "application/json"),
        ("/models/", {"accept": "*/*"}, "application/json"),
        (f"/models/{MODEL.id}", HTML, "text/html; charset=utf-8"),
        (f"/models/{MODEL.id}", {}, "application/json"),
        (f"/models/{MODEL.id}/llms.txt", {}, "text/markdown; charset=utf-8"),
    ],
)
async def test_models_are_a_page_for_browsers_alone(edge, path, headers, kind):
    """Without /v1 the Accept header decides between the page and the API."""
    answer = await edge().get(path, **headers)
    assert answer.answered["content-type"] in {kind, "text/plain"}  # a checkout without the page says so as text
    assert (answer.answered["content-type"] == "application/json") == (kind == "application/json")


@pytest.mark.parametrize(
    "path",
    [
        "/v1/models/",
        "//v1/models",
        "/models",
        "/models/",
        "/openai/models",
        "/v1/v1/models",
        "/openai/deployments/m/models",
        "/metrics/",
        "//metrics",
        "/keys",
        "/openai//v1/requests",
    ],
)
async def test_every_spelling_needs_the_key(edge, path):
    """A spelling of a guarded address is guarded as that is, and by the page's rules as well."""
    served = edge(**KEYED)
    assert (await served.get(path)).status == 401
    assert (await served.get(path, Authorization="Bearer two")).status == 401
    assert (await served.get(path, Authorization="Bearer one")).status in {200, 403, 404}


ROUTES = [(method, path.replace("{id:path}", "m").replace("{id}", "a")) for method, path, _ in app.API]
SPELLINGS = ("/v1{}", "/openai/v1{}", "{}", "/openai{}", "//v1/{}/", "/v1/v1{}", "/openai/deployments/m{}")


@pytest.mark.parametrize("spelling", SPELLINGS)
async def test_every_route_needs_the_key_at_every_spelling(keyed, spelling):
    """No route of the API is open, present and future ones; but the pages of the models have their Markdown, too."""
    routes = [(method, path) for method, path in ROUTES if (spelling, path) != ("{}", "/models/m/llms.txt")]
    answers = {route: await keyed.get(spelling.format(route[1]), route[0]) for route in routes}
    assert {route for route, answer in answers.items() if answer.status != 401} == set()


async def test_routes_of_other_protocols_need_the_key(keyed):
    """Those that are not below /v1 as well, with slashes too many, too."""
    answers = [await keyed.get(path, method) for method, route, _ in app.PROTOCOLS for path in (route, f"/{route}/")]
    assert {answer.status for answer in answers} == {401}


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(st.lists(st.sampled_from(PIECES), max_size=9), st.sampled_from(["GET", "POST", "DELETE", "HEAD"]), st.booleans())
async def test_no_spelling_gets_around_the_key(keyed, pieces, method, html):
    """Without a key no address made of the pieces of ours is answered with anything but a refusal."""
    path = "/" + "/".join(pieces)
    keyed.log.seek(0)
    keyed.log.truncate()
    answer = await keyed.get(path, method, **(HTML if html else {}))
    line = json.loads(keyed.log.getvalue())
    assert answer.status in {401, 404, 405} or line["route"] in {"/", "/models", "/models/{id:path}", "/v1/page"}


@pytest.fixture
def keyed(edge):
    """An application that has a key."""
    return edge(**KEYED)


@pytest.mark.parametrize(
    "path", ["/models", "/v1/models/", "/openai/deployments/m/models", "/images/edits/", "/metrics/"]
)
@pytest.mark.parametrize("headers", [{"origin": "https://evil.example"}, {"host": "evil.example"}])
async def test_no_spelling_gets_around_the_origin(edge, path, headers):
    """Without keys foreign websites and host names are refused at every spelling."""
    assert (await edge().get(path, **headers)).status == 403


async def test_visitors_have_their_rate_at_every_spelling(edge, picture):
    """The page without a key is counted at /images/edits/ as at /v1/images/edits."""
    served = edge(playground_rate="1", **KEYED)
    headers, body = form(("model", MODEL.id), ("image", picture, "a.png"))
    page = {**headers, "x-fluxvision-client": "page"}
    asked = [
        await Client("POST", path, page, [body]).ask(served.app) for path in ("/v1/images/edits", "//images/edits/")
    ]
    assert [answer.status for answer in asked] == [200, 429]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"api-key": "one"}, 200),
        ({"api-key": "two"}, 401),
        ({"api-key": ""}, 401),
        ({"api-key": "one", "authorization": "Bearer two"}, 401),
        ({"api-key": "two", "authorization": "Bearer one"}, 200),
        ({"api-key": "two", "x-fluxvision-client": "page"}, 401),
        ({"x-api-key": "one"}, 401),
    ],
)
async def test_azures_header_is_a_key(edge, headers, status):
    """`api-key` counts where there is no Authorization header, and a wrong one is wrong for the page, too."""
    assert (await edge(**KEYED).get("/openai/v1/models", **headers)).status == status


@pytest.mark.parametrize(
    ("path", "url"),
    [
        ("/v2/images/edits", "http://localhost:8000/v1/images/edits"),
        ("/image/edits", "http://localhost:8000/v1/images/edits"),
        ("/images/upscale", "http://localhost:8000/v1/images/edits"),
        ("/v1/upscale", "http://localhost:8000/v1/images/edits"),
        ("/openai/v1/image/edit", "http://localhost:8000/openai/v1/images/edits"),
        ("/api/v1/models", "http://localhost:8000/v1/models"),
        ("/v1/model", "http://localhost:8000/v1/models"),
        ("/v1/batch", "http://localhost:8000/v1/batches"),
    ],
)
async def test_an_unknown_address_names_the_right_one(edge, path, url):
    """The 404 has the full address of the route that may be meant, with the host as the client sees it."""
    answer = await edge().get(path, "POST")
    assert answer.status == 404
    assert url in answer.json()["error"]["message"]


async def test_the_right_address_is_below_public_url(edge):
    """Behind a proxy the 404 names the public address."""
    served = edge(public_url="https://up.example/", **KEYED)
    answer = await served.get("/v2/images/edits", "POST", host="10.0.0.7:8000")
    assert answer.json()["error"]["message"].endswith("by POST https://up.example/v1/images/edits")


@pytest.mark.parametrize("path", ["/nothing", "/a" * 5000])
async def test_an_address_like_none_gets_no_advice(edge, path):
    """An address that is like none of ours is a plain 404."""
    assert (await edge().get(path)).json()["error"]["message"] == "There is nothing at this address."


async def test_health_is_healthz(edge):
    """`/health` answers without a key and for any host name, as `/healthz` does."""
    served = edge(**KEYED)
    for path in ("/health", "/healthz", "/health/"):
        answer = await served.get(path, host="anything.example")
        assert (answer.status, answer.json()) == (200, {"status": "ok"})
