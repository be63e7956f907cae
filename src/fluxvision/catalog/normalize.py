"""Translates a Job for one Offer by the table's rules: returns a Call, a PostprocessPlan and a receipt. Pure.

Three rules hold: parameters apply in the table's order, not the request's; two parameters that write different values
to one slot are refused with an error that names both; defaults come last and fill only free slots.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache
from typing import Any

from fluxvision.catalog.geometry import has_pixel_size
from fluxvision.catalog.params import BY_NAME, PARAMS, Param
from fluxvision.catalog.rules import Converted, Emulated, Offer, Passthrough, Renamed, Rule, Unless, Using
from fluxvision.core.errors import InvalidRequest
from fluxvision.core.images import InputImage
from fluxvision.core.receipt_schemas import STRENGTH
from fluxvision.core.types import Call, Job, PostprocessPlan, ReceiptEntry

SIZES = "Size"
"""The group of parameters that determine the result's size."""
NOT_SENT = "Not sent to the provider, which has a default of its own."
NEUTRAL = ("", "auto")
"""Values that have the same meaning as leaving the parameter out."""
PLAN_FIELDS = frozenset(row.name for row in fields(PostprocessPlan))
PLACES = {row.name: place for place, row in enumerate(PARAMS)}


@dataclass(slots=True)
class _Slots:
    """The values written so far by slot, and the parameter that wrote each."""

    kind: str
    values: dict[str, Any] = field(default_factory=dict)
    writers: dict[str, str] = field(default_factory=dict)

    def write(self, slot: str, value: Any, parameter: str, *, default: bool) -> None:
        if slot in self.values:
            if not default and self.values[slot] != value:
                message = f"{self.writers[slot]} and {parameter} ask for different things; send one of them."
                raise InvalidRequest(message, param=parameter)
            return
        self.values[slot] = value
        self.writers[slot] = parameter


_Both = tuple[_Slots, _Slots]
"""The slots of the provider's request body, and those of the gateway's own plan."""


@dataclass(frozen=True, slots=True)
class _Step:
    """One rule, prepared for repeated use."""

    slot: str
    """The provider's parameter name, or a field of `PostprocessPlan` when `emulated`."""
    emulated: bool
    using: Using | None
    """Computes the value to write; None: the caller's value as it is."""


@dataclass(frozen=True, slots=True)
class _Entry:
    """A parameter at one offer, prepared for repeated use."""

    param: Param
    rules: Sequence[Rule]
    steps: Sequence[_Step]
    checks: Sequence[Unless]
    """Functions that return the reason why a value is not honoured."""
    mode: str
    """The mode of its receipt entry."""
    note: str
    """The note of its receipt entry."""


@dataclass(frozen=True, slots=True)
class _Default:
    """How a parameter that is not given is handled."""

    entry: _Entry
    line: ReceiptEntry | None = None
    """Its receipt entry; None when that depends on the job."""
    writes: Sequence[tuple[_Step, Any]] = ()
    """The slots it fills, with their values."""


@lru_cache(maxsize=128)
def _entries(offer: Offer, rows: Sequence[Param]) -> Mapping[str, _Entry]:
    """Return the prepared parameters of an offer, computed once because they are the same for every job."""
    return {row.name: _make_entry(row, offer.rules[row.name]) for row in rows}


def _make_entry(param: Param, rules: Sequence[Rule]) -> _Entry:
    steps = [_Step(_slot(rule, param), isinstance(rule, Emulated), _apply_converter(rule)) for rule in rules]
    checks = [check for rule in rules if (check := _check(rule)) is not None]
    note = " ".join(rule.note for rule in rules if not isinstance(rule, Renamed) and rule.note)
    return _Entry(param, rules, steps, checks, strongest_mode(rules), note)


def _slot(rule: Rule, param: Param) -> str:
    return rule.by if isinstance(rule, Emulated) else str(getattr(rule, "to", param.name))


def _apply_converter(rule: Rule) -> Using | None:
    """Return the function that computes a rule's value, None when the value is kept as it is."""
    if isinstance(rule, Passthrough):
        return None if rule.sent else lambda _value, _job: None
    if isinstance(rule, Converted):
        using = rule.using
        return lambda value, job: None if value is None else using(value, job)
    return None if isinstance(rule, Renamed) else rule.using


