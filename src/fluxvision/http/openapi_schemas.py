"""The bodies in the OpenAPI document: what comes in, and what goes out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from inspect import cleandoc
from typing import Any

import msgspec

from fluxvision.catalog.describe import METRICS, MODALITIES, param_schemas
from fluxvision.catalog.normalize import STRENGTH
from fluxvision.catalog.params import BY_NAME, PARAMS
from fluxvision.catalog.rules import Model
from fluxvision.core.money import CURRENCY
from fluxvision.core.types import Excluded, Failure, Fidelity, PriceComponent
from fluxvision.http.responses import OPENAI_SIZES
from fluxvision.http.streaming import COMMON, COMPLETED, PARTIAL, USAGE

TEXT = {"type": "string"}
WHOLE = {"type": "integer"}
NUMBER = {"type": "number"}
TRUTH = {"type": "boolean"}
MONEY = {"type": ["number", "null"]}
MICROS = {"type": ["integer", "null"]}
PIXELS = {"type": "string", "pattern": r"^\d+x\d+$", "description": "WIDTHxHEIGHT, in pixels."}
BASE64 = {"type": "string", "contentEncoding": "base64", "description": "The picture file."}
LIMITS = ("max_upload_bytes", "max_input_pixels", "max_output_pixels", "requests_per_minute")
REFERENCE = r"^(?:https?://|data:[^,]{0,256};base64,)"


def schema_ref(name: str, kind: str = "schemas") -> dict[str, Any]:
    """Return a reference to a component."""
    return {"$ref": f"#/components/{kind}/{name}"}


def object_schema(text: str, required: Mapping[str, Any], optional: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the schema of an object; further names are not an error, as in a later version."""
    properties = {**required, **(optional or {})}
    return {"type": "object", "description": text, "required": [*required], "properties": properties}


