"""The input schemas of the tools."""

from __future__ import annotations

import jsonschema
import pytest

from fluxvision.catalog.params import BY_NAME
from fluxvision.mcp.schemas import TRANSPORT, models_schema, quote_schema, upscale_schema


@pytest.mark.parametrize("schema", [upscale_schema(local=True), quote_schema(local=False), models_schema()])
def test_they_are_schemas(schema):
    """Each is a JSON Schema of an object, without our own extensions."""
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["type"] == "object"
    assert not [name for row in schema["properties"].values() for name in row if name.startswith("x-")]


def test_every_parameter_is_there():
    """The rows of the table are the properties, but for those that say how an answer travels."""
    properties = quote_schema(local=False)["properties"]
    assert set(properties) == {"model", *BY_NAME} - {*TRANSPORT}
    assert properties["scale_factor"]["maximum"] == BY_NAME["scale_factor"].high
    assert properties["output_format"]["enum"] == list(BY_NAME["output_format"].choices)


def test_only_a_local_client_has_files():
    """A path is offered, and `output_path` is there, where files of this machine are the client's own."""
    assert "path" in upscale_schema(local=True)["properties"]["image"]["description"]
    assert "path" not in upscale_schema(local=False)["properties"]["image"]["description"]
    assert "output_path" not in upscale_schema(local=False)["properties"]
    assert upscale_schema(local=True)["required"] == ["image"]