def _check(rule: Rule) -> Unless | None:
    """Return the function that tells why a rule does not honour a value, None when it always does."""
    if isinstance(rule, Passthrough) and not rule.sent:
        note = rule.note
        return lambda value, _job: None if value in NEUTRAL else note
    return None if isinstance(rule, Renamed) else rule.unless


@lru_cache(maxsize=128)
def _defaults(offer: Offer, rows: Sequence[Param]) -> tuple[_Default, ...]:
    """Return the parameters of an offer that have an effect when they are not given.

    Most have none, or the same one for every job, so this is computed once.
    """
    entries = _entries(offer, rows).values()
    found = (_fill_default(entry if offer.defaults else _unstated_slots(entry)) for entry in entries)
    return tuple(row for row in found if row is not None)


def _unstated_slots(entry: _Entry) -> _Entry:
    """Return a parameter with only its emulated steps, because its default is not sent to the provider."""
    kept = [number for number, step in enumerate(entry.steps) if step.emulated]
    note = entry.note if len(kept) == len(entry.steps) else f"{entry.note} {NOT_SENT}".strip()
    rules, steps = [entry.rules[number] for number in kept], [entry.steps[number] for number in kept]
    return replace(entry, rules=rules, steps=steps, note=note)


def _fill_default(entry: _Entry) -> _Default | None:
    value = entry.param.default
    if any(_depends_on(rule, value) for rule in entry.rules):
        return _Default(entry)
    became = [None if isinstance(rule, Passthrough) and not rule.sent else value for rule in entry.rules]
    if all(part is None for part in became):
        return None
    writes = [(step, part) for step, part in zip(entry.steps, became, strict=True) if part is not None]
    return _Default(entry, _receipt_entry(entry, None, became, ()), writes)


def _depends_on(rule: Rule, default: Any) -> bool:
    """Return whether a rule's value for a default depends on the job; an absent default is never converted."""
    if isinstance(rule, Converted):
        return default is not None
    return isinstance(rule, Emulated) and rule.using is not None


def strongest_mode(rules: Sequence[Rule]) -> str:
    """Return the mode of a parameter: the strongest mode among its rules."""
    return max((rule.mode for rule in rules), key=STRENGTH.index)


def normalize(
    job: Job, offer: Offer, rows: Sequence[Param] = PARAMS
) -> tuple[Call, PostprocessPlan, tuple[ReceiptEntry, ...]]:
    """Translate a job for one offer; `rows` are the model's parameters.

    Raises `InvalidRequest` when two parameters contradict each other, or under `strict` when one cannot be honoured
    exactly.
    """
    body, plan = slots = _Slots("body"), _Slots("plan")
    lines = _given_params(job, offer, rows, slots)
    passed = [_pass_through(name, extra, offer, body) for name, extra in job.extras.items()]
    asked = dict(body.writers)
    lines |= _left_out_entry(job, offer, rows, slots, lines.keys())
    receipt = (*map(lines.__getitem__, sorted(lines, key=PLACES.__getitem__)), *passed)
    if job.values.get("strict"):
        _refuse_unhonoured(receipt)
    planned = PostprocessPlan(
        **{slot: plan.values[slot] for slot in PLAN_FIELDS & plan.values.keys()},
        measure_fidelity=offer.measure_fidelity,
    )
    mask = None if planned.apply_mask else job.mask
    sets_size = offer.defaults or any(name in BY_NAME and BY_NAME[name].group == SIZES for name in asked.values())
    call = Call(
        offer.provider, offer.upstream, body.values, job.image, mask, parameter_names=asked, sets_size=sets_size
    )
    return call, planned, receipt


def _given_params(job: Job, offer: Offer, rows: Sequence[Param], slots: _Both) -> dict[str, ReceiptEntry]:
    """Apply the rules of the parameters that the caller gave, pictures included, in the table's order."""
    given: dict[str, Any] = {**job.values, "image": job.image}
    if job.mask is not None:
        given["mask"] = job.mask
    entries = _entries(offer, rows)
    lines: dict[str, ReceiptEntry] = {}
    for name in sorted(given.keys() & entries.keys(), key=PLACES.__getitem__):
        entry, value = entries[name], given[name]
        became = _apply_rule(entry, value, job, slots, default=False)
        reasons = [reason for check in entry.checks if (reason := check(value, job)) is not None]
        lines[name] = _receipt_entry(entry, value, became, reasons)
    return lines


