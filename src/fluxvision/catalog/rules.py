"""The four ways a public parameter reaches a provider, and the rows built from them: Offer, Model, Price."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fluxvision.catalog.params import PARAMS
from fluxvision.core.types import Job, Scalar, ScaleRange

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
    """Done by the gateway whatever the provider knows: sets one field of `Plan`, sends nothing.

    Without `using` the field gets the value as it is.
    """

    by: str
    using: Using | None = None
    examples: tuple[Example, ...] = ()
    note: str = ""
    unless: Unless | None = None
    mode = "emulated"


Rule = Passthrough | Renamed | Converted | Emulated

UNSUPPORTED: Mapping[str, tuple[Rule, ...]] = {
    row.name: (Passthrough(row.unsupported, sent=False),) for row in PARAMS if row.unsupported
}
"""The rules of what an offer does not mention: the provider has no place for it."""


@dataclass(frozen=True, slots=True)
class Tier:
    """A price for quantities up to `upto`, None for all above."""

    upto: float | None
    unit_price: int


@dataclass(frozen=True, slots=True)
class Price:
    """What one picture costs. All prices in whole micro-dollars.

    `metric` is image, output_megapixel, input_megapixel or second. A megapixel has `unit` pixels; `rounding` of the
    quantity is none, up, or up_min_1 (at least one). `block` prices every started block of so many units. `tiers`, in
    rising order, give one price for the whole picture by its quantity, and `unit_price` is then that of the first. A
    price by the second is not known before the work is done, and one without a `unit_price` never is.
    """

    metric: str
    unit_price: int | None
    unit: int = 1_000_000
    rounding: str = "none"
    block: int = 1
    tiers: tuple[Tier, ...] = ()


@dataclass(frozen=True, slots=True)
class InputFormats:
    """What a provider takes as its picture; anything else is turned into an 8-bit RGB PNG before it is sent.

    `transparency` tells whether it keeps an alpha channel by itself.
    """

    formats: tuple[str, ...] = ("png", "jpeg", "webp")
    transparency: bool = False


ANY_FACTOR = ScaleRange()


@dataclass(frozen=True, slots=True, eq=False)
class Offer:
    """A model at a provider: its upstream id, its price, and for every public parameter the rules that carry it.

    A parameter that is left out of `rules` has the rule of UNSUPPORTED, where there is one.

    A row is itself and no other: it is compared and looked up by identity.

    `factors` is how far it enlarges, None where that is its own decision. `takes_extras` tells whether unknown names
    mean anything to it, `generative` whether it invents detail by a large model. `accepts` is None for a provider that
    reads every picture as it is. `measured` tells whether its pictures are compared with the source here. `reserved`
    are names of its own that only this server writes. `defaults` tells whether it is told what the caller left out; a
    server of which nothing is known gets only what was asked for. `frames` is its own name for a target of which nobody
    here knows exactly what it makes: the size of such a result is not checked.
    """

    provider: str
    upstream: str
    price: Price
    rules: Mapping[str, tuple[Rule, ...]]
    factors: ScaleRange | None = ANY_FACTOR
    takes_extras: bool = True
    generative: bool = True
    accepts: InputFormats | None = None
    measured: bool = True
    reserved: tuple[str, ...] = ()
    defaults: bool = True
    frames: str = ""
    note: str = ""

    def __post_init__(self) -> None:
        """Fill in the rules of what the provider has no place for."""
        object.__setattr__(self, "rules", {**UNSUPPORTED, **self.rules})


@dataclass(frozen=True, slots=True)
class Implied:
    """What a provider's own `word` of this `value` asks for: `means` of a parameter, where no size is given."""

    word: str
    value: Scalar
    parameter: str
    means: Scalar


@dataclass(frozen=True, slots=True)
class Model:
    """A model of the catalogue: names, words and offers, the preferred one first. `created` is a Unix time.

    `narrows` has, by parameter, the facts of its row that differ for this model. The answers to a name of
    `b64_aliases`, or to one that begins as `b64_families` do, hold base64 where nothing is said.
    """

    id: str
    name: str
    creator: str
    created: int
    description: str
    aliases: tuple[str, ...]
    b64_aliases: tuple[str, ...]
    tags: tuple[str, ...]
    offers: tuple[Offer, ...]
    narrows: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    b64_families: tuple[str, ...] = ()
    implied: tuple[Implied, ...] = ()
    capabilities: tuple[str, ...] = ("upscale",)
