"""The data types that all rooms share, from the job to its result.

::

    HTTP, CLI ──admit──▶ Job ──route──▶ Offer, …
                          └──normalize──▶ Call + PostprocessPlan + receipt
        Call ──provider.run──▶ ProviderResult ──finish(PostprocessPlan)──▶ JobResult ──respond──▶ HTTP, CLI

The module is long because the whole flow is described in one place, field by field.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from fluxvision.core.errors import Cancelled
from fluxvision.core.key_limits import Limits

Scalar = bool | int | float | str
"""A public parameter's value after parsing; pictures are an `InputImage`."""


@dataclass(frozen=True, slots=True)
class ScaleRange:
    """The scale factors that an engine can make: any from `low` to `high`, or only those of `only`."""

    low: float = 1.0
    high: float = 4.0
    only: tuple[float, ...] = ()
    """All possible factors; empty: any from `low` to `high`."""
    uniform: bool = False
    """Whether width and height always have the same factor."""


class LazyFile:
    """A file on disk, or in memory until its `path` is needed."""

    __slots__ = ()
    file: Path
    """Where the file is, or will be written."""
    content: bytes | None
    """The whole file, None when it is on disk only."""

    @property
    def path(self) -> Path:
        """The path of the file, which is written first if necessary, atomically: several threads may call this."""
        if self.content is not None and not self.file.exists():
            draft = self.file.with_name(f"{self.file.name}.{secrets.token_hex(8)}")
            draft.write_bytes(self.content)
            draft.replace(self.file)
        return self.file


@dataclass(frozen=True, slots=True)
class InputImage(LazyFile):
    """A picture file on this machine whose header was read and is within the limits."""

    file: Path
    format: str
    """Its name in `core.formats`, such as "png"."""
    width: int
    """Of the upright picture, with the EXIF orientation applied."""
    height: int
    """Of the upright picture."""
    channels: int
    """1 or 3, without alpha."""
    alpha: bool
    bits: int
    """Bits per sample: 8 or 16."""
    size: int
    """Bytes of the file."""
    orientation: int = 1
    """The EXIF orientation, 1 to 8."""
    frames: int = 1
    jpeg_quality: int | None = None
    """Estimated from the quantisation tables; None for other formats."""
    metadata_free: bool = field(default=False, compare=False)
    """Whether the file is known to have no profile and no metadata."""
    content: bytes | None = field(default=None, repr=False, compare=False)

    @property
    def megapixels(self) -> float:
        """Millions of pixels."""
        return self.width * self.height / 1e6


@dataclass(frozen=True, slots=True)
class RawImage:
    """Uncompressed pixels in a raw file: rows top to bottom, pixels interleaved, samples in native byte order."""

    path: Path
    width: int
    height: int
    bands: int
    """1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGB, alpha)."""
    bits: int
    """Bits per sample: 8 or 16."""


@dataclass(frozen=True, slots=True)
class Animation:
    """The frames of an animation, all of the same size and type."""

    frames: Sequence[RawImage]
    delays: Sequence[int]
    """Milliseconds that each frame is shown."""
    loop: int
    """How often it is shown; 0: without end."""


@dataclass(frozen=True, slots=True)
class Metadata:
    """The metadata of a picture, which an enlargement keeps."""

    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    iptc: bytes | None = None
    resolution: tuple[float, float] | None = None
    """Horizontal and vertical pixels per millimetre."""
    warnings: tuple[str, ...] = ()
    """Sentences for the caller about damaged metadata that was left out."""


@dataclass(frozen=True, slots=True)
class Fidelity:
    """How well the delivered picture, reduced to the input's size, agrees with the input."""

    lr_psnr_db: float
    """PSNR over all samples in dB; higher is closer, capped at 99."""
    seam_ratio: float | None
    """Mean gradient across tile borders divided by that beside them (1.0: invisible); None without borders."""
    delta_e: float
    """Mean CIEDE2000 colour difference."""


