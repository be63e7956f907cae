"""Requests made from the OpenAPI document, right and wrong: no answer is a 5xx, and each is one that it describes."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlsplit

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi import checks

from fakes.gateway import MODEL, png
from fakes.openapi_examples import ASK, CHAT, PICTURE
from fakes.server import Server
from fluxvision.http.app import API, PREFIXES, SITE
from fluxvision.http.openapi import build_document
from fluxvision.http.openapi_operations import ZOOM

KEY = {"Authorization": "Bearer one-4f1c09ab7d-key"}
CHECKS = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]
ROUTES = [(method, PREFIXES[-1], path) for method, path, _ in API] + [(method, "", path) for method, path, _ in SITE]
SCHEMA = schemathesis.openapi.from_dict(build_document(ROUTES, (MODEL,), ("embedded",)))
OPERATIONS = [(path, method) for path, place in SCHEMA.raw_schema["paths"].items() for method in place]
EXAMPLES = {"/v1/images/edits": 100, "/media/{name}": 60, "/v1/models/{id}": 30}
FEW = 5
SEEN = {"/v1/images/edits": {200, 400}, "/v1/images/generations": {400}, "/v1/images/variations": {400}}
SEEN |= {"/v1/chat/completions": {200, 400}, "/v1/responses": {200, 400}}
SEEN |= {"/media/{name}": {200, 404}, "/v1/models/{id}": {200, 404}}
SEEN |= {path: {404} for path in (f"{ZOOM}.dzi", f"{ZOOM}_files/{{level}}/{{tile}}")}  # nobody guesses a signature
SEEN |= {"/v1/keys/{id}": {404}, "/v1/keys/{id}/rotate": {404}, "/v1/requests": set()}
SEEN |= {f"/v1/requests/{{id}}{end}": {404} for end in ("", "/events", "/payloads")}
SEEN |= {f"/v1/files/{{id}}{end}": {404} for end in ("", "/content")}
SEEN |= {f"/v1/batches/{{id}}{end}": {404} for end in ("", "/cancel", "/results.zip")}
SEEN |= {"/v1/batches": set(), "/v1/files": set(), "/v1/webhooks/deliveries": set()}
"""What a run comes to see at least: it must get past the first check, and also not."""
RANGES = st.none() | st.from_regex(r"\Abytes=[0-9]{0,4}-[0-9]{0,4}(,[0-9]{0,2}-[0-9]{0,2})?\Z")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Serve with a key, which may do everything; pictures at random addresses are not waited for."""
    settings = {"admin_key": "one-4f1c09ab7d-key", "fetch_timeout": "0.5", "upload_timeout": "5"}
    with Server(tmp_path_factory.mktemp("served") / "data", settings) as running:
        yield running


@pytest.fixture(scope="module")
def link(server):
    """Return the address of a result."""
    return urlsplit(server.edit(("model", MODEL.id), ("image", png(8, 6), "a"), **KEY).json()["data"][0]["url"])


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=lambda mode: mode.value)
@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_answers_are_as_described(server, link, path, method, mode):
    """Values in range and out of it, of the right type and of others, with a real picture or link and without."""
    operation = SCHEMA[path][method]
    wrong = mode is GenerationMode.NEGATIVE
    if wrong and not (operation.body or operation.query or operation.path_parameters or operation.headers):
        return

    @seed(7)
    @settings(
        max_examples=EXAMPLES.get(path, FEW),
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(operation.as_strategy(generation_mode=mode), st.booleans(), RANGES)
    def ask(case, real, range_):
        if real and path.startswith("/v1/keys") and operation.body:
            case.body = {"name": "a"}
        elif real and isinstance(case.body, dict):
            case.body = {name: value for name, value in case.body.items() if name not in {"images", "image[]", "mask"}}
            case.body |= {"model": MODEL.id, "image": PICTURE if "json" in case.media_type else png(8, 6)}
            case.body |= {
                name: given[name] for name, given in (("messages", CHAT), ("input", ASK)) if name in case.body
            }
        if real and path.startswith("/v1/models/{id}"):
            case.path_parameters = {"id": MODEL.id}
        if real and path == "/media/{name}":
            case.path_parameters = {"name": link.path.rpartition("/")[2]}
            case.query = dict(parse_qsl(link.query))
            case.headers = {} if range_ is None else {"Range": range_}
        response = case.call(base_url=server.url, headers=KEY)
        seen.append(response.status_code)
        case.validate_response(response, checks=CHECKS)

    seen: list[int] = []
    ask()
    assert SEEN.get(path, {200}) <= set(seen)


def test_nothing_is_left_and_the_server_lives(server):
    """After all of it no upload stays on the disk, and a good request works."""
    assert server.edit(("model", MODEL.id), ("image", png(8, 6), "a"), **KEY).status == 200
    assert server.nothing_left()
    assert '"unexpected"' not in server.log
