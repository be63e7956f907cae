"""The OpenAPI document: it is valid, says everything that there is, and every answer is as it says."""

from __future__ import annotations

import inspect
import json
import re

import msgspec
import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from fakes import openapi_examples
from fakes.asgi import Client
from fakes.gateway import MODEL, Gateway, png
from fakes.server import Answer, Server, form
from fakes.server import document as body
from fluxvision.catalog.params import PARAMS
from fluxvision.core.errors import CallerGone, MethodNotAllowed, NotFound, RangeNotSatisfiable
from fluxvision.http.app import API, PREFIXES, SITE
from fluxvision.http.openapi import EXAMPLES
from fluxvision.http.openapi_errors import error_kinds
from fluxvision.http.openapi_schemas import SENT

EDITS = "/v1/images/edits"
PICTURE = png(8, 6)
GIVEN = (("model", MODEL.id), ("image", PICTURE, "a.png"))
KEY = {"Authorization": "Bearer key-of-this-test-7c1f"}
ADMIN = {"Authorization": "Bearer admin-of-this-test-7c1f"}
ELSEWHERE = frozenset({CallerGone, MethodNotAllowed, NotFound, RangeNotSatisfiable})
"""Errors that no edit is answered with: nobody is there, or it is about a wrong address or a file."""
BODIES = (("EditForm", "multipart/form-data"), ("EditDocument", "application/json"))
VOLATILE = frozenset({"id", "created", "created_at", "duration", "timings", "fidelity", "b64_json", "url"})
VOLATILE |= {"key_id", "hint", "revoked_at", "item_id"}
VOLATILE |= {"input_file_id", "output_file_id", "in_progress_at", "expires_at", "completed_at"}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Serve with a key and tight limits."""
    settings = {"api_keys": "key-of-this-test-7c1f", "max_upload_bytes": "100000", "upload_timeout": "0.5"}
    settings |= {"admin_key": "admin-of-this-test-7c1f"}
    with Server(tmp_path_factory.mktemp("served") / "data", settings) as running:
        yield running


@pytest.fixture(scope="module")
def described(server):
    """Fetch the document, without a key."""
    answer = server.get("/openapi.json")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    return answer.json()


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """Record the examples anew."""
    with openapi_examples.serve(tmp_path_factory.mktemp("real") / "data") as running:
        yield json.loads(json.dumps(openapi_examples.record(running)))


def holds(described, schema, value):
    """Assert that a value is as one of the document's schemas says."""
    Draft202012Validator({**schema, "components": described["components"]}).validate(value)


def found(described, something):
    """Follow a reference."""
    while "$ref" in something:
        at = described
        for word in something["$ref"].removeprefix("#/").split("/"):
            at = at[word]
        something = at
    return something


def conforms(described, response, answer):
    """Assert that an answer has the documented headers, content type and body; return the content's row."""
    response = found(described, response)
    for name, header in response["headers"].items():
        assert name.lower() in answer.headers or not found(described, header)["required"], name
    content = response["content"][answer.headers["content-type"].partition(";")[0]]
    if answer.headers["content-type"] == "application/json":
        holds(described, content["schema"], answer.json())
    return content


def documented(described, path, answer, method="post"):
    """Assert that an answer is one of those that a route's row has."""
    return conforms(described, described["paths"][path][method]["responses"][str(answer.status)], answer)


def test_it_is_openapi(described):
    """The document is OpenAPI 3.1, without names that nothing defines."""
    validate(described)
    assert described["openapi"].startswith("3.1.")
    references = set(re.findall(r'"\$ref": "([^"]+)"', json.dumps(described)))
    assert all(found(described, {"$ref": reference}) for reference in references)


