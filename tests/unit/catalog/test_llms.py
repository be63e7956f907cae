"""llms.txt says what the rows say."""

from __future__ import annotations

import pytest

from fluxvision.catalog import catalog, describe
from fluxvision.catalog.catalog import CATALOG

BASE = "http://127.0.0.1:8000/openai/v1"


def test_the_index_links_every_model():
    """Each model has its line with its address and description."""
    text = describe.markdown_index(CATALOG, BASE)
    for model in CATALOG:
        assert f"- [{model.name}]({BASE}/models/{model.id}/llms.txt): {model.description}\n" in text


@pytest.mark.parametrize("model", CATALOG, ids=lambda model: model.id)
def test_a_page_has_all_rows(model):
    """Names, providers with prices, parameters with modes and the call are there."""
    text = describe.markdown_page(model, catalog.model_params(model), BASE)
    assert all(f"`{name}`" in text for name in (model.id, *model.aliases, *model.b64_aliases))
    assert all(f"`{offer.provider}/{model.id}`" in text for offer in model.offers)
    assert all(describe.format_offer_price(offer) in text for offer in model.offers)
    assert all(f"- `{row.name}` (" in text for row in catalog.model_params(model))
    assert f'-F "model={model.id}"' in text


def test_what_goes_nowhere_is_said():
    """A word that a provider has no place for is not promised to reach it."""
    seedvr, _ = catalog.find_model("seedvr")
    line = next(
        line
        for line in describe.markdown_page(seedvr, catalog.model_params(seedvr), BASE).splitlines()
        if "`prompt`" in line
    )
    assert "fal: passthrough (not sent)" in line
