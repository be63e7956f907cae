"""What a browser hears that asks for the page of another website."""

from __future__ import annotations

import pytest

from fakes.asgi import Client
from fakes.server import document
from fluxvision.core.errors import ConfigError
from fluxvision.core.load_settings import load_settings
from fluxvision.http.cors import EXPOSED
from fluxvision.http.openapi import HEADERS

APP, OTHER = "https://app.example", "https://evil.example"
WANTED = "authorization,content-type,api-key,idempotency-key,prefer,x-stainless-os,x-stainless-retry-count"
ALLOWED = "access-control-allow-origin"


def preflight(served, origin=APP, path="/v1/images/edits", wanted=WANTED):
    headers = {"origin": origin, "access-control-request-method": "POST", "access-control-request-headers": wanted}
    return served.get(path, "OPTIONS", **headers)


@pytest.mark.parametrize("settings", [{}, {"api_keys": "one"}], ids=["keyless", "keyed"])
@pytest.mark.parametrize("path", ["/v1/images/edits", "/images/edits/", "/openai/v1/files/a", "/nothing"])
async def test_a_preflight_needs_no_key(edge, settings, path):
    """A website of the list gets every header that it asks for, whatever the address."""
    answer = await preflight(edge(cors_origins=f"{APP},http://localhost:3000", **settings), path=path)
    assert (answer.status, answer.body) == (204, b"")
    assert answer.answered[ALLOWED] == APP
    assert answer.answered["access-control-allow-headers"] == WANTED
    assert {"POST", "GET", "DELETE"} <= set(answer.answered["access-control-allow-methods"].split(", "))
    assert "access-control-allow-credentials" not in answer.answered
    assert answer.answered["x-request-id"].startswith("req_")


@pytest.mark.parametrize(("settings", "status"), [({}, 403), ({"api_keys": "one"}, 401)], ids=["keyless", "keyed"])
@pytest.mark.parametrize("origins", ["", APP])
@pytest.mark.parametrize("origin", [OTHER, "null", f"{APP}:444", "http://app.example", f"{APP}.evil.example"])
async def test_others_are_refused(edge, settings, status, origins, origin):
    """Without the setting, and for websites that it does not name, a preflight is an ordinary refused request."""
    answer = await preflight(edge(cors_origins=origins, **settings), origin)
    assert answer.status == status
    assert ALLOWED not in answer.answered


async def test_an_origin_of_the_list_is_no_foreign_one(edge):
    """A server without keys answers it, and refuses another one as before."""
    served = edge(cors_origins=APP)
    assert (await served.get("/v1/models", origin=APP)).status == 200
    assert (await served.get("/v1/models", origin=APP.upper())).status == 200
    assert (await served.get("/v1/models", origin=OTHER)).status == 403
    assert (await served.get("/v1/models", origin=APP, host="evil.example")).status == 403


@pytest.mark.parametrize("settings", [{}, {"api_keys": "one"}], ids=["keyless", "keyed"])
async def test_a_website_of_the_list_is_not_the_page(edge, settings):
    """What the page may do without a key is for the page of this server alone."""
    answer = await edge(cors_origins=APP, **settings).get("/v1/models", origin=APP, **{"x-fluxvision-client": "page"})
    assert answer.status == 403


@pytest.mark.parametrize(("path", "status"), [("/v1/models", 401), ("/nothing", 404), ("/v1/page", 200)])
async def test_every_answer_may_be_read(edge, path, status):
    """Errors as well as results have the headers, and the names of what else may be read."""
    answer = await edge(cors_origins=APP, api_keys="one").get(path, origin=APP)
    assert (answer.status, answer.answered[ALLOWED]) == (status, APP)
    assert "X-Request-ID" in answer.answered["access-control-expose-headers"].split(", ")


async def test_a_wrong_body_is_an_error_that_may_be_read(edge):
    """The 400 of an edit has the headers."""
    headers, body = document({"model": "flux-vision-upscaler"})
    answer = await Client("POST", "/v1/images/edits", {**headers, "origin": APP}, [body]).ask(
        edge(cors_origins=APP).app
    )
    assert (answer.status, answer.answered[ALLOWED]) == (400, APP)


async def test_caches_keep_websites_apart(edge):
    """With a list every answer varies by origin, to callers without one, too; with `*` none has to."""
    listed, every = edge(cors_origins=APP), edge(cors_origins="*")
    assert "origin" in (await listed.get("/v1/models")).answered["vary"]
    answer = await every.get("/v1/models", origin=OTHER)
    assert (answer.answered[ALLOWED], answer.answered.get("vary")) == ("*", None)
    assert ALLOWED not in (await every.get("/v1/models")).answered


async def test_without_the_setting_nothing_is_said(edge):
    """No header of CORS is sent."""
    answered = (await edge(api_keys="one").get("/v1/page", origin=OTHER)).answered
    assert not [name for name in answered if name.startswith("access-control") or name == "vary"]


def test_what_the_document_names_may_be_read():
    """Every header of the OpenAPI document is among those that a page may read."""
    assert {name.lower() for name, _, _ in HEADERS} <= {name.lower() for name in EXPOSED}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", ()),
        ("*", ("*",)),
        ("https://a.example, http://localhost:3000", ("https://a.example", "http://localhost:3000")),
        ("chrome-extension://abc,tauri://localhost", ("chrome-extension://abc", "tauri://localhost")),
    ],
)
def test_the_setting_is_a_list(text, found):
    """Origins are separated by commas."""
    assert load_settings({"FLUXVISION_CORS_ORIGINS": text}).cors_origins == found


@pytest.mark.parametrize("text", ["app.example", "https://app.example/", "https://app.example/a", "null", "https://*"])
def test_what_is_no_origin_is_refused(text):
    """A path, a missing scheme or a pattern is a wrong setting that is named."""
    with pytest.raises(ConfigError, match="cors_origins"):
        load_settings({"FLUXVISION_CORS_ORIGINS": text})
