"""One integer is one case: what a connection sends, pauses and expects."""

from __future__ import annotations

import random

from fuzz import documents, forms, wire


def case(seed: int) -> wire.Script:
    """Return the case of a seed, always the same."""
    chance = random.Random(seed)  # noqa: S311, a seed has to give the same case again
    lot = chance.random()
    if lot < 0.42:
        return wire.post(chance, forms.simple(chance), "picture")
    if lot < 0.60:
        return wire.post(chance, forms.form(chance), "form")
    if lot < 0.77:
        return wire.post(chance, documents.document(chance), "document")
    return wire.script(chance)
