"""The JSON bodies of the API as structs, from which both the responses and the OpenAPI schemas are made.

The module is long because every body is a struct here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, get_args

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from fluxvision.catalog.params import BY_NAME
from fluxvision.core.images import Fidelity, SourceDamage
from fluxvision.core.job_status import STATUSES
from fluxvision.core.money import Currency
from fluxvision.core.receipt_schemas import AttemptEntry, Dollars, ReceiptLine
from fluxvision.core.types import Excluded, Failure, PriceComponent

SCHEMA_REF = "#/components/schemas/{name}"
OpenAISize = Literal["1024x1024", "1024x1536", "1536x1024"]
OPENAI_SIZES: Mapping[str, OpenAISize] = {size: size for size in get_args(OpenAISize)}
"""The only sizes that strict clients accept; the true size is always in the metadata."""
USAGE = {
    "input_tokens": 0,
    "output_tokens": 0,
    "total_tokens": 0,
    "input_tokens_details": {"image_tokens": 0, "text_tokens": 0},
}
"""OpenAI's events require it; there are no token counts here."""
LINKED = {"oneOf": [{"required": ["url"]}, {"required": ["b64_json"]}]}

Size = Annotated[str, Meta(pattern=r"^\d+x\d+$", description="WIDTHxHEIGHT, in pixels.")]
Format = Annotated[str, Meta(extra_json_schema={"enum": [*BY_NAME["output_format"].choices]})]
Base64 = Annotated[
    Any, Meta(description="The picture file.", extra_json_schema={"type": "string", "contentEncoding": "base64"})
]
"""A `Path` or an `InMemoryFile`, which `encode_base64` replaces by the file's base64."""
Micros = Annotated[int | None, Meta(description="In micro-dollars; null where only the work itself will tell.")]


Warnings = Annotated[
    list[str], Meta(description="Sentences for a person: what is not as it was asked for, or may surprise.")
]


class ImageEntry(Struct, kw_only=True):
    """One picture: a link, or the file in base64."""

    url: Annotated[str, Meta(description="A link that expires.")] | UnsetType = UNSET
    b64_json: Base64 | UnsetType = UNSET
    revised_prompt: str | UnsetType = UNSET


class ResultMetadata(Struct, kw_only=True):
    """Provider, cost, fidelity and receipt of a result.

    The provider's own details are added to these fields.
    """

    model: str
    executed_model: str
    provider: str
    provider_name: str
    cost: Dollars
    cost_currency: Currency
    degraded: Annotated[bool, Meta(description="Whether the CPU engine stood in for a provider that invents detail.")]
    size: Size
    attempts: list[AttemptEntry]
    excluded: Annotated[Sequence[Excluded], Meta(description="Who was not asked, and why.")]
    normalization: Annotated[list[ReceiptLine], Meta(description="What became of every parameter.")]
    failures: Annotated[Sequence[Failure], Meta(description="Why some of n pictures were not made.")]
    fidelity: Fidelity | None
    seed: int | None
    timings: Annotated[dict[str, float], Meta(description="Seconds by stage.")]
    source: (
        Annotated[
            SourceDamage,
            Meta(
                description="What was measured of the source: noise (standard deviation, 0 to 255), JPEG quality, blur "
                "(pixels); and the share of it that was removed before enlarging."
            ),
        ]
        | UnsetType
    ) = UNSET
    warnings: (
        Annotated[Sequence[str], Meta(description="What the picture says of itself and could not be used or kept.")]
        | UnsetType
    ) = UNSET
    index: (
        Annotated[int, Meta(description="With n over 1: which version size, fidelity and seed are those of.")]
        | UnsetType
    ) = UNSET
    seeds: list[int | None] | UnsetType = UNSET
    fidelities: list[Fidelity | None] | UnsetType = UNSET
    pictures: (
        Annotated[list[dict[str, Any]], Meta(description="With images_mode each: those of every picture.")] | UnsetType
    ) = UNSET
    deep_zoom: (
        Annotated[str | None, Meta(description="A Deep Zoom document of a large result behind a link.")] | UnsetType
    ) = UNSET
    deep_zooms: Annotated[list[str | None], Meta(description="One per picture, where n is over 1.")] | UnsetType = UNSET


Metadata = Annotated[dict[str, Any], Meta(extra_json_schema={"$ref": SCHEMA_REF.format(name=ResultMetadata.__name__)})]
"""The fields of `ResultMetadata` and the provider's details."""


class ImagesResponse(Struct, kw_only=True):
    """The finished pictures."""

    id: str
    created: int
    output_format: Format
    data: list[Annotated[ImageEntry, Meta(extra_json_schema=LINKED)]]
    metadata: Metadata
    warnings: Warnings = msgspec.field(default_factory=list)
    size: (
        Annotated[OpenAISize, Meta(description="Only where OpenAI knows it; metadata.size always is.")] | UnsetType
    ) = UNSET


class ImageEvent(Struct, kw_only=True):
    """Fields that OpenAI's events require."""

    background: Literal["auto"]
    quality: Literal["auto"]


class PartialImageEvent(ImageEvent, kw_only=True):
    """A preview."""

    type: Literal["image_edit.partial_image", "image_generation.partial_image"]
    b64_json: Base64
    created_at: int
    size: Literal["auto"]
    output_format: Format
    partial_image_index: Annotated[int, Meta(ge=0)]


