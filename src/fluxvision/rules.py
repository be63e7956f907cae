"""The four ways a public parameter reaches a provider, and the rows built from them: Offer, Model, Price."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fluxvision.types import Job, Scalar

Unless = Callable[[Any, Job], str | None]
"""A pure function that says why a value, as given, has not the effect that was asked for; None where it has."""
Using = Callable[[Any, Job], Any]
"""A pure function from the caller's value (None: absent) and the whole job to what is sent or planned."""


@dataclass(frozen=True, slots=True)
class Example:
    """A worked example that documents a conversion and is executed as a test.

    `source` is the picture's width and height, `given` the values of the job.
    """

    source: tuple[int, int]
    given: Mapping[str, Scalar]
    gives: Any


@dataclass(frozen=True, slots=True)
class Passthrough:
    """Sent under its own name; with `sent=False` the provider has no place for it and the receipt says why."""

    note: str = ""
    sent: bool = True
    unless: Unless | None = None
    mode = "passthrough"


@dataclass(frozen=True, slots=True)
class Renamed:
    """The same value under the provider's name."""

    to: str
    mode = "renamed"


@dataclass(frozen=True, slots=True)
class Converted:
    """Another value, computed by a pure function, under the provider's name."""

    to: str
    using: Using
    examples: tuple[Example, ...] = ()
    note: str = ""
    unless: Unless | None = None
    mode = "converted"


@dataclass(frozen=True, slots=True)
class Emulated:
    """Done by the gateway whatever the provider knows: sets one field of `Plan`, sends nothing."""

    by: str
    using: Using | None = None
    examples: tuple[Example, ...] = ()
    note: str = ""
    unless: Unless | None = None
    mode = "emulated"


Rule = Passthrough | Renamed | Converted | Emulated


@dataclass(frozen=True, slots=True)
class Price:
    """What one picture costs. `unit_price` in micro-dollars; `metric` is image or output_megapixel."""

    metric: str
    unit_price: int


@dataclass(frozen=True, slots=True)
class Offer:
    """A model at a provider: its upstream id, its price, and for every public parameter the rules that carry it.

    `max_factor` is the most that it enlarges; `takes_extras` whether unknown names mean anything to it.
    """

    provider: str
    upstream: str
    price: Price
    rules: Mapping[str, tuple[Rule, ...]]
    max_factor: float = 4.0
    takes_extras: bool = True
    note: str = ""


@dataclass(frozen=True, slots=True)
class Model:
    """A model of the catalogue: names, words and offers. `created` is a Unix time."""

    id: str
    name: str
    creator: str
    created: int
    description: str
    aliases: tuple[str, ...]
    b64_aliases: tuple[str, ...]
    tags: tuple[str, ...]
    offers: tuple[Offer, ...]
