"""One integer is one case: what a connection sends, pauses and expects."""

from __future__ import annotations

import random

from fuzz import documents, forms, operations, wire


def case(seed: int) -> wire.Script:
    """Return the case of a seed, always the same."""
    chance = random.Random(seed)  # noqa: S311, a seed has to give the same case again
    lot = chance.random()
    if lot < 0.32:
        return wire.post(chance, forms.simple(chance), "picture")
    if lot < 0.47:
        return wire.post(chance, forms.form(chance), "form")
    if lot < 0.62:
        return wire.post(chance, documents.document(chance), "document")
    if lot < 0.80:
        return operations.operation(chance)
    return wire.script(chance)
