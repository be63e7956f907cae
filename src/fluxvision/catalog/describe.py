"""Describes the catalogue as text and Markdown (prices, factors, models), and as the JSON Schema of a request."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fluxvision.catalog import pricing
from fluxvision.catalog.catalog import ELSEWHERE
from fluxvision.catalog.normalize import strongest_mode
from fluxvision.catalog.params import Param, describe_param
from fluxvision.catalog.rules import Model, Offer, Passthrough, Price, Rule
from fluxvision.core.money import format_amount

KINDS = {"integer": "integer", "number": "number", "boolean": "boolean"}
MEGAPIXEL = (1000, 1000)
"""Width and height that estimates assume for both the input and the result."""
NOWHERE = "not sent"
METRICS = {
    "image": "picture",
    "output_megapixel": "output megapixel",
    "input_megapixel": "input megapixel",
    "second": "compute second",
}


def describe_price(price: Price) -> str:
    """Return a price as a phrase for people."""
    unit = METRICS[price.metric]
    if price.unit_price is None:
        return "not known"
    if price.tiers:
        limits = ("above" if tier.upto is None else f"up to {tier.upto:g}" for tier in price.tiers)
        steps = (f"{format_amount(tier.unit_price)} {limit}" for tier, limit in zip(price.tiers, limits, strict=True))
        return f"{', '.join(steps)} {unit}s"
    if price.unit_price == 0:
        return "$0"
    if price.block > 1:
        return f"{format_amount(price.unit_price)} per started {price.block} {unit}s"
    rounded = {"none": "", "up": ", rounded up", "up_min_1": ", rounded up, at least 1"}[price.rounding]
    late = ", known only afterwards" if price.metric == "second" else ""
    return f"{format_amount(price.unit_price)} per {unit}{rounded}{late}"


def format_offer_price(row: Offer) -> str:
    """Return an offer's price as a phrase for people."""
    return "as configured" if row.provider == ELSEWHERE else describe_price(row.price)


def estimate_megapixel(price: Price) -> int | None:
    """Return the cost of a one-megapixel result in micro-dollars, None when it cannot be known beforehand."""
    return pricing.image_price(price, MEGAPIXEL, MEGAPIXEL).total_cost


def format_factors(offer: Offer) -> str:
    """Return an offer's range of scale factors as a phrase for people."""
    if offer.factors is None:
        return "its own factor"
    if offer.factors.only:
        return "only " + " or ".join(f"{one:g}" for one in offer.factors.only)
    return f"{offer.factors.low:g} to {offer.factors.high:g}"


def request_schema(row: Model, rows: Sequence[Param]) -> dict[str, Any]:
    """Return the JSON Schema of a request body for a model, with the mode per provider at each parameter."""
    name = {"type": "string", "const": row.id, "description": "The model's id."}
    known = param_schemas(rows)
    for param in rows:
        known[param.name]["x-modes"] = {one.provider: strongest_mode(one.rules[param.name]) for one in row.offers}
    return {
        "type": "object",
        "properties": {"model": name, **known},
        "required": ["model", *(param.name for param in rows if param.required)],
        "additionalProperties": True,
    }


def param_schemas(rows: Sequence[Param]) -> dict[str, Any]:
    """Return the JSON Schema of every public parameter, by name."""
    return {param.name: _param_schema(param) for param in rows}


def destination(rules: Sequence[Rule]) -> str:
    """Return where a parameter's value goes: the provider's parameter names, the gateway itself, or nowhere."""
    ends = []
    for rule in rules:
        if isinstance(rule, Passthrough):
            ends.append("the same" if rule.sent else NOWHERE)
        else:
            ends.append(str(getattr(rule, "to", "done here")))
    return ", ".join(dict.fromkeys(ends))


def rule_notes(rules: Sequence[Rule]) -> str:
    """Return the notes of all rules of a parameter, joined."""
    return " ".join(dict.fromkeys(text for rule in rules if (text := getattr(rule, "note", ""))))


