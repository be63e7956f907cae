"""The words about finished pictures, for clients that talk with language models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fluxvision.core.money import MICROS_PER_DOLLAR, format_amount
from fluxvision.http.responses import ImagesResponse

WITHOUT_PICTURE = (
    "I enlarge pictures: send one with your message. Parameters such as scale_factor stand beside the messages."
)
"""What is answered to a message without a picture."""


def describe_result(found: ImagesResponse, facts: Sequence[dict[str, Any]] = (), *, inline: bool = True) -> str:
    """Return Markdown about the pictures of a response: their size and cost, their links, and the warnings.

    `facts` are the metadata of each picture, where they are known. Links are shown as pictures if `inline`.
    """
    known = facts or found.metadata.get("pictures") or [found.metadata]
    sizes = " and ".join(dict.fromkeys(one["size"].replace("x", " × ") for one in known))
    several = len(found.data) > 1
    sentence = f"{'The pictures are' if several else 'The picture is'} enlarged to {sizes} pixels"
    cost = found.metadata.get("cost")
    parts = [f"{sentence} for {format_amount(round(cost * MICROS_PER_DOLLAR))}." if cost else f"{sentence}."]
    mark, text = ("!", "The enlarged picture") if inline else ("", "Open the enlarged picture")
    parts += [f"{mark}[{text}]({entry.url})" for entry in found.data if isinstance(entry.url, str)]
    if found.warnings:
        parts.append("\n".join(f"- {sentence}" for sentence in found.warnings))
    return "\n\n".join(parts)
