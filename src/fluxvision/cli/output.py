"""What a run says: a line of facts per picture, or a line of JSON; warnings once; failures at the end."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from fluxvision.cli.options import Order
from fluxvision.cli.run_one import Record
from fluxvision.cli.text import FLAGS, columns, in_flags, paid, plural, price, shown, size
from fluxvision.core.money import dollars, summed
from fluxvision.core.types import Attempt, Line

DEGRADED = "the providers that invent detail failed or could not do it; the CPU engine made the picture."


def facts(record: Record) -> str:
    """Return one finished picture in one line."""
    if record.delivery is None or record.source is None:
        return shown(record.name)
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
    if first.fidelity is not None:
        details.append(f"fidelity {first.fidelity.lr_psnr_db:.1f} dB")
    if delivery.cost != 0:
        details.append(paid(delivery.cost))
    sizes = f"{size(record.source.width, record.source.height)} → {size(first.width, first.height)}"
    return "  ".join((shown(record.name), sizes, _places(record), f"{record.seconds:.1f} s", " · ".join(details)))


def _places(record: Record) -> str:
    """Return where the results are; beside the picture the name is enough."""
    beside = str(Path(record.name).parent)
    paths = [*record.outputs, *record.compared]
    return ", ".join(shown(path.name if str(path.parent) == beside else path) for path in paths) or "standard output"


def warnings(record: Record) -> list[str]:
    """Return a sentence for every parameter that could not be honoured, and for what is damaged in the picture."""
    receipt = record.delivery.receipt if record.delivery else record.quote.receipt if record.quote else ()
    degraded = record.delivery is not None and record.delivery.degraded
    reasons = [DEGRADED] if degraded else []
    reasons += record.delivery.pictures[0].warnings if record.delivery is not None else ()
    return reasons + [
        f"{FLAGS.get(line.parameter, line.parameter)}: {in_flags(line.note)}" for line in receipt if not line.honoured
    ]


def as_json(record: Record) -> str:
    """Return everything about one picture as one line of JSON."""
    source, delivery, quote = record.source, record.delivery, record.quote
    body: dict[str, Any] = {
        "input": record.name,
        "status": record.status,
        "output": [str(path) for path in record.outputs],
        "compare": [str(path) for path in record.compared],
        "error": record.error or None,
    }
    if source is not None:
        body["source"] = {"width": source.width, "height": source.height, "format": source.format, "bytes": source.size}
    if quote is not None:
        body |= {"model": quote.model, "provider": quote.provider, "width": quote.width, "height": quote.height}
        body |= {"cost": _cost(quote.total), "receipt": [_line(line) for line in quote.receipt]}
    if delivery is not None:
        first = delivery.pictures[0]
        body |= {"model": delivery.job.model, "provider": delivery.provider}
        body |= {"engine": delivery.details.get("engine", delivery.upstream), "width": first.width}
        body |= {"height": first.height, "format": first.format, "seconds": round(record.seconds, 3)}
        body |= {"seed": [picture.seed for picture in delivery.pictures], "prompt": first.revised_prompt}
        scores = [picture.fidelity and asdict(picture.fidelity) for picture in delivery.pictures]
        body |= {"fidelity": scores[0]} | ({"fidelities": scores} if len(scores) > 1 else {})
        body |= {"warnings": list(first.warnings)} if first.warnings else {}
        body |= {"cost": _cost(delivery.cost), "receipt": [_line(line) for line in delivery.receipt]}
        body |= {"attempts": _tries(delivery.attempts)}
        body |= {"excluded": [asdict(one) for one in delivery.excluded]}
        body |= {"failures": [asdict(failure) for failure in delivery.failures]}
        body |= {"details": dict(delivery.details), "timings": dict(delivery.timings)}
    if record.attempts:
        body |= {"cost": _cost(record.cost), "attempts": _tries(record.attempts)}
    return json.dumps(body, default=str)


def _tries(attempts: Sequence[Attempt]) -> list[dict[str, Any]]:
    return [_try(attempt) for attempt in attempts]


def _try(attempt: Attempt) -> dict[str, Any]:
    body = asdict(attempt)
    most = body.pop("most")
    return {**body, "cost": _cost(attempt.cost)} | ({"cost_at_most": _cost(most)} if attempt.cost is None else {})


def _cost(micros: int | None) -> float | None:
    return None if micros is None else dollars(micros)


def _line(line: Line) -> dict[str, Any]:
    return {
        "parameter": line.parameter,
        "mode": line.mode,
        "from": line.sent,
        "to": line.became,
        "honoured": line.honoured,
        "note": line.note,
    }


def _failed(record: Record) -> str:
    """Return why a picture was not made, and what the tries cost where they were not free."""
    if not record.attempts or record.cost == 0:
        return record.error
    return f"{record.error} ({paid(record.cost)})"


def table(records: Sequence[Record]) -> str:
    """Return what a dry run found: one row per picture that would be made, and what all of it costs."""
    planned = [(record, record.quote) for record in records if record.quote is not None]
    if not planned:
        return ""
    rows = [("PICTURE", "SIZE", "RESULT", "SIZE", "PROVIDER", "PRICE")]
    rows += [
        (
            shown(record.name),
            size(record.source.width, record.source.height) if record.source else "",
            _places(record),
            size(quote.width, quote.height),
            quote.provider,
            price(quote.total),
        )
        for record, quote in planned
    ]
    total = price(summed(quote.total for _, quote in planned))
    return f"{columns(rows)}\n{plural(len(planned), 'picture')} would be made for {total}. Nothing was written."


class Report:
    """Says things as they happen. `say` writes a line for a person above the progress bars, if there are any."""

    def __init__(self, order: Order, say: Callable[[str], None]) -> None:
        """Begin with nothing said."""
        self._order = order
        self._say = say
        self._warned: set[str] = set()
        self.records: list[Record] = []

    def add(self, record: Record) -> None:
        """Take note of a picture and say what is to be said at once."""
        self.records.append(record)
        if self._order.json:
            click.echo(as_json(record))
        elif record.status == "done" and not self._order.quiet:
            self._say(facts(record))
        if not self._order.quiet and not self._order.json:
            for warning in warnings(record):
                if warning not in self._warned:
                    self._warned.add(warning)
                    self._say(f"Warning: {warning}")

    def close(self, seconds: float, *, total: int, results: int, interrupted: bool) -> None:
        """Say how it went altogether."""
        if not self._order.json and (lines := table(self.records)):
            click.echo(lines)
        if not self._order.quiet and results:
            self._say(f"{plural(results, 'result')} of an earlier run left alone; name one itself to enlarge it again.")
        if not self._order.quiet and not self._order.dry_run and total > 1:
            self._say(self._summary(seconds))
        failed = [record for record in self.records if record.error]
        if len(failed) == 1 == total:
            click.echo(f"Error: {shown(failed[0].name)}: {_failed(failed[0])}", err=True)
        elif failed:
            click.echo(f"{len(failed):,} of {total:,} failed:", err=True)
            for record in failed:
                click.echo(f"  {shown(record.name)}: {_failed(record)}", err=True)
        if interrupted:
            left = total - self._count("done") - self._count("skipped") - len(failed)
            hint = "" if self._order.to_stream else " --resume goes on from here." if total > 1 else ""
            cost = summed(record.cost for record in self.records if record.status == "interrupted")
            spent = f" What was begun: {paid(cost)}." if cost != 0 else ""
            click.echo(f"Interrupted; {plural(left, 'picture')} not made, no half file left.{spent}{hint}", err=True)

    @property
    def interrupted(self) -> bool:
        """Whether a picture was given up."""
        return self._count("interrupted") > 0

    def _count(self, status: str) -> int:
        return sum(record.status == status for record in self.records)

    def _summary(self, seconds: float) -> str:
        made = [record.delivery for record in self.records if record.delivery is not None]
        failed = sum(bool(record.error) for record in self.records)
        pixels = sum(picture.width * picture.height for delivery in made for picture in delivery.pictures)
        cost = summed(record.cost for record in self.records)
        parts = [f"{self._count('done'):,} done"]
        parts += [f"{self._count('skipped'):,} skipped"] if self._count("skipped") else []
        parts += [f"{failed:,} failed"] if failed else []
        spent = f" · {paid(cost)}" if cost != 0 else ""
        return f"{', '.join(parts)} in {seconds:.1f} s · {pixels / 1e6:.1f} MP{spent}"