def _param_schema(param: Param) -> dict[str, Any]:
    found: dict[str, Any] = {"type": KINDS.get(param.kind, "string"), "description": param.help, "x-group": param.group}
    if param.flag is not None:
        found["x-flag"] = param.flag
    if param.kind == "picture":
        found["format"] = "binary"
    if param.default is not None:
        found["default"] = param.default
    if param.choices:
        found["enum"] = list(param.choices)
    if param.pattern is not None:
        found["pattern"] = f"^{param.pattern.pattern}$"
    low, high = ("minLength", "maxLength") if param.kind == "string" else ("minimum", "maximum")
    if param.low is not None and (param.low or param.kind != "string"):
        found[low] = param.low
    if param.high is not None:
        found[high] = param.high
    return found


MODES = (
    ("passthrough", "sent unchanged, or not at all where the provider has no place for it; the receipt says which"),
    ("renamed", "the same value under the provider's own name"),
    ("converted", "another value, computed by a formula"),
    ("emulated", "done by the gateway, whatever the provider can do"),
)


def markdown_index(models: Sequence[Model], base: str) -> str:
    """Return the Markdown list of all models; `base` is the address of the API, such as http://host/v1."""
    lines = [
        "# Flux Vision Upscaler",
        "",
        "> Enlarges pictures 1 to 16 times, behind an images API that OpenAI's clients speak.",
        "",
        f"Base URL: {base}",
        f"Enlarge: POST {base}/images/edits (multipart form or JSON), price first with ?dryRun=true.",
        "",
        "## Models",
        "",
        *(f"- [{model.name}]({base}/models/{model.id}/llms.txt): {model.description}" for model in models),
        "",
        "## More",
        "",
        f"- [OpenAPI document]({base}/openapi.json)",
        f"- [Models as JSON]({base}/models)",
    ]
    return "\n".join(lines) + "\n"


def markdown_page(model: Model, rows: Sequence[Param], base: str) -> str:
    """Return the Markdown page of one model: names, offers, prices, parameters and an example call."""
    lines = [
        f"# {model.name}",
        "",
        f"> {model.description}",
        "",
        f"- Model id: `{model.id}`",
        f"- By: {model.creator}",
        f"- Also called: {', '.join(f'`{name}`' for name in (*model.aliases, *model.b64_aliases))}",
        f"- Tags: {', '.join(model.tags)}",
        f"- Capabilities: {', '.join(model.capabilities)}",
        f"- Base URL: {base}",
        "",
        "## Providers and prices",
        "",
    ]
    for offer in model.offers:
        guess = estimate_megapixel(offer.price)
        told = "not known beforehand" if guess is None else format_amount(guess)
        lines.append(
            f"- `{offer.provider}/{model.id}` ({offer.upstream}): {format_offer_price(offer)}; a result of one "
            f"megapixel: {told}; enlarges {format_factors(offer)} times"
        )
    lines += ["", "## Call", "", "```bash", *_curl_example(model, base), "```", "", "## Parameters", ""]
    for param in rows:
        default = "" if param.default is None else f", default {param.default}"
        by = "; ".join(f"{offer.provider}: {_format_mode(offer.rules[param.name])}" for offer in model.offers)
        lines.append(f"- `{param.name}` ({describe_param(param)}{default}): {param.help} [{by}]")
    lines += [
        "",
        "Unknown parameters go unchanged to providers that have some of their own; the receipt tells.",
        "",
        "## Modes",
        "",
    ]
    lines += [f"- {name}: {text}." for name, text in MODES]
    return "\n".join(lines) + "\n"


def _format_mode(rules: Sequence[Rule]) -> str:
    """Return a parameter's mode, marked when its value is not sent anywhere."""
    return strongest_mode(rules) + (" (not sent)" if destination(rules) == NOWHERE else "")


def _curl_example(model: Model, base: str) -> list[str]:
    return [
        f"curl {base}/images/edits \\",
        '  -H "Authorization: Bearer $API_KEY" \\',
        f'  -F "model={model.id}" \\',
        '  -F "image=@photo.jpg" \\',
        '  -F "scale_factor=2"',
    ]
