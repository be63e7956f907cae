"""What the rows of the table say of models, parameters, offers and prices, as Markdown."""

from __future__ import annotations

from typing import Any

from cells import table

from fluxvision.catalog import catalog, pricing
from fluxvision.catalog import describe as card
from fluxvision.catalog.catalog import CATALOG, ELSEWHERE
from fluxvision.catalog.normalize import strongest_mode
from fluxvision.catalog.params import PARAMS, Param, describe_param
from fluxvision.catalog.rules import Offer, Passthrough, Rule
from fluxvision.core.money import format_amount
from fluxvision.core.types import Fit
from fluxvision.engine.tile_inference import detail_amount

PRICED = ((512, 512), (1000, 1000), (4000, 3000))
"""Pictures whose prices are shown."""
SHOWN_CREATIVITY = (0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)


def parameters() -> str:
    """Return the public parameters: what they take, their default, the CLI's flag, and what they do."""
    return table(
        ("Parameter", "Values", "Default", "CLI", "Meaning"),
        (
            (f"`{row.name}`", describe_param(row), _default(row), f"`{row.flag}`" if row.flag else "", row.help)
            for row in PARAMS
        ),
    )


def offers() -> str:
    """Return every offer with its price."""
    return table(
        ("Model", "Provider", "Upstream", "Enlarges", "Price", "One megapixel"),
        (
            (
                f"`{model.id}`",
                f"`{offer.provider}`",
                f"`{offer.upstream}`",
                card.format_factors(offer),
                card.format_offer_price(offer),
                _estimate(offer),
            )
            for model in CATALOG
            for offer in model.offers
        ),
    )


def names() -> str:
    """Return what every model is called."""
    return table(
        ("Model", "Is", "Also called"),
        (
            (
                f"`{model.id}`",
                model.description,
                ", ".join(f"`{name}`" for name in (*model.aliases, *model.b64_aliases)),
            )
            for model in CATALOG
        ),
    )


def modes() -> str:
    """Return for every offer how each parameter reaches its provider."""
    parts = []
    for model in CATALOG:
        for offer in model.offers:
            rows = (
                (f"`{row.name}`", strongest_mode(offer.rules[row.name]), *_rules(offer, row))
                for row in catalog.model_params(model)
            )
            parts.append(
                f"`{model.id}` at `{offer.provider}`:\n\n{table(('Parameter', 'Mode', 'Becomes', 'Note'), rows)}"
            )
    return "\n\n".join(parts)


def badges() -> str:
    """Return the mode of each parameter at each provider of the first model."""
    model = CATALOG[0]
    head = ("Parameter", *(f"`{offer.provider}`" for offer in model.offers))
    rows = catalog.model_params(model)
    return table(
        head, ((f"`{row.name}`", *(strongest_mode(offer.rules[row.name]) for offer in model.offers)) for row in rows)
    )


def worked() -> str:
    """Return the worked examples of the first model's rules, which are executed as tests; each once."""
    rows: dict[tuple[str, ...], list[str]] = {}
    for row in catalog.model_params(CATALOG[0]):
        for offer in CATALOG[0].offers:
            for rule in offer.rules[row.name]:
                for example in getattr(rule, "examples", ()):
                    given = ", ".join(f"{name}={value}" for name, value in example.given.items()) or "nothing"
                    size = "×".join(str(side) for side in example.source)
                    to = getattr(rule, "to", "") or "by the gateway"
                    line = (f"`{row.name}`", rule.mode, size, f"`{given}`", to, _worth(example.gives))
                    rows.setdefault(line, []).append(f"`{offer.provider}`")
    every = len(CATALOG[0].offers)
    head = ("Parameter", "Mode", "Picture", "Given", "Becomes", "Value", "At")
    return table(
        head,
        (
            (*line, "every provider" if len({*at}) == every else ", ".join(dict.fromkeys(at)))
            for line, at in rows.items()
        ),
    )


def price_sizes() -> str:
    """Return what some pictures cost at every offer, computed by the code that bills."""

    def cost(offer: Offer, source: tuple[int, int]) -> str:
        factor = offer.factors.only[0] if offer.factors and offer.factors.only else 2
        made = round(source[0] * factor), round(source[1] * factor)
        if offer.provider == ELSEWHERE:
            return card.format_offer_price(offer)
        total = pricing.image_price(offer.price, source, made).total_cost
        return "not known beforehand" if total is None else format_amount(total)

    head = ("Model", "Provider", "Price", *(f"{width:,}×{height:,}, ×2" for width, height in PRICED))
    rows = ((model, offer) for model in CATALOG for offer in model.offers)
    return table(
        head,
        (
            (
                f"`{model.id}`",
                f"`{offer.provider}`",
                card.format_offer_price(offer),
                *(cost(offer, size) for size in PRICED),
            )
            for model, offer in rows
        ),
    )


def creativity() -> str:
    """Return the share of the detail network in the blend for some values of creativity."""
    return table(
        ("`creativity`", *(f"{value:g}" for value in SHOWN_CREATIVITY)),
        [("share of the detail network", *(f"{detail_amount(value):.2f}" for value in SHOWN_CREATIVITY))],
    )


def _default(row: Param) -> str:
    if row.required:
        return "required"
    return "" if row.default is None else f"`{str(row.default).removesuffix('.0').lower()}`"


def _estimate(offer: Offer) -> str:
    guess = card.estimate_megapixel(offer.price)
    return "not known beforehand" if guess is None else format_amount(guess)


def _rules(offer: Offer, row: Param) -> tuple[str, str]:
    rules = offer.rules[row.name]
    notes = dict.fromkeys(note for rule in rules if (note := getattr(rule, "note", "")))
    return ", ".join(dict.fromkeys(_end(rule) for rule in rules)), " ".join(notes)


def _end(rule: Rule) -> str:
    if isinstance(rule, Passthrough):
        return "the same" if rule.sent else "not sent"
    return f"`{to}`" if (to := getattr(rule, "to", "")) else "done by the gateway"


def _worth(value: Any) -> str:
    """Return what a rule gives, as people write it."""
    if value is None:
        return "nothing to do"
    if isinstance(value, Fit):
        inner = "" if value.inner is None else f" of {value.inner[0]}×{value.inner[1]}"
        return f"`{value.width}×{value.height}` by `{value.mode}`{inner}"
    if isinstance(value, tuple):
        return "`" + "×".join(str(part) for part in value) + "`"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"
