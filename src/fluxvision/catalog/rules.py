"""Types of the catalogue's rows: the four kinds of rule for a parameter, Price, Offer and Model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fluxvision.catalog.params import PARAMS
from fluxvision.core.types import Job, Scalar

Unless = Callable[[Any, Job], str | None]
"""A pure function of the given value and the job: returns why the value is not honoured, None when it is."""
Using = Callable[[Any, Job], Any]
"""A pure function of the caller's value (None: absent) and the job: returns the value to send or to plan."""


@dataclass(frozen=True, slots=True)
class ScaleRange:
    """The scale factors that an engine can make: any from `low` to `high`, or only those of `only`."""

    low: float = 1.0
    high: float = 4.0
    only: tuple[float, ...] = ()
    """All possible factors; empty: any from `low` to `high`."""
    uniform: bool = False
    """Whether width and height always have the same factor."""


@dataclass(frozen=True, slots=True)
class Example:
    """A worked example that documents a conversion and is executed as a test."""

    source: tuple[int, int]
    """Width and height of the input picture."""
    given: Mapping[str, Scalar]
    """The values of the job."""
    gives: Any
    """The value that the rule must return."""


@dataclass(frozen=True, slots=True)
class Passthrough:
    """The value is sent under its public name, or not at all."""

    note: str = ""
    """Shown in the receipt and the documents."""
    sent: bool = True
    """False: the provider has no such parameter; `note` explains."""
    unless: Unless | None = None
    mode = "passthrough"


@dataclass(frozen=True, slots=True)
class Renamed:
    """The same value is sent under the provider's name `to`."""

    to: str
    mode = "renamed"


@dataclass(frozen=True, slots=True)
class Converted:
    """A value computed by the pure function `using` is sent under the provider's name `to`."""

    to: str
    using: Using
    examples: tuple[Example, ...] = ()
    note: str = ""
    unless: Unless | None = None
    mode = "converted"


@dataclass(frozen=True, slots=True)
class Emulated:
    """The gateway does it, for any provider: sets one field of `PostprocessPlan` and sends nothing."""

    by: str
    """The field of `PostprocessPlan`."""
    using: Using | None = None
    """Computes the field's value; None: the caller's value as it is."""
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
    """The price of a picture by its quantity."""

    upto: float | None
    """Largest quantity with this price, inclusive; None: no limit."""
    unit_price: int
    """Micro-dollars for the whole picture."""


@dataclass(frozen=True, slots=True)
class Price:
    """The price of one picture at a provider. A price by the second is known only after the work is done."""

    metric: str
    """image, output_megapixel, input_megapixel or second."""
    unit_price: int | None
    """Micro-dollars per unit, or those of the first tier; None: the provider's price is unknown."""
    unit: int = 1_000_000
    """Pixels per megapixel."""
    rounding: str = "none"
    """How the quantity is rounded: none, up, or up_min_1 (up, at least one)."""
    block: int = 1
    """Units per billed block; every started block is billed whole."""
    tiers: tuple[Tier, ...] = ()
    """Prices of a whole picture by its quantity, in rising order."""


@dataclass(frozen=True, slots=True)
class InputFormats:
    """The input pictures that a provider accepts; any other is converted to an 8-bit RGB PNG before it is sent."""

    formats: tuple[str, ...] = ("png", "jpeg", "webp")
    transparency: bool = False
    """Whether the provider keeps an alpha channel."""


ANY_FACTOR = ScaleRange()


@dataclass(frozen=True, slots=True, eq=False)
class Offer:
    """A model at a provider. Rows are compared and hashed by identity."""

    provider: str
    upstream: str
    """The provider's own id of the model."""
    price: Price
    rules: Mapping[str, tuple[Rule, ...]]
    """Rules by public parameter; a parameter that is left out has its rule of UNSUPPORTED, if there is one."""
    factors: ScaleRange | None = ANY_FACTOR
    """The scale factors it can make; None: it chooses its own."""
    takes_extras: bool = True
    """Whether parameters that are not in `PARAMS` are sent to it."""
    generative: bool = True
    """Whether a large model invents detail."""
    accepts: InputFormats | None = None
    """None: it reads every supported format as it is."""
    measure_fidelity: bool = True
    """Whether the gateway compares its results with the source."""
    reserved: tuple[str, ...] = ()
    """Its own parameter names that callers may not set; the gateway writes them."""
    defaults: bool = True
    """Whether defaults are sent; servers with unknown defaults get only parameters that the caller gave."""
    frames: str = ""
    """Its own parameter for a video frame's resolution; the size of such a result is not checked."""
    note: str = ""
    """Shown with the offer in the documents and in /models."""

    def __post_init__(self) -> None:
        """Add the default rules of parameters that the provider does not support."""
        object.__setattr__(self, "rules", {**UNSUPPORTED, **self.rules})


@dataclass(frozen=True, slots=True)
class Implied:
    """A provider's own parameter that implies the value of a public one, unless the caller gives a size."""

    word: str
    """The provider's parameter name."""
    value: Scalar
    """The value of `word` that this row applies to."""
    parameter: str
    """The public parameter."""
    means: Scalar
    """The implied value of `parameter`."""


@dataclass(frozen=True, slots=True)
class Model:
    """A model of the catalogue."""

    id: str
    name: str
    creator: str
    created: int
    """Unix time in seconds."""
    description: str
    aliases: tuple[str, ...]
    """Other names of the model."""
    b64_aliases: tuple[str, ...]
    """Names under which responses hold base64 unless `response_format` is given."""
    tags: tuple[str, ...]
    offers: tuple[Offer, ...]
    """The preferred one first."""
    narrows: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Fields of `Param` that differ for this model, by parameter name."""
    b64_families: tuple[str, ...] = ()
    """Prefixes of further names that are treated as `b64_aliases` are."""
    implied: tuple[Implied, ...] = ()
    capabilities: tuple[str, ...] = ("upscale",)
