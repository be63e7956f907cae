"""A forward pass by the fastest way that works here: where generated code fails, the picture does not."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from torch import Tensor

from fluxvision.engine.flux.memory_budget import is_short

FAILED = "failed"
"""What is told of a lever that was let go."""
LOG = logging.getLogger(__name__)

Way = tuple[str, Callable[[], Tensor]]
"""The lever that a way depends on, and what goes it."""


def first(ways: Sequence[Way]) -> tuple[Tensor, tuple[str, ...]]:
    """Return the answer of the first way that works, and the levers of those before it, which are to be let go.

    Raises what the last way raises: then no lever is to blame. Memory that runs out is nobody's fault either: it comes
    out at once.
    """
    for number, (_, go) in enumerate(ways[:-1]):
        try:
            return go(), _let_go(ways[:number])
        except Exception as reason:  # compilers and drivers fail in all ways
            if is_short(reason):
                raise
    return ways[-1][1](), _let_go(ways[:-1])


def _let_go(ways: Sequence[Way]) -> tuple[str, ...]:
    for lever, _ in ways:
        LOG.warning("FLUX goes on without the lever %s: it failed on this machine.", lever)
    return tuple(lever for lever, _ in ways)
