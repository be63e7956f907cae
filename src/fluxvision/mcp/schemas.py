"""The input schemas of the tools, made from the rows of the public parameters."""

from __future__ import annotations

from typing import Any

from fluxvision.catalog import describe
from fluxvision.catalog.catalog import CATALOG, model_params
from fluxvision.catalog.params import PARAMS

MODEL = CATALOG[0]
"""The model of a call that names none."""
PICTURES = tuple(row.name for row in PARAMS if row.kind == "picture")
TRANSPORT = ("response_format", "stream", "partial_images")
"""Parameters that say how an answer travels, which the tools themselves decide."""
OUTPUT_PATH = "output_path"
FORMS = "an http(s) URL, a data URI or base64"
FORMS_WITH_FILES = "the absolute path of a file, an http(s) URL, a data URI or base64"


def upscale_schema(*, local: bool) -> dict[str, Any]:
    """Return the schema of `upscale`; with `local`, files of this machine are read and written."""
    schema = quote_schema(local=local)
    if local:
        schema["properties"][OUTPUT_PATH] = {
            "type": "string",
            "description": "The absolute path of a new file for the result; its ending sets the format. Existing files "
            "are never replaced.",
        }
    return schema


def quote_schema(*, local: bool) -> dict[str, Any]:
    """Return the schema of `quote`."""
    found = describe.request_schema(MODEL, model_params(MODEL))
    rows = {name: row for name, row in found["properties"].items() if name not in TRANSPORT}
    rows["model"] = {
        "type": "string",
        "description": "The model's id; the tool models lists them.",
        "default": MODEL.id,
    }
    properties = {name: _without_extensions(row) for name, row in rows.items()}
    forms = FORMS_WITH_FILES if local else FORMS
    for name in PICTURES:
        properties[name] = {"type": "string", "description": f"{properties[name]['description']} As {forms}."}
    required = [name for name in found["required"] if name != "model"]
    return {**found, "properties": properties, "required": required}


def models_schema() -> dict[str, Any]:
    """Return the schema of `models`."""
    text = "The id of one model, whose parameters are shown too; without it all models are listed."
    return {"type": "object", "properties": {"model": {"type": "string", "description": text}}}


def _without_extensions(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if not name.startswith("x-")}
