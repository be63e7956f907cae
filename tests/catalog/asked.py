"""What callers may ask of a model: any values of its rows."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as some

from fluxvision.catalog import catalog
from fluxvision.catalog.normalize import normalize
from fluxvision.catalog.params import Param
from fluxvision.catalog.rules import Model, Offer
from fluxvision.core.types import Call, Job, PostprocessPlan, ReceiptEntry

SIDES = some.integers(1, 3000)
RATIOS = some.sampled_from(["1:1", "4:3", "16:9", "9:16", "1:20"])
SIZES = some.builds("{}x{}".format, SIDES, SIDES) | RATIOS | some.just("auto")
RESTORE = some.sampled_from(["auto", "off", "0", "1", "0.25", ".5"])
TEXTS = {"size": SIZES, "aspect_ratio": RATIOS, "engine": some.just("span"), "restore": RESTORE}


def values(row: Param) -> some.SearchStrategy[Any]:
    """Return any value that a row takes."""
    if row.choices:
        return some.sampled_from(row.choices)
    if row.kind == "boolean":
        return some.booleans()
    if row.kind == "integer":
        return some.integers(int(row.low or 0), int(row.high or 0))
    if row.kind == "number":
        return some.floats(row.low, row.high).map(lambda number: round(number, 3))
    return TEXTS.get(row.name, some.text("ab \u2744", max_size=5))


def values_of(model: Model, *without: str) -> some.SearchStrategy[dict[str, Any]]:
    """Return any values that a caller of a model may give, strict and those named left out."""
    rows = [
        row for row in catalog.model_params(model) if row.kind != "picture" and row.name not in {"strict", *without}
    ]
    few = some.lists(some.sampled_from(rows), unique_by=lambda row: row.name, max_size=6)
    return few.flatmap(lambda chosen: some.fixed_dictionaries({row.name: values(row) for row in chosen}))


def normalized(job: Job, model: Model, offer: Offer) -> tuple[Call, PostprocessPlan, tuple[ReceiptEntry, ...]]:
    """Translate a job by the model's own rows."""
    return normalize(job, offer, catalog.model_params(model))
