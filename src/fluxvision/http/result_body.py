"""Builds the bodies of results and dry runs from what the gateway returns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from msgspec import UNSET
from starlette.types import Scope

from fluxvision.catalog.geometry import is_size_smaller
from fluxvision.catalog.params import BY_NAME
from fluxvision.core.images import ResultImage
from fluxvision.core.money import CURRENCY
from fluxvision.core.receipt_schemas import attempt_entries, dollars_or_none, receipt_lines
from fluxvision.core.types import Job, JobResult, Quote, ReceiptEntry
from fluxvision.http.base64_stream import base64_file
from fluxvision.http.media import deep_zoom_link, media_link
from fluxvision.http.responses import (
    OPENAI_SIZES,
    ImageEntry,
    ImagesResponse,
    QuoteResponse,
    QuoteTotal,
    ResultMetadata,
)
from fluxvision.http.state import AppState


def images_body(
    delivery: JobResult, data: list[ImageEntry], created: int, zooms: Sequence[str | None] = ()
) -> ImagesResponse:
    """Return the body of a finished request; `data` holds one link or file per picture, `zooms` its Deep Zoom link."""
    first = delivery.pictures[0]
    return ImagesResponse(
        id=delivery.job.id,
        created=created,
        output_format=first.format,
        data=data,
        metadata=result_metadata(delivery, zooms=zooms),
        warnings=result_warnings(delivery),
        size=OPENAI_SIZES.get(picture_size(first), UNSET),
    )


async def deliver_images(
    state: AppState, scope: Scope, delivery: JobResult, *, embeds_files: bool = False
) -> tuple[ImagesResponse, list[str]]:
    """Return the body of a finished request, and the names under which its pictures are kept where it has links.

    Otherwise, or where it `embeds_files`, it has the files, for `encode_base64`.
    """
    now, names = state.media_clock(), list[str]()
    data: list[ImageEntry] = []
    zooms: list[str | None] = []
    for picture in delivery.pictures:
        entry = ImageEntry(revised_prompt=revised_prompt(picture))
        data.append(entry)
        if delivery.plan.response_format == "b64_json":
            entry.b64_json = base64_file(picture)
        else:
            name = await state.media.put(picture.path, picture.mime, now)
            names.append(name)
            entry.url = await media_link(state, scope, name, now)
            if embeds_files:
                entry.b64_json = await state.media.fetch(name, now)
            zooms.append(deep_zoom_link(state, scope, picture.width * picture.height, name, now))
    return images_body(delivery, data, int(state.now()), zooms), names


def join_images(bodies: Sequence[ImagesResponse]) -> ImagesResponse:
    """Return one body for the results of several jobs: all pictures, their cost together, and the metadata of each."""
    first = bodies[0]
    if len(bodies) == 1:
        return first
    costs = [body.metadata["cost"] for body in bodies]
    first.metadata |= {
        "cost": None if None in costs else sum(costs),
        "pictures": [body.metadata.copy() for body in bodies for _ in body.data],
    }
    first.data = [entry for body in bodies for entry in body.data]
    first.warnings = [*dict.fromkeys(sentence for body in bodies for sentence in body.warnings)]
    return first


def join_quotes(quotes: Sequence[QuoteResponse]) -> QuoteResponse:
    """Return one quote for several jobs: their price together, without those of other providers."""
    first = quotes[0]
    if len(quotes) == 1:
        return first
    totals = [quote.total_cost_micros for quote in quotes]
    return msgspec.structs.replace(
        first,
        total_cost_micros=None if None in totals else sum(total or 0 for total in totals),
        components=[part for quote in quotes for part in quote.components],
        warnings=[*dict.fromkeys(sentence for quote in quotes for sentence in quote.warnings)],
        alternatives=[],
        with_key=UNSET,
    )


def job_warnings(job: Job, receipt: Sequence[ReceiptEntry]) -> list[str]:
    """Return sentences for a person: what of the caller's parameters has no effect, or another than expected."""
    found = [
        f"{line.parameter}: {line.note}"
        for line in receipt
        if not line.honoured and getattr(BY_NAME.get(line.parameter), "group", "") != "OpenAI"
    ]
    if is_size_smaller(job) and not job.prefers_base64:
        found.append("size: It is smaller than the picture, so that the result is smaller, too.")
    return found


