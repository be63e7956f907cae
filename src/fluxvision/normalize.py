"""The interpreter of the table: one Job and one Offer become a Call, a Plan and a receipt. Pure.

Three laws: rows apply in the table's order, not the request's; two writers of one slot agree or the request is refused
naming both; defaults come last and fill only free slots.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, NoReturn

from fluxvision.errors import InvalidRequest
from fluxvision.geometry import sized
from fluxvision.params import PARAMS, Param
from fluxvision.rules import Converted, Emulated, Offer, Passthrough, Renamed, Rule
from fluxvision.types import Call, Job, Line, Plan, Source

STRENGTH = ("passthrough", "renamed", "converted", "emulated")
SIZES = "Size"
"""The group of parameters that decide how large the result is."""
NEUTRAL = ("", "auto")
"""Values that ask for nothing."""
PLAN_FIELDS = frozenset(row.name for row in fields(Plan))


@dataclass(slots=True)
class _Slots:
    """What is written so far, and which parameter wrote it."""

    kind: str
    values: dict[str, Any] = field(default_factory=dict)
    writers: dict[str, str] = field(default_factory=dict)

    def write(self, slot: str, value: Any, parameter: str, *, default: bool) -> None:
        if slot in self.values:
            if not default and self.values[slot] != value:
                self.disagree(slot, parameter, parameter)
            return
        self.values[slot] = value
        self.writers[slot] = parameter

    def disagree(self, slot: str, parameter: str, blamed: str) -> NoReturn:
        message = f"{self.writers[slot]} and {parameter} ask for different things; send one of them."
        raise InvalidRequest(message, param=blamed)


def badge(rules: Sequence[Rule]) -> str:
    """Return the mode of a parameter: the strongest of its rules."""
    return max((rule.mode for rule in rules), key=STRENGTH.index)


def normalize(job: Job, offer: Offer, rows: Sequence[Param] = PARAMS) -> tuple[Call, Plan, tuple[Line, ...]]:
    """Translate a job for one offer; `rows` are the parameters as the model has them.

    Raises `InvalidRequest` when two parameters disagree, or under `strict` when one cannot be honoured exactly.
    """
    body, plan = _Slots("body"), _Slots("plan")
    lines: dict[str, Line] = {}
    for default in (False, True):
        for param, value in _values(job, rows, default=default):
            rules = offer.rules[param.name]
            became = [_apply(rule, param, value, job, (body, plan), default=default) for rule in rules]
            if default and all(part is None for part in became):
                continue  # neither given nor decided by anyone
            if default and param.group == SIZES:
                _agree_with_extras(job, rules, became, body, param)
            lines[param.name] = _line(param, value, rules, became, job, default=default)
        if not default:
            lines |= {name: _passed(name, extra, offer, body) for name, extra in job.extras.items()}
    receipt = tuple(lines[name] for name in [row.name for row in PARAMS if row.name in lines] + list(job.extras))
    if job.values.get("strict"):
        _refuse_unhonoured(receipt)
    planned = Plan(**{k: v for k, v in plan.values.items() if k in PLAN_FIELDS}, measured=offer.measured)
    mask = None if planned.masked else job.mask
    return Call(offer.provider, offer.upstream, body.values, job.image, mask), planned, receipt


def _passed(name: str, extra: Any, offer: Offer, body: _Slots) -> Line:
    """Send a name that no row has to a provider that may know it."""
    if not offer.takes_extras:
        return Line(name, "passthrough", extra, None, "Unknown here and to the provider: no effect.", False)
    if name in offer.reserved:
        return Line(name, "passthrough", extra, None, "Written by this server alone; send image.", False)
    body.write(name, extra, name, default=False)
    return Line(name, "passthrough", extra, extra, "Unknown here; sent on unchanged.")


def _agree_with_extras(job: Job, rules: Sequence[Rule], became: Sequence[Any], body: _Slots, param: Param) -> None:
    """Refuse a provider's own word for a size that contradicts ours: the price depends on it."""
    for rule, made in zip(rules, became, strict=True):
        slot = getattr(rule, "to", "")
        if slot in job.extras and made is not None and body.values[slot] != made:
            body.disagree(slot, param.name, slot)


def _values(job: Job, rows: Sequence[Param], *, default: bool) -> Iterator[tuple[Param, Any]]:
    """Yield the rows that the caller gave, or those left to their defaults, in the table's order."""
    given: dict[str, Any] = {**job.values, "image": job.image}
    if job.mask is not None:
        given["mask"] = job.mask
    for param in rows:
        if default and param.name not in given:
            if param.name == "scale_factor" and sized(job):
                continue  # the size is given: no factor applies
            yield param, param.default
        elif not default and param.name in given:
            yield param, given[param.name]


def _apply(rule: Rule, param: Param, value: Any, job: Job, slots: tuple[_Slots, _Slots], *, default: bool) -> Any:
    """Let one rule write what it makes of a value; return that, None where nothing was written."""
    body, plan = slots
    if isinstance(value, Source) and not isinstance(rule, Emulated):
        return "sent"  # pictures travel beside the body
    match rule:
        case Passthrough(sent=sent):
            slot, made = param.name, value if sent else None
        case Renamed(to=slot):
            made = value
        case Converted(to=slot, using=using):
            made = None if value is None else using(value, job)
        case Emulated(by=slot):
            made = value if rule.using is None else rule.using(value, job)
    if made is not None:
        (plan if isinstance(rule, Emulated) else body).write(slot, made, param.name, default=default)
    return made


def _line(param: Param, value: Any, rules: Sequence[Rule], became: Sequence[Any], job: Job, *, default: bool) -> Line:
    notes = [rule.note for rule in rules if not isinstance(rule, Renamed) and rule.note]
    reasons = [] if default else [reason for rule in rules if (reason := _unless(rule, value, job)) is not None]
    shown = {_slot(rule, param): _shown(part) for rule, part in zip(rules, became, strict=True) if part is not None}
    result = next(iter(shown.values())) if len(shown) == 1 else shown or None
    sent = None if default else ("picture" if isinstance(value, Source) else value)
    return Line(param.name, badge(rules), sent, result, " ".join(reasons or notes), not reasons)


def _slot(rule: Rule, param: Param) -> str:
    """Return where a rule writes: the provider's name, or the gateway's own."""
    return rule.by if isinstance(rule, Emulated) else str(getattr(rule, "to", param.name))


def _unless(rule: Rule, value: Any, job: Job) -> str | None:
    """Return why a rule does not do what the value asks for, None where it does."""
    if isinstance(rule, Passthrough) and not rule.sent:
        return None if value in NEUTRAL else rule.note
    return None if isinstance(rule, Renamed) or rule.unless is None else rule.unless(value, job)


def _shown(value: Any) -> Any:
    if isinstance(value, tuple):
        return "x".join(str(part) for part in value)
    if hasattr(value, "mode") and hasattr(value, "width"):
        return f"{value.mode} {value.width}x{value.height}"
    return value


def _refuse_unhonoured(receipt: Sequence[Line]) -> None:
    for line in receipt:
        if not line.honoured:
            message = f"{line.parameter} cannot be honoured exactly, and strict is set: {line.note}"
            raise InvalidRequest(message, param=line.parameter)
