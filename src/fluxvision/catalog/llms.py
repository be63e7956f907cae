"""llms.txt: the catalogue and its models as plain Markdown, for programs that read instead of clicking."""

from __future__ import annotations

from collections.abc import Sequence

from fluxvision.catalog import describe as card
from fluxvision.catalog.normalize import badge
from fluxvision.catalog.row import Param, describe
from fluxvision.catalog.rules import Model, Rule
from fluxvision.core.money import amount

MODES = (
    ("passthrough", "sent unchanged, or not at all where the provider has no place for it; the receipt says which"),
    ("renamed", "the same value under the provider's own name"),
    ("converted", "another value, computed by a formula"),
    ("emulated", "done by the gateway, whatever the provider can do"),
)


def index(models: Sequence[Model], base: str) -> str:
    """Return the catalogue; `base` is the address of the API, such as http://host/v1."""
    lines = [
        "# Flux Vision Upscaler",
        "",
        "> Enlarges pictures 1 to 4 times, behind an images API that OpenAI's clients speak.",
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


def page(model: Model, rows: Sequence[Param], base: str) -> str:
    """Return one model: its names, offers, prices and parameters, and how to call it."""
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
        guess = card.estimate(offer.price)
        told = "not known beforehand" if guess is None else amount(guess)
        lines.append(
            f"- `{offer.provider}/{model.id}` ({offer.upstream}): {card.offered(offer)}; a result of one "
            f"megapixel: {told}; enlarges {card.factor_words(offer)} times"
        )
    lines += ["", "## Call", "", "```bash", *_curl(model, base), "```", "", "## Parameters", ""]
    for param in rows:
        default = "" if param.default is None else f", default {param.default}"
        by = "; ".join(f"{offer.provider}: {_mode(offer.rules[param.name])}" for offer in model.offers)
        lines.append(f"- `{param.name}` ({describe(param)}{default}): {param.help} [{by}]")
    lines += [
        "",
        "Unknown parameters go unchanged to providers that have some of their own; the receipt tells.",
        "",
        "## Modes",
        "",
    ]
    lines += [f"- {name}: {text}." for name, text in MODES]
    return "\n".join(lines) + "\n"


def _mode(rules: Sequence[Rule]) -> str:
    """Return a parameter's mode, and that it goes nowhere where it does."""
    return badge(rules) + (" (not sent)" if card.becomes(rules) == card.NOWHERE else "")


def _curl(model: Model, base: str) -> list[str]:
    return [
        f"curl {base}/images/edits \\",
        '  -H "Authorization: Bearer $API_KEY" \\',
        f'  -F "model={model.id}" \\',
        '  -F "image=@photo.jpg" \\',
        '  -F "scale_factor=2"',
    ]
