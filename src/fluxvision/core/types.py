"""The words that modules share: one frozen type per arrow of the flow.

::

    HTTP, CLI ──parse──▶ Job ──route──▶ Offer, …
                          └──normalize──▶ Call + Plan + receipt
        Call ──provider.run──▶ Outcome ──postprocess(Plan)──▶ Delivery ──respond──▶ HTTP, CLI
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

Scalar = bool | int | float | str
"""A public parameter's value after parsing; pictures travel as `Source`."""


@dataclass(frozen=True, slots=True)
class ScaleRange:
    """How far an engine enlarges: any factor from `low` to `high`, or, where `only` is given, just those.

    `uniform` tells that it takes one factor for both sides; otherwise it makes any size in between, of any shape.
    """

    low: float = 1.0
    high: float = 4.0
    only: tuple[float, ...] = ()
    uniform: bool = False


class LazyFile:
    """A file that lies at `file`, or is to lie there: `content`, where it is not None, is all of it.

    What is small and came by way of memory is not written before somebody asks for its `path`.
    """

    __slots__ = ()
    file: Path
    content: bytes | None

    @property
    def path(self) -> Path:
        """Where the file lies. It is written first where it has to be, in one step: several threads may ask."""
        if self.content is not None and not self.file.exists():
            draft = self.file.with_name(f"{self.file.name}.{secrets.token_hex(8)}")
            draft.write_bytes(self.content)
            draft.replace(self.file)
        return self.file


@dataclass(frozen=True, slots=True)
class InputImage(LazyFile):
    """A picture file on this machine whose header was read and found within the limits.

    `width` and `height` are those of the upright picture (EXIF orientation applied). `channels` is 1 or 3 and does not
    count alpha. `bits` is 8 or 16. `jpeg_quality` is estimated from the quantisation tables, None for other formats.
    `bare` tells that the file is known to hold nothing but what its pixels need: no profile, no metadata.
    """

    file: Path
    format: str
    width: int
    height: int
    channels: int
    alpha: bool
    bits: int
    size: int
    orientation: int = 1
    frames: int = 1
    jpeg_quality: int | None = None
    bare: bool = field(default=False, compare=False)
    content: bytes | None = field(default=None, repr=False, compare=False)

    @property
    def megapixels(self) -> float:
        """Pixels in millions."""
        return self.width * self.height / 1e6


@dataclass(frozen=True, slots=True)
class RawImage:
    """Finished pixels in a raw file: rows top to bottom, pixels interleaved, samples in native byte order.

    `bands` is 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGB, alpha); `bits` is 8 or 16.
    """

    path: Path
    width: int
    height: int
    bands: int
    bits: int


@dataclass(frozen=True, slots=True)
class Metadata:
    """What a picture says of itself and what an enlargement keeps. Resolution is in pixels per millimetre."""

    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    iptc: bytes | None = None
    resolution: tuple[float, float] | None = None
    warnings: tuple[str, ...] = ()
    """Sentences for the caller: what is damaged and was left out."""


@dataclass(frozen=True, slots=True)
class Fidelity:
    """How well the delivered picture, reduced again, agrees with the input.

    `lr_psnr_db` is over all samples (higher is closer, capped at 99), `delta_e` the mean CIEDE2000 colour difference,
    `seam_ratio` the mean gradient across tile borders over the mean gradient beside them (1.0: invisible), None where
    there is no border.
    """

    lr_psnr_db: float
    seam_ratio: float | None
    delta_e: float


@dataclass(frozen=True, slots=True)
class Caller:
    """Whose job it is: one API key, or everybody who comes without one.

    `weight` is the share of a provider's time under contention, 1 for a key. `max_pixels` bounds the result, None: by
    the server's own limit alone.
    """

    id: str = ""
    weight: float = 1.0
    max_pixels: int | None = None


ANYBODY = Caller()
"""Everybody, where no keys are configured."""


@dataclass(frozen=True, slots=True)
class Job:
    """What the caller asked for, checked against the public parameters and nothing else.

    `model` is the catalogue's own id, `pin` the provider that the caller insisted on. `values` holds only parameters
    that the caller gave, `extras` the names that no public parameter has. `prefers_base64` says that the model was
    named as clients name it that read nothing but base64. `factor` is how far the model enlarges when nothing is said.
    `drawn` tells that the seed among the values is not the caller's: it was drawn here. `caller` says whose it is.
    """

    id: str
    model: str
    image: InputImage
    values: Mapping[str, Scalar]
    mask: InputImage | None = None
    extras: Mapping[str, Any] = field(default_factory=dict)
    pin: str | None = None
    prefers_base64: bool = False
    factor: float = 2.0
    drawn: bool = False
    caller: Caller = ANYBODY


@dataclass(frozen=True, slots=True)
class ReceiptEntry:
    """One line of the receipt: what became of one parameter.

    `mode` is passthrough, renamed, converted or emulated. `sent` is the value as the caller gave it (None for a
    default), `became` what the provider or the gateway made of it. `honoured` is False where the value had no effect,
    or not the effect asked for; `strict` refuses those.
    """

    parameter: str
    mode: str
    sent: Any
    became: Any
    note: str = ""
    honoured: bool = True


@dataclass(frozen=True, slots=True)
class Call:
    """What one provider is asked to do once: its own parameter names, and the pictures.

    `key` names the work: the same work has the same key when it is asked for again. `asked` has, by name of the body,
    the caller's own parameter behind it: what is not there is this server's doing. `sized` is False where the provider
    is left to its own size.
    """

    provider: str
    upstream: str
    body: Mapping[str, Any]
    image: InputImage
    mask: InputImage | None
    key: str = ""
    asked: Mapping[str, str] = field(default_factory=dict)
    sized: bool = True