def _left_out_entry(
    job: Job, offer: Offer, rows: Sequence[Param], slots: _Both, given: Collection[str]
) -> dict[str, ReceiptEntry]:
    """Apply the defaults of the parameters that are not `given` to the free slots."""
    body, plan = slots
    lines: dict[str, ReceiptEntry] = {}
    for row in _defaults(offer, rows):
        param = row.entry.param
        name = param.name
        if name in given or (name == "scale_factor" and has_pixel_size(job)):
            continue  # the size is given in pixels, so no factor applies
        if row.line is not None:
            for step, part in row.writes:
                (plan if step.emulated else body).write(step.slot, part, name, default=True)
            lines[name] = row.line
            continue
        became = _apply_rule(row.entry, param.default, job, slots, default=True)
        if became.count(None) == len(became):
            continue  # no rule wrote a value
        if param.group == SIZES and job.extras:
            _agree_with_extras(job, row.entry, became, body)
        lines[name] = _receipt_entry(row.entry, None, became, ())
    return lines


def _pass_through(name: str, extra: Any, offer: Offer, body: _Slots) -> ReceiptEntry:
    """Send a parameter that is not in the table to a provider that may know it."""
    if not offer.takes_extras:
        return ReceiptEntry(name, "passthrough", extra, None, "Unknown here and to the provider: no effect.", False)
    if name in offer.reserved:
        instead = "send image" if name.startswith("image") else "no effect"
        return ReceiptEntry(name, "passthrough", extra, None, f"Written by this server alone: {instead}.", False)
    body.write(name, extra, name, default=False)
    return ReceiptEntry(name, "passthrough", extra, extra, "Unknown here; sent on unchanged.")


def _agree_with_extras(job: Job, entry: _Entry, became: Sequence[Any], body: _Slots) -> None:
    """Refuse a provider's own parameter that asks for another size than the quoted one."""
    for step, made in zip(entry.steps, became, strict=True):
        ours = step.emulated or step.slot not in job.extras
        if not ours and made is not None and body.values[step.slot] != made:
            message = f"{step.slot} speaks of another size than the one quoted; send scale_factor, size or resolution."
            raise InvalidRequest(message, param=step.slot)


def _apply_rule(entry: _Entry, value: Any, job: Job, slots: _Both, *, default: bool) -> list[Any]:
    """Write the value of each step to its slot; return the values, None for a step that wrote nothing."""
    body, plan = slots
    became: list[Any] = []
    for step in entry.steps:
        if isinstance(value, InputImage) and not step.emulated:
            made = "sent"  # pictures are sent as files, not in the body
        else:
            made = value if step.using is None else step.using(value, job)
            if made is not None:
                (plan if step.emulated else body).write(step.slot, made, entry.param.name, default=default)
        became.append(made)
    return became


def _receipt_entry(entry: _Entry, value: Any, became: Sequence[Any], reasons: Sequence[str]) -> ReceiptEntry:
    """Return the receipt entry; `value` is None for a default, `reasons` tell what was not honoured."""
    shown = {step.slot: _shown_value(part) for step, part in zip(entry.steps, became, strict=True) if part is not None}
    result = next(iter(shown.values())) if len(shown) == 1 else shown or None
    sent = "picture" if isinstance(value, InputImage) else value
    return ReceiptEntry(entry.param.name, entry.mode, sent, result, " ".join(reasons) or entry.note, not reasons)


def _shown_value(value: Any) -> Any:
    if isinstance(value, tuple):
        return "x".join(str(part) for part in value)
    if hasattr(value, "mode") and hasattr(value, "width"):
        return f"{value.mode} {value.width}x{value.height}"
    return value


def _refuse_unhonoured(receipt: Sequence[ReceiptEntry]) -> None:
    for line in receipt:
        if not line.honoured:
            message = f"{line.parameter} cannot be honoured exactly, and strict is set: {line.note}"
            raise InvalidRequest(message, param=line.parameter)
