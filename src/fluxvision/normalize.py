"""The interpreter of the table: one Job and one Offer become a Call, a Plan and a receipt. Pure.

Three laws: rows apply in the table's order, not the request's; two writers of one slot agree or the request is refused
naming both; defaults come last and fill only free slots.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, fields
from functools import lru_cache
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


_Both = tuple[_Slots, _Slots]
"""What goes to the provider, and what the gateway does itself."""


@dataclass(frozen=True, slots=True)
class _Default:
    """What becomes of a parameter that is not given: `line` and `writes`; without a line that depends on the job."""

    param: Param
    rules: Sequence[Rule]
    line: Line | None = None
    writes: tuple[tuple[Rule, str, Any], ...] = ()


@lru_cache(maxsize=1024)
def _defaults(offer: Offer, rows: Sequence[Param]) -> tuple[_Default, ...]:
    """Return the parameters of an offer that matter where they are not given.

    Of most nothing becomes, or the same for every job: that is worked out once.
    """
    found = (_default(row, offer.rules[row.name]) for row in rows)
    return tuple(row for row in found if row is not None)


def _default(param: Param, rules: Sequence[Rule]) -> _Default | None:
    value = param.default
    if any(_depends(rule, value) for rule in rules):
        return _Default(param, rules)
    became = [None if isinstance(rule, Passthrough) and not rule.sent else value for rule in rules]
    if all(part is None for part in became):
        return None
    made = ((rule, _slot(rule, param), part) for rule, part in zip(rules, became, strict=True))
    return _Default(
        param, rules, _line(param, None, rules, became, ()), tuple(one for one in made if one[2] is not None)
    )


def _depends(rule: Rule, default: Any) -> bool:
    """Whether what a rule makes of a default depends on the job; nothing is converted to nothing."""
    if isinstance(rule, Converted):
        return default is not None
    return isinstance(rule, Emulated) and rule.using is not None


def badge(rules: Sequence[Rule]) -> str:
    """Return the mode of a parameter: the strongest of its rules."""
    return max((rule.mode for rule in rules), key=STRENGTH.index)


def normalize(job: Job, offer: Offer, rows: Sequence[Param] = PARAMS) -> tuple[Call, Plan, tuple[Line, ...]]:
    """Translate a job for one offer; `rows` are the parameters as the model has them.

    Raises `InvalidRequest` when two parameters disagree, or under `strict` when one cannot be honoured exactly.
    """
    body, plan = slots = _Slots("body"), _Slots("plan")
    lines = _given(job, offer, rows, slots)
    lines |= {name: _passed(name, extra, offer, body) for name, extra in job.extras.items()}
    lines |= _left_out(job, offer, rows, slots, lines.keys())
    receipt = (*(lines[row.name] for row in PARAMS if row.name in lines), *(lines[name] for name in job.extras))
    if job.values.get("strict"):
        _refuse_unhonoured(receipt)
    planned = Plan(**{k: v for k, v in plan.values.items() if k in PLAN_FIELDS}, measured=offer.measured)
    mask = None if planned.masked else job.mask
    return Call(offer.provider, offer.upstream, body.values, job.image, mask), planned, receipt


def _given(job: Job, offer: Offer, rows: Sequence[Param], slots: _Both) -> dict[str, Line]:
    """Apply the rules of what the caller gave, pictures and all, in the table's order."""
    given: dict[str, Any] = {**job.values, "image": job.image}
    if job.mask is not None:
        given["mask"] = job.mask
    lines: dict[str, Line] = {}
    for param in rows:
        if param.name in given:
            value, rules = given[param.name], offer.rules[param.name]
            became = [_apply(rule, param, value, job, slots, default=False) for rule in rules]
            reasons = [reason for rule in rules if (reason := _unless(rule, value, job)) is not None]
            lines[param.name] = _line(param, value, rules, became, reasons)
    return lines


def _left_out(job: Job, offer: Offer, rows: Sequence[Param], slots: _Both, given: Collection[str]) -> dict[str, Line]:
    """Apply the defaults of what was not `given` to the slots that are free."""
    body, plan = slots
    lines: dict[str, Line] = {}
    for row in _defaults(offer, rows):
        name = row.param.name
        if name in given or (name == "scale_factor" and sized(job)):
            continue  # where the size is given no factor applies
        if row.line is not None:
            for rule, slot, part in row.writes:
                (plan if isinstance(rule, Emulated) else body).write(slot, part, name, default=True)
            lines[name] = row.line
            continue
        became = [_apply(rule, row.param, row.param.default, job, slots, default=True) for rule in row.rules]
        if all(part is None for part in became):
            continue  # decided by nobody
        if row.param.group == SIZES and job.extras:
            _agree_with_extras(job, row.rules, became, body, row.param)
        lines[name] = _line(row.param, None, row.rules, became, ())
    return lines


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


def _apply(rule: Rule, param: Param, value: Any, job: Job, slots: _Both, *, default: bool) -> Any:
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


def _line(param: Param, value: Any, rules: Sequence[Rule], became: Sequence[Any], reasons: Sequence[str]) -> Line:
    """Return the receipt's line; `value` is None for a default, `reasons` say what of it was not honoured."""
    notes = reasons or [rule.note for rule in rules if not isinstance(rule, Renamed) and rule.note]
    shown = {_slot(rule, param): _shown(part) for rule, part in zip(rules, became, strict=True) if part is not None}
    result = next(iter(shown.values())) if len(shown) == 1 else shown or None
    sent = "picture" if isinstance(value, Source) else value
    return Line(param.name, badge(rules), sent, result, " ".join(notes), not reasons)


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