def test_every_schema_is_a_schema(described):
    """Every schema, in the components and beside them, is valid JSON Schema of 2020-12."""
    for schema in described["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


def test_every_body_is_that_of_its_struct(described):
    """What goes out is described from where it is declared: each struct's fields, and a sentence for each struct."""
    schemas = described["components"]["schemas"]
    for struct in SENT:
        names = [field.encode_name for field in msgspec.structs.fields(struct)]
        assert list(schemas[struct.__name__]["properties"]) == names
    assert all(schema.get("description") for name, schema in schemas.items() if name != "PictureReference")


def test_every_route_and_nothing_else(described):
    """Each method and path of the routes has an operation of its own name, and there are no others."""
    routes = [(prefix + path, method) for prefix in PREFIXES for method, path, _ in API]
    routes += [(path, method) for method, path, _ in SITE]
    said = [(path, method.upper()) for path, place in described["paths"].items() for method in place]
    assert sorted(said) == sorted((path.replace(":path", ""), method) for path, method in routes)
    names = [each["operationId"] for place in described["paths"].values() for each in place.values()]
    assert len(set(names)) == len(names)
    assert {"edit_image", "openai_edit_image"} <= set(names)


@pytest.mark.parametrize(("name", "kind"), BODIES)
@pytest.mark.parametrize("param", PARAMS, ids=lambda param: param.name)
def test_every_parameter(described, name, kind, param):
    """Both bodies of an edit have every parameter with its type, range, choices, default and words."""
    content = described["paths"][EDITS]["post"]["requestBody"]["content"][kind]
    assert content["schema"] == {"$ref": f"#/components/schemas/{name}"}
    said = described["components"]["schemas"][name]["properties"][param.name]
    assert (said["description"], said["x-group"]) == (param.help, param.group)
    assert said.get("default") == param.default
    assert tuple(said.get("enum", ())) == param.choices
    if param.kind in {"integer", "number"}:
        assert (said["type"], said.get("minimum"), said.get("maximum")) == (param.kind, param.low, param.high)
    if param.kind == "string":
        assert (said.get("minLength", 0), said.get("maxLength")) == (param.low or 0, param.high)
    if param.kind == "picture" and name == "EditForm":
        assert said["format"] == "binary"


def test_one_picture_under_either_name(described):
    """A picture is needed, as image or in OpenAI's notation for lists, and not in both."""
    for name, other in (("EditForm", "image[]"), ("EditDocument", "images")):
        schema = described["components"]["schemas"][name]
        assert schema["oneOf"] == [{"required": ["image"]}, {"required": [other]}]
        assert (schema["required"], schema["properties"][other]["maxItems"]) == ([], 16)


def test_every_error(described):
    """Each error has its code, its words and a response; each status of a route is one of theirs or its own."""
    codes = described["components"]["schemas"]["ErrorCode"]
    assert set(codes["enum"]) == {kind.code for kind in error_kinds()}
    assert all(
        f"`{kind.code}` ({kind.status}): {inspect.getdoc(kind)}" in codes["description"] for kind in error_kinds()
    )
    assert set(described["components"]["responses"]) == {kind.__name__ for kind in error_kinds()}
    said = set(described["paths"][EDITS]["post"]["responses"])
    assert said == {"200", "202", *(str(kind.status) for kind in error_kinds() if kind not in ELSEWHERE)}


@pytest.mark.parametrize(("settings", "needed"), [({}, [{"bearer": []}, {}]), ({"api_keys": "k"}, [{"bearer": []}])])
async def test_the_key(edge, settings, needed):
    """The API asks for a key where there are keys; probes and the document never do."""
    paths = (await edge(**settings).get("/openapi.json")).json()["paths"]
    assert paths[EDITS]["post"]["security"] == paths["/metrics"]["get"]["security"] == needed
    assert paths["/healthz"]["get"]["security"] == paths["/openapi.json"]["get"]["security"] == []
    assert "401" not in paths["/openapi.json"]["get"]["responses"]


async def test_the_address(edge):
    """The server is the public address, or wherever the document came from."""
    for settings, url in (({}, "/"), ({"public_url": "https://up.example/"}, "https://up.example")):
        assert (await edge(**settings).get("/openapi.json")).json()["servers"] == [{"url": url}]


@pytest.mark.parametrize(
    ("query", "parts", "schema"),
    [
        ("", (), "ImagesResponse"),
        ("", (("response_format", "b64_json"), ("n", "2")), "ImagesResponse"),
        ("?dryRun=true", (("scale_factor", "3"),), "QuoteResponse"),
    ],
)
@pytest.mark.parametrize("prefix", PREFIXES)
def test_answers_to_edits(server, described, *, prefix, query, parts, schema):
    """Links, base64 and prices are as described."""
    path = f"{prefix}/images/edits"
    answer = server.post(path + query, form(*GIVEN, *parts), **KEY)
    assert answer.status == 200
    documented(described, path, answer)
    holds(described, {"$ref": f"#/components/schemas/{schema}"}, answer.json())


def test_a_stream(server, described):
    """The events are those that the stream's row names, with data as described."""
    answer = server.edit(*GIVEN, ("stream", "true"), ("partial_images", "1"), **KEY)
    broken = server.edit(*GIVEN, ("stream", "true"), ("fail", "upstream"), **KEY)
    kinds_of_event = documented(described, EDITS, answer)["schema"]["oneOf"]
    schemas = {each["properties"]["event"]["const"]: each["properties"]["data"] for each in kinds_of_event}
    pairs = re.findall(r"^event: (.+)\ndata: (.+)$", answer.body.decode() + broken.body.decode(), re.MULTILINE)
    assert [name for name, _ in pairs] == list(schemas)
    for name, data in pairs:
        holds(described, schemas[name]["contentSchema"], json.loads(data))


@pytest.mark.parametrize(
    ("path", "asked", "status"),
    [
        ("/v1/models", "/v1/models", 200),
        ("/openai/v1/models", "/openai/v1/models", 200),
        ("/v1/models/{id}", "/v1/models/fal/flux-vision-upscaler", 200),
        ("/v1/models/{id}", "/v1/models/flux-vision-upscaler?schema=true", 200),
        ("/v1/models/{id}", "/v1/models/nope", 404),
        ("/media/{name}", "/media/nope?expires=1&signature=2", 404),
        ("/healthz", "/healthz", 200),
        ("/health", "/health", 200),
        ("/readyz", "/readyz", 200),
        ("/metrics", "/metrics", 200),
        ("/openapi.json", "/openapi.json", 200),
    ],
)
def test_answers_to_the_rest(server, described, path, asked, status):
    """Models, probes, numbers and this document are as described."""
    answer = server.get(asked, KEY)
    assert answer.status == status
    documented(described, path, answer, "get")
    if "schema=" in asked:
        holds(described, {"$ref": "#/components/schemas/ModelCard"}, answer.json())


def test_answers_about_accounts(server, described):
    """Keys, balances and usage, and what is refused of them, are as described."""
    created = server.post("/v1/keys", body({"name": "a", "budget_day": 1}), **ADMIN)
    place = f"/v1/keys/{created.json()['id']}"
    documented(described, "/v1/keys", created)
    documented(described, "/v1/keys", server.get("/v1/keys", ADMIN), "get")
    documented(described, "/v1/keys/{id}", server.get(place, ADMIN), "get")
    documented(described, "/v1/keys/{id}", server.patch(place, body({"parallel": 2}), **ADMIN), "patch")
    documented(described, "/v1/keys/{id}/rotate", server.get(f"{place}/rotate", ADMIN, "POST"))
    documented(described, "/v1/keys/{id}", server.get(place, ADMIN, "DELETE"), "delete")
    documented(described, "/v1/balance", server.get("/v1/balance", KEY), "get")
    documented(described, "/v1/usage", server.get("/v1/usage", ADMIN), "get")
    refused = [
        (400, "/v1/keys", server.post("/v1/keys", body({}), **ADMIN), "post"),
        (404, "/v1/keys", server.post("/v1/keys", body({"name": "a", "models": ["no"]}), **ADMIN), "post"),
        (413, "/v1/keys", server.post("/v1/keys", body({"name": "a" * 70_000}), **ADMIN), "post"),
        (403, "/v1/keys", server.post("/v1/keys", body({"name": "a"}), **KEY), "post"),
        (401, "/v1/keys", server.get("/v1/keys"), "get"),
        (404, "/v1/keys/{id}", server.get("/v1/keys/key_none", ADMIN), "get"),
        (400, "/v1/keys/{id}/rotate", server.get(f"{place}/rotate", ADMIN, "POST"), "post"),
        (400, "/v1/usage", server.get("/v1/usage?group_by=moon", KEY), "get"),
    ]
    for status, path, answer, method in refused:
        assert answer.status == status
        documented(described, path, answer, method)


@pytest.mark.parametrize(
    ("range_", "status"),
    [(None, 200), ("bytes=0-9", 206), ("bytes=0-1,4-5", 206), ("bytes=999999-", 416), ("bytes=5-2", 200)],
)
def test_files(server, described, range_, status):
    """A result comes whole or in parts; a range that makes no sense is as good as none."""
    url = server.edit(*GIVEN, **KEY).json()["data"][0]["url"].removeprefix(server.url)
    answer = server.get(url, {} if range_ is None else {"Range": range_})
    assert answer.status == status
    documented(described, "/media/{name}", answer, "get")


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (form(*GIVEN, ("scale_factor", "19")), 400),
        (form(("model", "nope"), GIVEN[1]), 404),
        (form(*GIVEN, ("prompt", "x" * 200_000)), 413),
        (({"Content-Type": "text/plain"}, b"x"), 415),
        (form(*GIVEN, ("fail", "busy")), 429),
        (form(*GIVEN, ("fail", "crash")), 500),
        (form(*GIVEN, ("fail", "upstream")), 502),
        (body({"model": MODEL.id, "image": "a.png"}), 400),
    ],
)
def test_refusals(server, described, request_, status):
    """Each way in which an edit can fail is as described."""
    answer = server.post(EDITS, request_, **KEY)
    assert answer.status == status
    documented(described, EDITS, answer)


