"""Which offers may serve a job, best first."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fakes.jobs import job
from fluxvision.catalog.flux_vision_upscaler import EMBEDDED, MODEL
from fluxvision.errors import ModelNotFound, Unavailable
from fluxvision.routing import route

THREE = replace(MODEL, offers=tuple(replace(EMBEDDED, provider=name) for name in ("first", "second", "third")))


@pytest.mark.parametrize(
    ("configured", "pin", "wanted"),
    [
        ({"first", "second", "third"}, None, ["first", "second", "third"]),
        ({"third", "first"}, None, ["first", "third"]),
        ({"third", "first"}, "third", ["third"]),
        ({"other", "second"}, None, ["second"]),
    ],
)
def test_configured_offers_in_the_tables_order(configured, pin, wanted):
    """The table's order counts, not that of the configuration; a pinned provider stands alone."""
    assert [offer.provider for offer in route(job(pin=pin), THREE, configured)] == wanted


def test_a_pinned_provider_that_is_not_configured_is_not_found():
    """Insisting on a provider gives up the others."""
    with pytest.raises(ModelNotFound, match="second"):
        route(job(pin="second"), THREE, {"first"})


def test_without_any_provider_the_model_is_unavailable():
    """The request is right, this server just cannot serve it."""
    with pytest.raises(Unavailable) as caught:
        route(job(), THREE, set())
    assert caught.value.retryable