def model_schemas(items: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema of a list."""
    return {"type": "array", "items": items}


def request_schemas(models: Sequence[Model]) -> dict[str, Any]:
    """Return the two bodies of an edit: a form and a JSON document, with every public parameter."""
    names = {"type": "string", "description": "A model's id, alias, or provider/id.", "examples": [models[0].id]}
    known = {"model": names, **param_schemas(PARAMS)}
    picture, mask = known["image"], known["mask"]
    reference = schema_ref("PictureReference")
    listed = {"type": "array", "items": reference, "minItems": 1, "maxItems": 1}
    taken = "Numbers and booleans may be written as text; null or an empty text means that a parameter is absent."
    form = object_schema(
        f"Every parameter is a part. A picture is a file, or a URL as text. {taken}", {"model": names}, known
    )
    form["properties"]["image[]"] = {
        "type": "array",
        "items": {"type": "string", "format": "binary"},
        "minItems": 1,
        "maxItems": 1,
        "description": "The same as image, in the notation that OpenAI's SDKs use for lists.",
    }
    form["oneOf"] = [{"required": ["image"]}, {"required": ["image[]"]}]
    document = object_schema(f"Pictures are given by reference. {taken}", {"model": names}, known)
    document["properties"] |= {
        "image": {"anyOf": [reference, listed], "description": picture["description"], "x-group": picture["x-group"]},
        "images": {**listed, "description": "The same as image, in OpenAI's notation for JSON."},
        "mask": {"anyOf": [reference], "description": mask["description"], "x-group": mask["x-group"]},
    }
    document["oneOf"] = [{"required": ["image"]}, {"required": ["images"]}]
    url = {"type": "string", "pattern": REFERENCE, "description": "An http(s) URL or a base64 data URI."}
    return {
        "EditForm": form,
        "EditDocument": document,
        "PictureReference": {"anyOf": [url, object_schema("OpenAI's image reference.", {"image_url": url})]},
    }


def response_schemas() -> dict[str, Any]:
    """Return the bodies that go out."""
    _, made = msgspec.json.schema_components(
        [PriceComponent, Excluded, Failure, Fidelity], ref_template="#/components/schemas/{name}"
    )
    made = {name: {**found, "description": cleandoc(found["description"])} for name, found in made.items()}
    line = {
        "parameter": TEXT,
        "mode": {"enum": [*STRENGTH]},
        "from": {"description": "The value as it was given, null for a default."},
        "to": {"description": "What the provider or the gateway made of it."},
        "note": TEXT,
        "honoured": {**TRUTH, "description": "Whether the value had the effect that was asked for."},
    }
    attempt = {"provider": TEXT, "outcome": TEXT, "duration": NUMBER, "cost": MONEY}
    bound = {"cost_at_most": {**MONEY, "description": "Only where cost is null: what it can have come to, if known."}}
    metadata = {
        "model": TEXT,
        "executed_model": TEXT,
        "provider": TEXT,
        "provider_name": TEXT,
        "cost": {**MONEY, "description": "In dollars; null where a provider did not tell."},
        "cost_currency": {"const": CURRENCY},
        "degraded": {**TRUTH, "description": "Whether the CPU engine stood in for a provider that invents detail."},
        "size": PIXELS,
        "attempts": model_schemas(schema_ref("Attempt")),
        "excluded": {**model_schemas(schema_ref("Excluded")), "description": "Who was not asked, and why."},
        "normalization": {**model_schemas(schema_ref("ReceiptLine")), "description": "What became of every parameter."},
        "failures": {**model_schemas(schema_ref("Failure")), "description": "Why some of n pictures were not made."},
        "fidelity": {"anyOf": [schema_ref("Fidelity"), {"type": "null"}]},
        "seed": {"type": ["integer", "null"]},
        "timings": {"type": "object", "additionalProperties": NUMBER, "description": "Seconds by stage."},
    }
    tier = object_schema("A price up to a quantity.", {"upto": {"type": ["number", "null"]}, "unit_price": NUMBER})
    price = object_schema(
        "In dollars.",
        {
            "metric": {"enum": [*METRICS]},
            "unit_price": {"type": ["number", "null"], "description": "null: not known."},
            "unit": {**WHOLE, "description": "Pixels of a megapixel."},
            "rounding": {"enum": ["none", "up", "up_min_1"]},
            "block": {**WHOLE, "description": "Every started block of so many units is charged."},
            "tiers": model_schemas(tier),
            "currency": {"const": CURRENCY},
            "text": TEXT,
        },
    )
    factors = object_schema("How far it enlarges.", {"low": NUMBER, "high": NUMBER, "only": model_schemas(NUMBER)})
    offer = {
        "provider": TEXT,
        "upstream": TEXT,
        "configured": TRUTH,
        "generative": TRUTH,
        "factors": {"anyOf": [factors, {"type": "null"}]},
        "price": price,
        "estimate_per_megapixel": {**MONEY, "description": "What a result of one megapixel costs, in dollars."},
        "note": TEXT,
    }
    model = {
        "id": TEXT,
        "object": {"const": "model"},
        "created": WHOLE,
        "owned_by": TEXT,
        "name": TEXT,
        "title": TEXT,
        "description": TEXT,
        "tags": model_schemas(TEXT),
        "aliases": model_schemas(TEXT),
        "capabilities": model_schemas(TEXT),
        "available": {**TRUTH, "description": "Whether a provider of this model is configured here."},
        "offers": model_schemas(object_schema("Who serves the model, and at what price.", offer)),
        "modalities": object_schema(
            "What goes in and out.", {name: model_schemas({"enum": kind}) for name, kind in MODALITIES.items()}
        ),
    }
    badge = {"mode": line["mode"], "upstream_names": model_schemas(TEXT), "sent": TRUTH, "note": TEXT}
    modes = {"type": "object", "additionalProperties": object_schema("How a parameter reaches the provider.", badge)}
    quote: dict[str, Any] = {
        "id": TEXT,
        "estimated": {"const": True},
        "model": TEXT,
        "provider": TEXT,
        "total_cost_micros": {**MICROS, "description": "In micro-dollars; null where only the work itself will tell."},
        "currency": {"const": CURRENCY},
        "size": PIXELS,
        "components": model_schemas(schema_ref("PriceComponent")),
        "normalization": model_schemas(schema_ref("ReceiptLine")),
        "alternatives": {
            **model_schemas(object_schema("Another provider.", {"provider": TEXT, "total_cost_micros": MICROS})),
            "description": "Who would be tried next, in this order.",
        },
        "excluded": {
            **model_schemas(schema_ref("Excluded")),
            "description": "Configured providers that cannot serve this request.",
        },
    }
    where: dict[str, Any] = {"url": {"type": "string", "description": "A link that expires."}, "b64_json": BASE64}
    item = object_schema("One picture: a link, or the file itself.", {}, {**where, "revised_prompt": TEXT})
    formats = {"enum": [*BY_NAME["output_format"].choices]}
    sizes = {"enum": sorted(OPENAI_SIZES), "description": "Only where OpenAI knows it; metadata.size always is."}
    event = {
        "created_at": WHOLE,
        "output_format": formats,
        **{word: {"const": value} for word, value in COMMON.items()},
    }
    event |= {"b64_json": BASE64, "size": {"enum": ["auto", *sorted(OPENAI_SIZES)]}}
    extra = {
        "index": {**WHOLE, "description": "With n over 1: which version size, fidelity and seed are those of."},
        "seeds": model_schemas({"type": ["integer", "null"]}),
        "fidelities": model_schemas({"anyOf": [schema_ref("Fidelity"), {"type": "null"}]}),
        "warnings": {
            **model_schemas(TEXT),
            "description": "What the picture says of itself and could not be used or kept.",
        },
        "deep_zoom": {"type": "string", "description": "A Deep Zoom document of a large result behind a link."},
        "deep_zooms": {
            **model_schemas({"type": ["string", "null"]}),
            "description": "One per picture, where n is over 1.",
        },
    }
    return {
        **made,
        "Attempt": object_schema("One try at one provider.", attempt, {**bound, "upstream_id": TEXT, "message": TEXT}),
        "ReceiptLine": object_schema("What became of one parameter.", line),
        "Metadata": object_schema("Who made the pictures, at what cost, how well, and from what.", metadata, extra),
        "ImagesResponse": object_schema(
            "The finished pictures.",
            {
                "id": TEXT,
                "created": WHOLE,
                "output_format": formats,
                "data": model_schemas({**item, "oneOf": [{"required": [name]} for name in where]}),
                "metadata": schema_ref("Metadata"),
            },
            {"size": sizes},
        ),
        "DryRun": object_schema(
            "What the request would cost and what would become of its parameters.",
            quote,
            {"with_key": {**quote["alternatives"], "description": "Who else would make it for the page with a key."}},
        ),
        "PartialImageEvent": object_schema(
            "A preview.", {**event, "type": {"const": PARTIAL}, "partial_image_index": {**WHOLE, "minimum": 0}}
        ),
        "CompletedEvent": object_schema(
            "One finished picture.",
            {
                **event,
                "type": {"const": COMPLETED},
                "id": TEXT,
                "usage": {"const": USAGE},
                "metadata": schema_ref("Metadata"),
            },
            {
                "url": {**where["url"], "description": "A link that expires; asked for by name, b64_json is empty."},
                "revised_prompt": TEXT,
            },
        ),
        "Model": object_schema("A model in OpenAI's shape, with what a person wants to know.", model),
        "ModelList": object_schema(
            "Every model.", {"object": {"const": "list"}, "data": model_schemas(schema_ref("Model"))}
        ),
        "ModelWithSchema": {
            "allOf": [schema_ref("Model")],
            **object_schema(
                "A model with the JSON Schema of a request and each provider's modes.",
                {
                    "schema": {"type": "object"},
                    "parameters": model_schemas(
                        object_schema("", {"provider": TEXT, "upstream": TEXT, "parameters": modes})
                    ),
                },
            ),
        },
        "PageFacts": _page_facts_schema(),
        "Alive": object_schema("The process answers.", {"status": {"const": "ok"}}),
        "Readiness": object_schema(
            "Whether work is taken.",
            {"status": TEXT, "providers": {"type": "object", "additionalProperties": TRUTH}},
        ),
    }


def _page_facts_schema() -> dict[str, Any]:
    example = {"name": TEXT, "title": TEXT, "url": TEXT, "width": WHOLE, "height": WHOLE}
    shown: dict[str, Any] = dict.fromkeys(("title", "before", "after", "command"), TEXT)
    shown |= {"width": WHOLE, "height": WHOLE, "settings": {"type": "object"}, "fidelity": NUMBER}
    pictures = model_schemas(object_schema("A part of a picture, plainly enlarged and by the engine.", shown))
    return object_schema(
        "What the page has to know.",
        {
            "version": TEXT,
            "playground": {**TRUTH, "description": "Whether the page works without a key."},
            "keys": {**TRUTH, "description": "Whether other callers need a key."},
            "budget": object_schema(
                "What all requests without a key may spend, in dollars.",
                {
                    "spends": TRUTH,
                    "per_request": {**NUMBER, "description": "What is left today."},
                    "per_day": NUMBER,
                },
            ),
            "limits": object_schema(
                "The largest that is taken and made.",
                dict.fromkeys(LIMITS, WHOLE),
            ),
            "examples": model_schemas(object_schema("A picture to begin with.", example)),
            "gallery": {"type": "object", "additionalProperties": pictures, "description": "By model."},
        },
    )