@dataclass(frozen=True, slots=True)
class SourceDamage:
    """What was measured of a picture before it was enlarged, and how much of it was taken away."""

    noise: float
    """Standard deviation of the noise in luma, 0 to 255; 0 when none was found."""
    jpeg_quality: int | None
    """Quality of the JPEG, 1 to 100, that the picture is or was; None: no sign of one."""
    blur: float
    """Standard deviation, in pixels, of the Gaussian by which the sharpest edges look blurred."""
    graphic: bool
    """Whether it is a screenshot or another flat graphic."""
    restored: float
    """Share of the damage that was removed, 0 to 1; 0 when the picture was left as it is."""


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
    strip_metadata: bool = False
    stream: bool = False
    """Whether the response is a stream of server-sent events."""
    partial_images: int = 0
    """Number of previews in a stream."""
    apply_mask: bool = False
    """Whether new detail is limited to the transparent part of the mask, over a faithful enlargement."""
    measure_fidelity: bool = True
    """Whether the result is compared with the source."""


class OnSubmitted(Protocol):
    """A callback for remote work: the provider's id of it, whether it is charged, and the reported compute time."""

    def __call__(self, name: str | None, paid: bool | None, seconds: float | None = None, /) -> None:
        """Store the values; None means unknown."""


class SubmissionStore:
    """Remembers nothing of the work that remote providers accepted.

    With the one of `jobs.provider_submissions`, a job that begins again after a crash follows the work that it has
    bought.
    """

    keeps_work: bool = False
    """Whether accepted work goes on although its task is cancelled, because another process will follow it."""

    async def find(self, key: str) -> Mapping[str, Any] | None:
        """Return what a provider answered when it accepted the work with this `Call.key`, None when it was not asked.

        Raises `UpstreamUnreachable` when it was asked and its answer is not known.
        """
        del key
        return None

    async def announce(self, key: str, provider: str) -> None:
        """Note that a provider is about to be asked."""

    async def save(self, key: str, answer: Mapping[str, Any]) -> None:
        """Note what the provider answered."""

    async def forget(self, key: str) -> None:
        """Note that the work has ended without a result."""


@dataclass(frozen=True, slots=True)
class JobCallbacks:
    """Callbacks and events by which a caller follows a job and stops it."""

    progress: Callable[[int, int], None] = lambda _done, _total: None
    """Called after each tile with the number of finished tiles and of all tiles, from any thread."""
    cancel: threading.Event = field(default_factory=threading.Event)
    """Once set, the work raises `Cancelled` at the next tile."""
    preview: Callable[[Path], None] | None = None
    """Called with small previews before the result is finished."""
    on_submitted: OnSubmitted = lambda _name, _paid, _seconds=None: None
    """Called when a remote provider accepts the work (paid is None while that is unknown), and again whenever more is
    known. The values of the last call are used when the work is cancelled."""
    submissions: SubmissionStore = field(default_factory=SubmissionStore)
    """Where remote providers note what they accepted."""
    on_unexpected_error: Callable[[Exception], None] = lambda _error: None
    """Called with an unexpected exception of a provider."""
    yield_turn: Callable[[], None] = lambda: None
    """Called in a thread before each tile of a large job; blocks while small jobs run."""

    def check_cancelled(self) -> None:
        """Raise `Cancelled` when the job was cancelled."""
        if self.cancel.is_set():
            raise Cancelled("The work was cancelled.")

    def before_tile(self) -> None:
        """Wait while small jobs run; raises `Cancelled` when the job was cancelled."""
        self.yield_turn()
        self.check_cancelled()


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
class ResultImage(LazyFile):
    """One finished picture file in the requested format."""

    file: Path
    format: str
    mime: str
    width: int
    height: int
    revised_prompt: str | None = None
    """The prompt or caption that guided the detail."""
    seed: int | None = None
    fidelity: Fidelity | None = None
    content: bytes | None = field(default=None, repr=False, compare=False)
    warnings: tuple[str, ...] = ()
    """Sentences for the caller about metadata of the source that could not be used, or kept in this file."""


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