def result_warnings(delivery: JobResult) -> list[str]:
    """Return the warnings of the job, and what else of its result is not as asked."""
    found = job_warnings(delivery.job, delivery.receipt)
    if delivery.degraded:
        found.append("The embedded engine stood in for a provider that invents more detail, see metadata.attempts.")
    if delivery.failures:
        found.append(f"{len(delivery.failures)} of {delivery.plan.n} pictures were not made, see metadata.failures.")
    return [*found, *(sentence for picture in delivery.pictures[:1] for sentence in picture.warnings or ())]


def revised_prompt(picture: ResultImage) -> str | msgspec.UnsetType:
    """Return the prompt that was used instead of the caller's, if there is one."""
    return UNSET if picture.revised_prompt is None else picture.revised_prompt


def result_metadata(delivery: JobResult, number: int = 0, zooms: Sequence[str | None] = ()) -> dict[str, Any]:
    """Return provider, cost, fidelity and receipt of a result.

    Size, fidelity, warnings and seed are those of the picture with this `number`; `zooms` are the addresses of Deep
    Zoom documents. The provider's own details are added.
    """
    shown = delivery.pictures[number]
    several = delivery.plan.n > 1
    found = ResultMetadata(
        model=delivery.job.model,
        executed_model=f"{delivery.provider}/{delivery.upstream}",
        provider=delivery.provider,
        provider_name=delivery.provider_name,
        cost=dollars_or_none(delivery.cost),
        cost_currency=CURRENCY,
        degraded=delivery.degraded,
        size=picture_size(shown),
        attempts=attempt_entries(delivery.attempts),
        excluded=delivery.excluded,
        normalization=receipt_lines(delivery.receipt),
        failures=delivery.failures,
        fidelity=shown.fidelity,
        seed=shown.seed,
        timings={name: round(seconds, 4) for name, seconds in delivery.timings.items()},
        source=UNSET if delivery.damage is None else delivery.damage,
        warnings=shown.warnings or UNSET,
        index=_version_numbers(delivery)[number] if several else UNSET,
        seeds=[picture.seed for picture in delivery.pictures] if several else UNSET,
        fidelities=[picture.fidelity for picture in delivery.pictures] if several else UNSET,
        deep_zoom=zooms[0] if any(zooms) else UNSET,
        deep_zooms=list(zooms) if any(zooms) and len(zooms) > 1 else UNSET,
    )
    ours = msgspec.structs.asdict(found)
    return {**delivery.details, **{name: value for name, value in ours.items() if value is not UNSET}}


def _version_numbers(delivery: JobResult) -> list[int]:
    """Return which of the n versions the delivered pictures are."""
    failed = {failure.index for failure in delivery.failures}
    return [number for number in range(delivery.plan.n) if number not in failed]


def quote_body(found: Quote, job: Job, keyed: Iterable[Quote] | None = None) -> QuoteResponse:
    """Return the body of a dry run; `keyed` are the offers that need a key, None for a caller with a key."""
    return QuoteResponse(
        id=job.id,
        estimated=True,
        model=found.model,
        provider=found.provider,
        total_cost_micros=found.total,
        currency=CURRENCY,
        size=f"{found.width}x{found.height}",
        components=found.components,
        normalization=receipt_lines(found.receipt),
        warnings=job_warnings(job, found.receipt),
        alternatives=_quote_totals(found.others),
        excluded=found.excluded,
        with_key=UNSET if keyed is None else _quote_totals(keyed),
    )


def _quote_totals(quotes: Iterable[Quote]) -> list[QuoteTotal]:
    return [QuoteTotal(provider=one.provider, total_cost_micros=one.total) for one in quotes]


def picture_size(picture: ResultImage) -> str:
    """Return a picture's size in OpenAI's notation."""
    return f"{picture.width}x{picture.height}"
