"""CATALOG: every model, checked once when imported; finding a model by any of its names."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from fluxvision.catalog.flux_vision_upscaler import MODEL as FLUX_VISION_UPSCALER
from fluxvision.errors import ModelNotFound
from fluxvision.params import PARAMS
from fluxvision.rules import Model

CATALOG: tuple[Model, ...] = (FLUX_VISION_UPSCALER,)

LONGEST_SHOWN = 80


def check(models: Iterable[Model]) -> None:
    """Raise ValueError when two names collide, or an offer lacks a rule or has one for an unknown parameter."""
    seen: dict[str, str] = {}
    known = {row.name for row in PARAMS}
    for model in models:
        for name in (model.id, *model.aliases, *model.b64_aliases):
            if seen.setdefault(name.lower(), model.id) != model.id or not name:
                message = f"two models share the name {name}"
                raise ValueError(message)
        for offer in model.offers:
            wrong = known.symmetric_difference(offer.rules)
            if wrong or any(not rules for rules in offer.rules.values()):
                message = f"{offer.provider}/{model.id} has no rule, or a needless one, for {sorted(wrong)}"
                raise ValueError(message)


check(CATALOG)


def prefers_base64(name: str, model: Model) -> bool:
    """Return whether a model was called by a name whose clients read only base64, pinned or not."""
    return name.strip().lower().rpartition("/")[2] in {alias.lower() for alias in model.b64_aliases}


def find(name: str, models: Iterable[Model] = CATALOG) -> tuple[Model, str | None]:
    """Return the model of a name (id, alias or provider/id, any case) and the provider that the name pins.

    Raises `ModelNotFound`, with the nearest name.
    """
    wanted = name.strip().lower()
    names: dict[str, tuple[Model, str | None]] = {}
    for model in models:
        plain = (model.id, *model.aliases, *model.b64_aliases)
        names |= {alias.lower(): (model, None) for alias in plain}
        for offer in model.offers:
            names |= {f"{offer.provider}/{alias}".lower(): (model, offer.provider) for alias in plain}
    if wanted in names:
        return names[wanted]
    shown = name if len(name) <= LONGEST_SHOWN and name.isprintable() else f"of {len(name):,} characters"
    near = get_close_matches(wanted[:LONGEST_SHOWN], [model.id for model in models], n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]}?" if near else " GET /models lists the models."
    message = f"There is no model {shown}.{hint}"
    raise ModelNotFound(message, param="model")
