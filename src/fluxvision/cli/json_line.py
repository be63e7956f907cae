"""The JSON line that `--json` prints for each picture."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import UNSET, Struct, UnsetType

from fluxvision.cli.upscale_one import PictureRecord, Status
from fluxvision.core.images import Fidelity, InputImage, SourceDamage
from fluxvision.core.receipt_schemas import AttemptEntry, ReceiptLine, attempt_entries, dollars_or_none, receipt_lines
from fluxvision.core.types import Excluded, Failure, JobResult, Quote


class SourceFacts(Struct, kw_only=True):
    """The input picture."""

    width: int
    height: int
    format: str
    bytes: int


class PictureLine(Struct, kw_only=True):
    """The result of one picture. Costs in dollars, null when unknown; fields that do not apply are left out."""

    input: str
    status: Status
    output: list[str]
    compare: list[str]
    error: str | None
    source: SourceFacts | UnsetType = UNSET
    model: str | UnsetType = UNSET
    provider: str | UnsetType = UNSET
    engine: str | UnsetType = UNSET
    width: int | UnsetType = UNSET
    height: int | UnsetType = UNSET
    format: str | UnsetType = UNSET
    seconds: float | UnsetType = UNSET
    seed: list[int | None] | UnsetType = UNSET
    prompt: str | UnsetType | None = UNSET
    fidelity: Fidelity | UnsetType | None = UNSET
    fidelities: list[Fidelity | None] | UnsetType = UNSET
    source_damage: SourceDamage | UnsetType = UNSET
    warnings: Sequence[str] | UnsetType = UNSET
    cost: float | UnsetType | None = UNSET
    receipt: list[ReceiptLine] | UnsetType = UNSET
    attempts: list[AttemptEntry] | UnsetType = UNSET
    excluded: Sequence[Excluded] | UnsetType = UNSET
    failures: Sequence[Failure] | UnsetType = UNSET
    details: Mapping[str, Any] | UnsetType = UNSET
    timings: Mapping[str, float] | UnsetType = UNSET


def format_json(record: PictureRecord) -> str:
    """Return a picture's record as one line of ASCII JSON, which every terminal can show."""
    line = PictureLine(
        input=record.name,
        status=record.status,
        output=[str(path) for path in record.outputs],
        compare=[str(path) for path in record.compared],
        error=record.error or None,
    )
    if record.source is not None:
        line.source = _source_facts(record.source)
    if record.quote is not None:
        _add_quote(line, record.quote)
    if record.delivery is not None:
        line.seconds = round(record.seconds, 3)
        _add_result(line, record.delivery)
    if record.attempts:
        line.cost, line.attempts = dollars_or_none(record.cost), attempt_entries(record.attempts)
    return json.dumps(msgspec.to_builtins(line, enc_hook=str))


def _source_facts(source: InputImage) -> SourceFacts:
    return SourceFacts(width=source.width, height=source.height, format=source.format, bytes=source.size)


def _add_quote(line: PictureLine, quote: Quote) -> None:
    line.model, line.provider = quote.model, quote.provider
    line.width, line.height = quote.width, quote.height
    line.cost, line.receipt = dollars_or_none(quote.total), receipt_lines(quote.receipt)


def _add_result(line: PictureLine, delivery: JobResult) -> None:
    first = delivery.pictures[0]
    line.model, line.provider = delivery.job.model, delivery.provider
    line.engine = str(delivery.details.get("engine", delivery.upstream))
    line.width, line.height, line.format = first.width, first.height, first.format
    line.seed, line.prompt = [picture.seed for picture in delivery.pictures], first.revised_prompt
    line.fidelity = first.fidelity
    if len(delivery.pictures) > 1:
        line.fidelities = [picture.fidelity for picture in delivery.pictures]
    line.source_damage = UNSET if delivery.damage is None else delivery.damage
    line.warnings = first.warnings or UNSET
    line.cost, line.receipt = dollars_or_none(delivery.cost), receipt_lines(delivery.receipt)
    line.attempts = attempt_entries(delivery.attempts)
    line.excluded, line.failures = delivery.excluded, delivery.failures
    line.details, line.timings = delivery.details, delivery.timings