def test_refusals_before_the_body(server, described, tmp_path):
    """No key, another website, and a body that never comes are as described; so are wrong addresses and methods."""
    documented(described, EDITS, server.edit(*GIVEN))
    with Server(tmp_path / "data") as keyless:
        answer = keyless.edit(*GIVEN, Origin="https://evil.example")
        assert answer.status == 403
        documented(described, EDITS, answer)
    head = f"POST /v1/images/edits HTTP/1.1\r\nHost: localhost\r\nAuthorization: {KEY['Authorization']}\r\n"
    head += "Content-Length: 9\r\n"
    answer = server.raw(f"{head}Content-Type: application/json\r\n\r\n".encode())
    assert answer.status == 408
    documented(described, EDITS, answer)
    for answer, name in ((server.get("/nope"), "NotFound"), (server.get(EDITS, KEY), "MethodNotAllowed")):
        conforms(described, described["components"]["responses"][name], answer)


@pytest.mark.parametrize(
    "kind", [kind for kind in error_kinds() if kind is not CallerGone], ids=lambda kind: kind.__name__
)
async def test_every_error_as_it_is_sent(edge, described, kind):
    """Whatever a handler raises, the answer is the response that has the error's name."""

    class Failing(Gateway):
        def find(self, _model):
            raise kind("No.", param="model", retry_after=1.5 if kind.retryable else None)

    client = await Client("GET", "/v1/models/x").ask(edge(gateway=Failing()).app)
    if kind.__name__ != "MethodNotAllowed":  # the router alone knows what is allowed
        answer = Answer(client.status, client.answered, client.body)
        conforms(described, described["components"]["responses"][kind.__name__], answer)


