"""GET /models and the schema of one."""

from __future__ import annotations

import pytest

from fakes.gateway import MODEL
from fluxvision.catalog.params import PARAMS


async def test_the_list_has_openais_shape(edge):
    """Every model has OpenAI's four keys and ours."""
    found = (await edge().get("/openai/v1/models")).json()
    assert found["object"] == "list"
    assert {
        "id",
        "object",
        "created",
        "owned_by",
        "root",
        "name",
        "title",
        "available",
        "capabilities",
        "description",
        "tags",
        "aliases",
        "offers",
        "modalities",
    } == set(found["data"][0])


def ids(answer):
    return [one["id"] for one in answer.json()["data"]]


async def test_aliases_are_ids_of_their_own(edge):
    """Pickers that look for OpenAI's names find them: entries with OpenAI's keys and the model that is meant."""
    found = {one["id"]: one for one in (await edge().get("/v1/models")).json()["data"]}
    assert {"gpt-image-1", "fal-ai/flux-vision-upscaler"} <= set(found)
    assert found["gpt-image-1"]["root"] == found[MODEL.id]["root"] == MODEL.id
    assert set(found["gpt-image-1"]) == {"id", "object", "created", "owned_by", "root"}
    assert not [name for name in found if " " in name]


async def test_aliases_can_be_left_out(edge):
    """With list_aliases off the list has the models alone."""
    assert ids(await edge(list_aliases="off").get("/v1/models")) == [MODEL.id]


async def test_what_nobody_here_has_is_listed_on_request(edge, monkeypatch):
    """A model without a configured provider, and its aliases, are there with ?all=true only."""
    served = edge()
    monkeypatch.setattr(type(served.gateway), "providers", frozenset({"other"}))
    assert ids(await served.get("/v1/models")) == []
    assert {MODEL.id, "gpt-image-1"} <= set(ids(await served.get("/v1/models?all=true")))


@pytest.mark.parametrize(
    "name", ["flux-vision-upscaler", "fal-ai/flux-vision-upscaler", "gpt-image-1", "fal/flux-vision-upscaler"]
)
async def test_one_by_any_name(edge, name):
    """Aliases and pinned names, slashes included, find the model."""
    assert (await edge().get("/v1/models/" + name)).json()["id"] == MODEL.id


async def test_the_schema_has_every_parameter(edge):
    """?schema=true adds a JSON Schema of the request and each provider's badges."""
    found = (await edge().get("/v1/models/flux-vision-upscaler?schema=true")).json()
    properties = found["schema"]["properties"]
    assert set(properties) == {"model", *(param.name for param in PARAMS)}
    assert (properties["scale_factor"]["minimum"], properties["scale_factor"]["maximum"]) == (1, 16)
    assert properties["output_format"]["enum"][0] == "png"
    assert found["schema"]["required"] == ["model", "image"]
    badges = found["parameters"][0]["parameters"]
    assert badges["size"] == {
        "mode": "emulated",
        "upstream_names": ["factor"],
        "sent": True,
        "note": "a factor exact pixels",
    }
    assert badges["prompt"]["sent"] is False


async def test_a_pinned_schema_is_that_providers(edge):
    """provider/model shows the badges of that provider alone."""
    found = (await edge().get("/v1/models/fal/flux-vision-upscaler?schema=1")).json()
    assert [each["provider"] for each in found["parameters"]] == ["fal"]


async def test_a_wrong_one_has_a_suggestion(edge):
    """An unknown model is a 404 with a suggestion."""
    answer = await edge().get("/v1/models/flux")
    assert (answer.status, answer.json()["error"]["code"]) == (404, "MODEL_NOT_FOUND")
    assert "Did you mean" in answer.json()["error"]["message"]