@dataclass(frozen=True, slots=True)
class Fit:
    """How provider pixels become exactly `width` × `height`: by `contain`, `cover`, `pad` or `stretch`.

    `inner` is the size that the whole picture has before it is cropped or padded; None: as the provider's own shape has
    it.
    """

    width: int
    height: int
    mode: str
    inner: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class PostprocessPlan:
    """What the gateway itself does around a provider; the defaults do nothing.

    `masked` limits new detail to the transparent part of the job's mask, over a faithful enlargement. `measured` tells
    whether the result is compared with the source.
    """

    fit: Fit | None = None
    n: int = 1
    response_format: str = "url"
    output_format: str = "png"
    output_compression: int | None = None
    strip_metadata: bool = False
    stream: bool = False
    partial_images: int = 0
    masked: bool = False
    measured: bool = True


class OnSubmitted(Protocol):
    """Takes a remote provider's own name for the work, whether it charges for it, and the compute time that it told."""

    def __call__(self, name: str | None, paid: bool | None, seconds: float | None = None, /) -> None:
        """Note it; None stands for what is not known."""


@dataclass(frozen=True, slots=True)
class JobCallbacks:
    """How a caller follows a job and stops it."""

    progress: Callable[[int, int], None] = lambda _done, _total: None
    """Called with the tiles done and all of them after each tile, from any thread."""
    cancel: threading.Event = field(default_factory=threading.Event)
    """Once set, the work raises `Cancelled` at the next tile."""
    preview: Callable[[Path], None] | None = None
    """Gets small pictures of the result before it is there."""
    on_submitted: OnSubmitted = lambda _name, _paid, _seconds=None: None
    """Called when a remote provider accepts the work (paid is None while that is unknown), and again whenever more of
    it is known. The last call counts where the work is given up."""
    on_unexpected_error: Callable[[Exception], None] = lambda _error: None
    """Gets a provider's error that no code foresaw."""
    yield_turn: Callable[[], None] = lambda: None
    """Called in a thread before each tile of a large job; returns when small jobs have had their turn."""


@dataclass(frozen=True, slots=True)
class ProviderResult:
    """What a provider delivered for one call, and what it said about it: pixels, or the file that it sent.

    A file whose header has been read comes as a `Source`. `seconds` is the compute time that it reported, where it
    bills by that; `fidelity` what it measured itself.
    """

    picture: RawImage | Path | InputImage
    seed: int | None = None
    caption: str | None = None
    seam_ratio: float | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    timings: Mapping[str, float] = field(default_factory=dict)
    upstream_id: str | None = None
    seconds: float | None = None
    fidelity: Fidelity | None = None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try at one provider, told truthfully. Duration in seconds; cost in micro-dollars, None where nobody told.

    `outcome` is ok, or the code of the error, and `message` what it says. Where nobody told, `most` is what it can have
    cost, None where even that is not known.
    """

    provider: str
    outcome: str
    duration: float
    cost: int | None = 0
    upstream_id: str | None = None
    message: str | None = None
    most: int | None = None

    @property
    def bound(self) -> int | None:
        """What it has cost, or can have cost, in micro-dollars; None where nobody knows."""
        return self.most if self.cost is None else self.cost


@dataclass(frozen=True, slots=True)
class Failure:
    """One of `n` pictures that could not be made: its number from 0 on, its seed where one was drawn, and why."""

    index: int
    seed: int | None
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Excluded:
    """A provider that could not serve a job, and why."""

    provider: str
    reason: str


@dataclass(frozen=True, slots=True)
class ResultImage(LazyFile):
    """One finished picture file in the format asked for."""

    file: Path
    format: str
    mime: str
    width: int
    height: int
    revised_prompt: str | None = None
    seed: int | None = None
    fidelity: Fidelity | None = None
    content: bytes | None = field(default=None, repr=False, compare=False)
    warnings: tuple[str, ...] = ()
    """Sentences for the caller: what the source says of itself and could not be used, or kept in this file."""


@dataclass(frozen=True, slots=True)
class JobResult:
    """Everything the caller gets back: the pictures, who made them, at what cost, and the receipt.

    `degraded` tells that a provider that invents detail could not do it or had failed, and one that does not has made
    the pictures; `excluded` are the providers that were not asked.
    """

    job: Job
    provider: str
    provider_name: str
    upstream: str
    pictures: Sequence[ResultImage]
    plan: PostprocessPlan
    receipt: Sequence[ReceiptEntry]
    attempts: Sequence[Attempt]
    failures: Sequence[Failure]
    cost: int | None
    details: Mapping[str, Any]
    timings: Mapping[str, float]
    degraded: bool = False
    excluded: Sequence[Excluded] = ()


@dataclass(frozen=True, slots=True)
class PriceComponent:
    """One line of a quote. Prices and totals in micro-dollars; None where only the work itself will tell, or nobody."""

    type: str
    metric: str
    quantity: float | None
    billable_quantity: float | None
    unit_price: int | None
    total_cost: int | None


@dataclass(frozen=True, slots=True)
class Quote:
    """What a job would cost, computed by the code that bills, with the receipt it would have.

    `total` is None where the provider bills what only the work itself will tell. `others` are the quotes of the offers
    that would be tried after this one, `excluded` the configured providers that cannot do the job.
    """

    model: str
    provider: str
    total: int | None
    components: Sequence[PriceComponent]
    receipt: Sequence[ReceiptEntry]
    width: int
    height: int
    others: Sequence[Quote] = ()
    excluded: Sequence[Excluded] = ()
