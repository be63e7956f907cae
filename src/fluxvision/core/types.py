"""The data types of the flow, from the job to its result; pictures are in `core/images.py`.

::

    HTTP, CLI ──admit──▶ Job ──route──▶ Offer, …
                          └──normalize──▶ Call + PostprocessPlan + receipt
        Call ──provider.run──▶ ProviderResult ──finish(PostprocessPlan)──▶ JobResult ──respond──▶ HTTP, CLI
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fluxvision.core.images import Fidelity, InputImage, RawImage, ResultImage, SourceDamage
from fluxvision.core.key_limits import Limits

Scalar = bool | int | float | str
"""A public parameter's value after parsing; pictures are an `InputImage`."""


@dataclass(frozen=True, slots=True)
class Caller:
    """The owner of a job: one API key, or all callers without a key together."""

    id: str = ""
    weight: float = 1.0
    """Relative share of a provider's time when callers compete; 1 for a key."""
    max_pixels: int | None = None
    """Largest result in pixels; None: the server's limit."""
    limits: Limits = field(default=Limits(), compare=False)
    """What it may use; they are those of a stored key."""
    models: tuple[str, ...] = field(default=(), compare=False)
    """Ids of the models that it may use; empty: all."""
    admin: bool = field(default=False, compare=False)
    """Whether it may manage keys and see what all keys have used."""

    @property
    def limited(self) -> bool:
        """Whether anything limits it, so that each of its jobs is counted."""
        return self.limits != Limits() or bool(self.models)


ANYBODY = Caller()
"""All callers, when no keys are configured."""


@dataclass(frozen=True, slots=True)
class Job:
    """A request of a caller, checked against the public parameters, independent of any provider."""

    id: str
    model: str
    """The model's id in the catalogue."""
    image: InputImage
    values: Mapping[str, Scalar]
    """The public parameters that the caller gave; no defaults."""
    mask: InputImage | None = None
    extras: Mapping[str, Any] = field(default_factory=dict)
    """Parameters that are not public ones, which may be a provider's own."""
    pin: str | None = None
    """The only provider that the caller allows; None: any."""
    prefers_base64: bool = False
    """Whether the caller used a model name whose clients read only base64."""
    pictures: int = 1
    """How many pictures the request has, of which `image` is one."""
    factor: float = 2.0
    """The model's scale factor when the caller gives no size."""
    random_seed: bool = False
    """Whether this server chose the seed in `values` at random."""
    caller: Caller = ANYBODY
    traceparent: str = ""
    """The span of the request, where requests are traced."""


@dataclass(frozen=True, slots=True)
class ReceiptEntry:
    """One line of the receipt: how one parameter was handled."""

    parameter: str
    mode: str
    """passthrough, renamed, converted or emulated."""
    sent: Any
    """The value as the caller gave it, None for a default."""
    became: Any
    """The value sent to the provider or used by the gateway."""
    note: str = ""
    honoured: bool = True
    """False when the value has no effect, or another than requested; `strict` refuses that."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request to one provider."""

    provider: str
    upstream: str
    """The provider's own id of the model."""
    body: Mapping[str, Any]
    """The parameters, under the provider's own names."""
    image: InputImage
    mask: InputImage | None
    key: str = ""
    """Idempotency key: the same when the same work is requested again."""
    parameter_names: Mapping[str, str] = field(default_factory=dict)
    """Maps each name in `body` to the caller's parameter; names that this server added are missing."""
    sets_size: bool = True
    """Whether the call determines the result's size; False: the provider chooses it."""


@dataclass(frozen=True, slots=True)
class Fit:
    """How the provider's pixels are brought to exactly `width` × `height`."""

    width: int
    height: int
    mode: str
    """contain, cover, pad or stretch."""
    inner: tuple[int, int] | None = None
    """Width and height of the whole picture before it is cropped or padded; None: computed from the provider's."""


@dataclass(frozen=True, slots=True)
class PostprocessPlan:
    """The work that the gateway itself does on a provider's result; with the defaults almost none."""

    fit: Fit | None = None
    """None: the provider's size is the result's."""
    n: int = 1
    """Number of pictures."""
    response_format: str = "url"
    """url or b64_json."""
    output_format: str = "png"
    output_compression: int | None = None
    """Quality of a lossy format, 0 to 100; None: the format's default."""
    frames: int = 1
    """Number of frames of the source that are enlarged, from the first."""
    images_mode: str = "first"
    """Which pictures of a request with several are enlarged: first or each."""
    strip_metadata: bool = False
    stream: bool = False
    """Whether the response is a stream of server-sent events."""
    partial_images: int = 0
    """Number of previews in a stream."""
    apply_mask: bool = False
    """Whether new detail is limited to the transparent part of the mask, over a faithful enlargement."""
    measure_fidelity: bool = True
    """Whether the result is compared with the source."""


