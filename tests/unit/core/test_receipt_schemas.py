"""Attempts and receipts as JSON."""

from __future__ import annotations

import msgspec
import pytest

from fluxvision.core.receipt_schemas import attempt_entries, receipt_lines
from fluxvision.core.types import Attempt, ReceiptEntry


@pytest.mark.parametrize(
    ("attempt", "json"),
    [
        (Attempt("embedded", "ok", 0.12345), {"cost": 0.0}),
        (Attempt("fal", "ok", 0.12345, 40_000, upstream_id="r-1"), {"cost": 0.04, "upstream_id": "r-1"}),
        (
            Attempt("fal", "DEADLINE", 0.12345, None, message="Too late.", cost_at_most=80_000),
            {"cost": None, "cost_at_most": 0.08, "message": "Too late."},
        ),
        (Attempt("fal", "ok", 0.12345, None), {"cost": None, "cost_at_most": None}),
    ],
)
def test_an_attempt(attempt, json):
    """Costs are dollars, a bound stands only beside an unknown cost, and what is not known is left out."""
    told = {"provider": attempt.provider, "outcome": attempt.outcome, "duration": 0.123}
    assert msgspec.to_builtins(attempt_entries([attempt])) == [told | json]


def test_a_receipt_line():
    """The names are those of the API."""
    line = ReceiptEntry("scale_factor", "converted", 3, 4, "Rounded up.", honoured=False)
    assert msgspec.json.encode(receipt_lines([line])) == (
        b'[{"parameter":"scale_factor","mode":"converted","from":3,"to":4,"note":"Rounded up.","honoured":false}]'
    )
