"""Prints a run's results: one line of text or JSON per picture, each warning once, failures at the end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import click

from fluxvision.cli.json_line import format_json
from fluxvision.cli.options import UpscaleRequest
from fluxvision.cli.text import (
    FLAGS,
    format_columns,
    format_paid,
    format_price,
    format_size,
    pluralize,
    replace_with_flags,
    safe_path,
)
from fluxvision.cli.upscale_one import PictureRecord
from fluxvision.core.images import SourceDamage
from fluxvision.core.money import sum_costs

DEGRADED = "the providers that invent detail failed or could not do it; the CPU engine made the picture."


def format_facts(record: PictureRecord) -> str:
    """Return one line of text about a finished picture."""
    if record.delivery is None or record.source is None:
        return safe_path(record.name)
    delivery, first = record.delivery, record.delivery.pictures[0]
    megapixels = sum(picture.width * picture.height for picture in delivery.pictures) / 1e6
    creativity = [
        line.became for line in delivery.receipt if line.parameter == "creativity" and line.became is not None
    ]
    details = [
        f"{megapixels / max(record.seconds, 1e-6):.2g} MP/s",
        str(delivery.details.get("engine", delivery.upstream)),
        *(f"creativity {each:g}" for each in creativity),
    ]
    if delivery.damage is not None and delivery.damage.restored:
        details.append(_format_damage(delivery.damage))
    if first.fidelity is not None:
        details.append(f"fidelity {first.fidelity.lr_psnr_db:.1f} dB")
    if delivery.cost != 0:
        details.append(format_paid(delivery.cost))
    sizes = f"{format_size(record.source.width, record.source.height)} → {format_size(first.width, first.height)}"
    return "  ".join(
        (safe_path(record.name), sizes, _format_places(record), f"{record.seconds:.1f} s", " · ".join(details))
    )


def _format_damage(damage: SourceDamage) -> str:
    """Return what was removed from the source, such as "removed noise 8, JPEG 75"."""
    found = [f"noise {damage.noise:.0f}"] if damage.noise else []
    found += [f"JPEG {damage.jpeg_quality}"] if damage.jpeg_quality else []
    return "removed " + ", ".join(found)


def _format_places(record: PictureRecord) -> str:
    """Return the paths of the results, or only the name of a result beside its picture."""
    beside = str(Path(record.name).parent)
    paths = [*record.outputs, *record.compared]
    return (
        ", ".join(safe_path(path.name if str(path.parent) == beside else path) for path in paths) or "standard output"
    )


def list_warnings(record: PictureRecord) -> list[str]:
    """Return a sentence for every parameter that was not honoured, and for damaged metadata in the picture."""
    receipt = record.delivery.receipt if record.delivery else record.quote.receipt if record.quote else ()
    degraded = record.delivery is not None and record.delivery.degraded
    reasons = [DEGRADED] if degraded else []
    reasons += record.delivery.pictures[0].warnings if record.delivery is not None else ()
    return reasons + [
        f"{FLAGS.get(line.parameter, line.parameter)}: {replace_with_flags(line.note)}"
        for line in receipt
        if not line.honoured
    ]


def _format_failure(record: PictureRecord) -> str:
    """Return why a picture was not made, and the cost of its attempts unless they were free."""
    if not record.attempts or record.cost == 0:
        return record.error
    return f"{record.error} ({format_paid(record.cost)})"


def quote_table(records: Sequence[PictureRecord]) -> str:
    """Return the table of a dry run: one row per picture, and the total cost."""
    planned = [(record, record.quote) for record in records if record.quote is not None]
    if not planned:
        return ""
    rows = [("PICTURE", "SIZE", "RESULT", "SIZE", "PROVIDER", "PRICE")]
    rows += [
        (
            safe_path(record.name),
            format_size(record.source.width, record.source.height) if record.source else "",
            _format_places(record),
            format_size(quote.width, quote.height),
            quote.provider,
            format_price(quote.total),
        )
        for record, quote in planned
    ]
    total = format_price(sum_costs(quote.total for _, quote in planned))
    return (
        f"{format_columns(rows)}\n{pluralize(len(planned), 'picture')} would be made for {total}. Nothing was written."
    )


class BatchReport:
    """Prints results as they arrive. `say` writes a line above the progress bars, if there are any."""

    def __init__(self, request: UpscaleRequest, say: Callable[[str], None]) -> None:
        """Start an empty report."""
        self._request = request
        self._say = say
        self._warned: set[str] = set()
        self.records: list[PictureRecord] = []

    def add(self, record: PictureRecord) -> None:
        """Add a picture's record, and print its line and warnings."""
        self.records.append(record)
        if self._request.json:
            click.echo(format_json(record))
        elif record.status == "done" and not self._request.quiet:
            self._say(format_facts(record))
        elif record.error and self._request.watch:  # the end may be far away
            click.echo(f"Failed: {safe_path(record.name)}: {_format_failure(record)}", err=True)
        if not self._request.quiet and not self._request.json:
            for warning in list_warnings(record):
                if warning not in self._warned:
                    self._warned.add(warning)
                    self._say(f"Warning: {warning}")

    def close(self, seconds: float, *, total: int, results: int, interrupted: bool) -> None:
        """Print the failures and the summary."""
        if not self._request.json and (lines := quote_table(self.records)):
            click.echo(lines)
        if not self._request.quiet and results:
            self._say(
                f"{pluralize(results, 'result')} of an earlier run left alone; name one itself to enlarge it again."
            )
        if not self._request.quiet and not self._request.dry_run and total > 1:
            self._say(self._summary(seconds))
        failed = [record for record in self.records if record.error]
        if len(failed) == 1 == total:
            click.echo(f"Error: {safe_path(failed[0].name)}: {_format_failure(failed[0])}", err=True)
        elif failed:
            click.echo(f"{len(failed):,} of {total:,} failed:", err=True)
            for record in failed:
                click.echo(f"  {safe_path(record.name)}: {_format_failure(record)}", err=True)
        if interrupted:
            left = total - self._count("done") - self._count("skipped") - len(failed)
            hint = "" if self._request.to_stream else " --resume goes on from here." if total > 1 else ""
            cost = sum_costs(record.cost for record in self.records if record.status == "interrupted")
            spent = f" What was begun: {format_paid(cost)}." if cost != 0 else ""
            click.echo(f"Interrupted; {pluralize(left, 'picture')} not made, no half file left.{spent}{hint}", err=True)

    @property
    def interrupted(self) -> bool:
        """Whether a picture was interrupted."""
        return self._count("interrupted") > 0

    def _count(self, status: str) -> int:
        return sum(record.status == status for record in self.records)

    def _summary(self, seconds: float) -> str:
        made = [record.delivery for record in self.records if record.delivery is not None]
        failed = sum(bool(record.error) for record in self.records)
        pixels = sum(picture.width * picture.height for delivery in made for picture in delivery.pictures)
        cost = sum_costs(record.cost for record in self.records)
        parts = [f"{self._count('done'):,} done"]
        parts += [f"{self._count('skipped'):,} skipped"] if self._count("skipped") else []
        parts += [f"{failed:,} failed"] if failed else []
        spent = f" · {format_paid(cost)}" if cost != 0 else ""
        return f"{', '.join(parts)} in {seconds:.1f} s · {pixels / 1e6:.1f} MP{spent}"