class CompletedEvent(ImageEvent, kw_only=True):
    """One finished picture."""

    b64_json: Base64
    revised_prompt: str | UnsetType = UNSET
    type: Literal["image_edit.completed", "image_generation.completed"]
    id: str
    created_at: int
    size: Literal["auto"] | OpenAISize
    output_format: Format
    usage: Annotated[dict[str, Any], Meta(extra_json_schema={"const": USAGE})]
    metadata: Metadata
    warnings: Warnings
    url: Annotated[str, Meta(description="A link that expires; asked for by name, b64_json is empty.")] | UnsetType = (
        UNSET
    )


class QuoteTotal(Struct, kw_only=True):
    """The price at one provider."""

    provider: str
    total_cost_micros: Micros


class QuoteResponse(Struct, kw_only=True):
    """The price of the request, and how its parameters would be handled."""

    id: str
    estimated: Annotated[bool, Meta(extra_json_schema={"const": True})]
    model: str
    provider: str
    total_cost_micros: Micros
    currency: Currency
    size: Size
    components: Sequence[PriceComponent]
    normalization: list[ReceiptLine]
    warnings: Warnings
    alternatives: Annotated[list[QuoteTotal], Meta(description="Who would be tried next, in this order.")]
    excluded: Annotated[Sequence[Excluded], Meta(description="Configured providers that cannot serve this request.")]
    with_key: (
        Annotated[list[QuoteTotal], Meta(description="Who else would make it for the page with a key.")] | UnsetType
    ) = UNSET


Code = Annotated[str, Meta(extra_json_schema={"$ref": SCHEMA_REF.format(name="ErrorCode")})]


class ParameterError(Struct, kw_only=True):
    """What is wrong with one parameter."""

    message: str
    param: str | None
    code: Code


class ErrorDetail(Struct, kw_only=True):
    """The error."""

    message: str
    type: str
    param: str | None
    code: Code
    errors: (
        Annotated[list[ParameterError], Meta(description="One for each parameter, where several are wrong.")]
        | UnsetType
    ) = UNSET


class ErrorMetadata(Struct, kw_only=True):
    """The attempts at providers before the error, and their total cost."""

    attempts: list[AttemptEntry]
    cost: Dollars
    cost_currency: Currency


class ErrorBody(Struct, kw_only=True):
    """OpenAI's error body."""

    error: ErrorDetail
    metadata: ErrorMetadata | UnsetType = UNSET


class RequestProgress(Struct, kw_only=True):
    """Finished tiles of all tiles; zeros where another gateway makes them."""

    done: int
    total: int


class RequestObject(Struct, kw_only=True):
    """A request that the server keeps."""

    id: str
    object: Literal["request"] = "request"
    status: Annotated[str, Meta(extra_json_schema={"enum": [*STATUSES]})]
    model: str
    provider: str | None
    background: Annotated[bool, Meta(description="Whether nobody waited for the answer.")]
    created_at: int
    ended_at: int | None
    cost_micros: Annotated[int, Meta(description="In micro-dollars; at most, where a provider did not tell.")]
    has_response: Annotated[bool, Meta(description="Whether the answer is kept.")]
    batch_id: Annotated[str, Meta(description="The batch that it is a line of.")] | UnsetType = UNSET
    custom_id: Annotated[str, Meta(description="The name of that line.")] | UnsetType = UNSET
    progress: RequestProgress | UnsetType = UNSET
    response: Annotated[ImagesResponse, Meta(description="The whole answer, with links.")] | UnsetType = UNSET
    error: ErrorDetail | UnsetType = UNSET


class RequestList(Struct, kw_only=True):
    """Requests, the newest first."""

    object: Literal["list"] = "list"
    data: list[RequestObject]
    has_more: bool
    next_cursor: Annotated[str | None, Meta(description="To be sent as cursor for the next page.")]


class PageBudget(Struct, kw_only=True):
    """Spending limits of all requests without a key, in dollars."""

    spends: bool
    per_request: Annotated[float, Meta(description="What is left today.")]
    per_day: float


class PageLimits(Struct, kw_only=True):
    """The largest accepted input and the largest result."""

    max_upload_bytes: int
    max_input_pixels: int
    max_output_pixels: int
    requests_per_minute: int


class PageExample(Struct, kw_only=True):
    """An example picture."""

    name: str
    title: str
    url: str
    width: int
    height: int


class GalleryPicture(Struct, kw_only=True):
    """A part of a picture, resampled and enlarged by the engine."""

    title: str
    before: str
    after: str
    width: int
    height: int
    settings: Annotated[dict[str, Any], Meta(description="The parameters of the request.")]
    fidelity: Annotated[float, Meta(description="LR-PSNR in dB.")]
    command: str


class PageFacts(Struct, kw_only=True):
    """Facts about this server for the page."""

    version: str
    playground: Annotated[bool, Meta(description="Whether the page works without a key.")]
    keys: Annotated[bool, Meta(description="Whether other callers need a key.")]
    budget: PageBudget
    limits: PageLimits
    examples: list[PageExample]
    gallery: Annotated[dict[str, list[GalleryPicture]], Meta(description="By model.")]


class Alive(Struct, kw_only=True):
    """The process answers."""

    status: Literal["ok"]


class ReadinessBody(Struct, kw_only=True):
    """Whether the server accepts jobs."""

    status: str
    providers: dict[str, bool]
