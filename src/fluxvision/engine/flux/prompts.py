"""Prompt embeddings as the transformers take them, and a small cache of them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

KEPT = 16
"""Most cached prompts: one of FLUX.2 has 8 MB at 16 bits per number."""


@dataclass(frozen=True, slots=True, eq=False)
class Prompt:
    """The embedding of one prompt, or of one for each tile of the batch."""

    text: Tensor
    """(1 or B, tokens, features)."""
    pooled: Tensor | None = None
    """(1 or B, features), one vector for the whole text; FLUX.1 only."""
    without: Prompt | None = None
    """The empty prompt, for guidance."""

    def check(self, pictures: int) -> None:
        """Raise ValueError when this is neither one prompt nor one for each picture."""
        if len(self.text) not in {1, pictures}:
            message = f"{len(self.text)} prompts and {pictures} pictures: it is one for all or one for each."
            raise ValueError(message)

    def to(self, device: torch.device, dtype: torch.dtype) -> Prompt:
        """Return the prompt on a device and in a number format, itself when nothing changes."""
        if self.text.device == device and self.text.dtype == dtype:
            return self
        return Prompt(
            self.text.to(device, dtype),
            None if self.pooled is None else self.pooled.to(device, dtype),
            None if self.without is None else self.without.to(device, dtype),
        )


def stack_prompts(prompts: Sequence[Prompt]) -> Prompt:
    """Return one prompt for each picture, without their negative prompts.

    Raises ValueError for an empty sequence.
    """
    if not prompts:
        message = "There is at least one prompt."
        raise ValueError(message)
    pooled = [prompt.pooled for prompt in prompts if prompt.pooled is not None]
    return Prompt(torch.cat([prompt.text for prompt in prompts]), torch.cat(pooled) if pooled else None)


class PromptCache:
    """The most recently used prompts, by their text."""

    def __init__(self, make: Callable[[str], Prompt]) -> None:
        """Cache the results of `make`."""
        self._make = make
        self._found: OrderedDict[str, Prompt] = OrderedDict()

    def __call__(self, words: str) -> Prompt:
        """Return the prompt of a text, made at most once while it is cached."""
        found = self._found.get(words)
        if found is None:
            found = self._found[words] = self._make(words)
            if len(self._found) > KEPT:
                self._found.popitem(last=False)
        self._found.move_to_end(words)
        return found

    def clear(self) -> None:
        """Remove all prompts."""
        self._found.clear()