@pytest.mark.parametrize(
    "kind", [kind for kind in error_kinds() if kind not in ELSEWHERE], ids=lambda kind: kind.__name__
)
async def test_every_error_of_an_edit(edge, described, kind):
    """Whatever the gateway raises while it works, the answer is one that the route's row has."""

    class Failing(Gateway):
        async def run(self, _job, _watch, _work, _attempts):
            raise kind("No.", retry_after=1.5 if kind.retryable else None)

    client = await edge(gateway=Failing()).edit(*GIVEN)
    error = client.json()["error"]
    assert (client.status, error["code"]) == (kind.status, kind.code)
    documented(described, EDITS, Answer(client.status, client.answered, client.body))


def test_the_examples_are_of_the_kind_that_they_illustrate(described):
    """Every example in the document is valid where it stands."""
    post = described["paths"][EDITS]["post"]
    places = [*post["requestBody"]["content"].values(), *post["responses"]["200"]["content"].values()]
    places += [described["paths"]["/v1/models"]["get"]["responses"]["200"]["content"]["application/json"]]
    places += [row["content"]["application/json"] for row in described["components"]["responses"].values()]
    values = [(place["schema"], each["value"]) for place in places for each in place.get("examples", {}).values()]
    values += [(place["schema"], place["example"]) for place in places if "example" in place]
    for schema, value in values:
        holds(described, schema, value)
    assert len(values) == 2 * 3 + 3 + 2 + 1 + 8


def test_the_examples_are_real(real):
    """The recorded answers are those that a real server gives; to record: `python -m fakes.openapi_examples`."""
    assert still(json.loads(EXAMPLES.read_bytes())) == still(real)


def test_requests_in_the_examples_work_as_forms_too(server):
    """Each example of a request is a form as well as a document."""
    for given in openapi_examples.REQUESTS.values():
        parts = [(name, str(value).lower() if isinstance(value, bool) else str(value)) for name, value in given.items()]
        assert server.edit(*parts, **KEY).status == 200


def still(value):
    """Leave out what differs from one answer to the next."""
    if isinstance(value, dict) and str(value.get("data")).startswith("{"):
        return still(json.loads(value["data"]))
    if isinstance(value, str):
        return re.sub(r"\(http[^)]+\)", "(link)", value)
    if isinstance(value, dict):
        return {name: None if name in VOLATILE else still(item) for name, item in value.items()}
    return [still(item) for item in value] if isinstance(value, list) else value