@dataclass(frozen=True, slots=True)
class ProviderResult:
    """A provider's response to one call."""

    picture: RawImage | Path | InputImage
    """Pixels, or the file that it sent (an `InputImage` when its header has been read)."""
    seed: int | None = None
    """The seed that it reports."""
    caption: str | None = None
    """The caption or revised prompt that it used."""
    seam_ratio: float | None = None
    """See `Fidelity`."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """Further facts for the caller, such as the engine."""
    timings: Mapping[str, float] = field(default_factory=dict)
    """Seconds by stage."""
    upstream_id: str | None = None
    """The provider's own id of the work."""
    seconds: float | None = None
    """Reported compute time, for a provider that bills by it."""
    fidelity: Fidelity | None = None
    """The provider's own measurement."""
    damage: SourceDamage | None = None
    """What a local engine measured of the source."""
    reference: RawImage | None = None
    """The colours of the restored source, which the result is compared with; None: the source as it came."""
    adjusted: Mapping[str, tuple[Any, str]] = field(default_factory=dict)
    """Defaults that were changed to suit the picture: the value used, and the reason, by public parameter."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt at one provider, as it is reported to the caller."""

    provider: str
    outcome: str
    """ok, or the code of the error."""
    duration: float
    """Seconds."""
    cost: int | None = 0
    """Micro-dollars, None when unknown."""
    upstream_id: str | None = None
    """The provider's own id of the work."""
    message: str | None = None
    """The error's message."""
    cost_at_most: int | None = None
    """Upper limit of an unknown `cost` in micro-dollars; None: unknown too."""

    @property
    def cost_bound(self) -> int | None:
        """The cost, or its upper limit, in micro-dollars; None when both are unknown."""
        return self.cost_at_most if self.cost is None else self.cost


@dataclass(frozen=True, slots=True)
class Failure:
    """One of `n` pictures that could not be made."""

    index: int
    """Its number, from 0."""
    seed: int | None
    """The seed that was sent to the provider."""
    code: str
    """The code of the error."""
    message: str


@dataclass(frozen=True, slots=True)
class Excluded:
    """A provider that was not tried for a job, and the reason."""

    provider: str
    reason: str


@dataclass(frozen=True, slots=True)
class JobResult:
    """The result of a job, as it is returned to the caller."""

    job: Job
    provider: str
    """The provider that made the pictures."""
    provider_name: str
    """Its name for people."""
    upstream: str
    """The engine, or the provider's own id of the model."""
    pictures: Sequence[ResultImage]
    """In the order of their seeds, without those of `failures`."""
    plan: PostprocessPlan
    receipt: Sequence[ReceiptEntry]
    attempts: Sequence[Attempt]
    """All attempts, also at other providers."""
    failures: Sequence[Failure]
    cost: int | None
    """Micro-dollars of all attempts, None when unknown."""
    details: Mapping[str, Any]
    """Further facts from the provider."""
    timings: Mapping[str, float]
    """Seconds by stage."""
    degraded: bool = False
    """Whether the result has no invented detail although the best provider would have added it."""
    excluded: Sequence[Excluded] = ()
    """Providers that were not tried."""
    damage: SourceDamage | None = None
    """What a local engine measured of the source."""


@dataclass(frozen=True, slots=True)
class PriceComponent:
    """One line of a quote. Values are None when unknown, or known only after the work."""

    type: str
    """input, output or compute."""
    metric: str
    """The unit; see `catalog.rules.Price`."""
    quantity: float | None
    """Units before rounding."""
    billable_quantity: float | None
    """Units after rounding."""
    unit_price: int | None
    """Micro-dollars per unit."""
    total_cost: int | None
    """Micro-dollars."""


@dataclass(frozen=True, slots=True)
class Quote:
    """The price of a job before it runs, computed by the code that bills, with its receipt."""

    model: str
    provider: str
    total: int | None
    """Micro-dollars; None when it is known only after the work."""
    components: Sequence[PriceComponent]
    receipt: Sequence[ReceiptEntry]
    width: int
    """Of the result."""
    height: int
    others: Sequence[Quote] = ()
    """The quotes of the offers that would be tried after this one."""
    excluded: Sequence[Excluded] = ()
    """Configured providers that would not be tried."""
