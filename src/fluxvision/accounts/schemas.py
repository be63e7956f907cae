"""JSON structs of keys, balances and usage, used by the HTTP responses and the command line alike."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from fluxvision.accounts.key_types import Grouping, KeyStatus, Period, PeriodBalance, StoredKey, UsageRow
from fluxvision.core.key_limits import Limits
from fluxvision.core.money import CURRENCY, Currency, floor_to_micros, to_dollars
from fluxvision.core.receipt_schemas import dollars_or_none

Budget = Annotated[float, Meta(ge=0, le=1_000_000_000)] | None
Count = Annotated[int, Meta(ge=0, le=1_000_000)] | None
Models = Annotated[list[str], Meta(max_length=100, description="Ids of the models that it may use; empty: all.")]
Name = Annotated[str, Meta(min_length=1, max_length=100, description="What tells it from other keys.")]
Expiry = Annotated[int | None, Meta(description="Unix time from which it is refused; null: never.")]


class KeyLimits(Struct, kw_only=True):
    """What a key may use; null: no limit."""

    budget_day: Annotated[Budget, Meta(description="Dollars that its requests may cost in a day (UTC).")] = None
    budget_month: Annotated[Budget, Meta(description="The same in a calendar month (UTC).")] = None
    budget_total: Annotated[Budget, Meta(description="The same in all.")] = None
    per_minute: Annotated[Count, Meta(description="Requests that it may make within 60 seconds.")] = None
    parallel: Annotated[Count, Meta(description="Jobs that it may have at the same time.")] = None


class KeyRequest(KeyLimits, kw_only=True, forbid_unknown_fields=True):
    """The key to create."""

    name: Name
    expires_at: Expiry = None
    models: Models = []


class KeyChange(Struct, kw_only=True, forbid_unknown_fields=True):
    """What to change of a key; what is not given stays, and null removes a limit."""

    name: Name | UnsetType = UNSET
    expires_at: Expiry | UnsetType = UNSET
    models: Models | UnsetType = UNSET
    budget_day: Budget | UnsetType = UNSET
    budget_month: Budget | UnsetType = UNSET
    budget_total: Budget | UnsetType = UNSET
    per_minute: Count | UnsetType = UNSET
    parallel: Count | UnsetType = UNSET


class KeyEntry(KeyLimits, kw_only=True):
    """An API key, without its secret."""

    id: str
    object: Literal["api_key"]
    name: str
    hint: Annotated[str, Meta(description="Its first and last letters.")]
    status: KeyStatus
    created_at: int
    expires_at: int | None
    revoked_at: int | None
    models: Models


class CreatedKey(KeyEntry, kw_only=True):
    """An API key with its secret, which is shown this one time."""

    key: Annotated[str, Meta(description="The secret, to be sent as `Authorization: Bearer KEY`.")]


class KeyList(Struct, kw_only=True):
    """All API keys, the oldest first; revoked ones stay in the list."""

    object: Literal["list"]
    data: list[KeyEntry]


class BudgetEntry(Struct, kw_only=True):
    """What a key has used of one budget, in dollars."""

    period: Period
    limit: Annotated[float | None, Meta(description="null: no limit.")]
    spent: Annotated[float, Meta(description="Cost of ended requests; the most it can be, where it is unknown.")]
    reserved: Annotated[float, Meta(description="The most that running requests can cost.")]
    left: Annotated[float | None, Meta(description="What further requests may cost; null: no limit.")]


class BalanceResponse(Struct, kw_only=True):
    """What the calling key has used of its budgets."""

    object: Literal["balance"]
    key_id: str
    currency: Currency
    budgets: list[BudgetEntry]


class UsageEntry(Struct, kw_only=True):
    """The requests of one group."""

    group: Annotated[str, Meta(description="A day (YYYY-MM-DD), or the id of a model, provider or key; may be empty.")]
    requests: int
    cost: Annotated[float, Meta(description="In dollars; at most, where a provider did not tell.")]


class UsageResponse(Struct, kw_only=True):
    """Requests and costs by group."""

    object: Literal["usage"]
    group_by: Grouping
    currency: Currency
    data: list[UsageEntry]
    requests: Annotated[int, Meta(description="Of all groups.")]
    cost: Annotated[float, Meta(description="Of all groups, in dollars.")]


def to_limits(given: KeyLimits) -> Limits:
    """Return limits with budgets in dollars as limits in micro-dollars."""
    return Limits(**to_columns({name: getattr(given, name) for name in KeyLimits.__struct_fields__}))


def to_columns(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is set of these facts of a key, budgets in dollars as budgets in micro-dollars."""
    return {
        name: floor_to_micros(value) if name.startswith("budget") and value is not None else value
        for name, value in given.items()
        if value is not UNSET
    }


def key_entry(key: StoredKey, now: float) -> KeyEntry:
    """Return the JSON struct of a key."""
    return KeyEntry(**_key_facts(key, now))


def created_key(key: StoredKey, secret: str, now: float) -> CreatedKey:
    """Return the JSON struct of a key with its secret."""
    return CreatedKey(**_key_facts(key, now), key=secret)


def balance_response(key_id: str, budgets: Iterable[PeriodBalance]) -> BalanceResponse:
    """Return the JSON struct of a key's budgets."""
    entries = [
        BudgetEntry(
            period=one.period,
            limit=dollars_or_none(one.limit),
            spent=to_dollars(one.spent),
            reserved=to_dollars(one.reserved),
            left=dollars_or_none(one.left),
        )
        for one in budgets
    ]
    return BalanceResponse(object="balance", key_id=key_id, currency=CURRENCY, budgets=entries)


def usage_response(group_by: Grouping, rows: Iterable[UsageRow]) -> UsageResponse:
    """Return the JSON struct of usage by group."""
    found = list(rows)
    return UsageResponse(
        object="usage",
        group_by=group_by,
        currency=CURRENCY,
        data=[UsageEntry(group=row.group, requests=row.requests, cost=to_dollars(row.cost)) for row in found],
        requests=sum(row.requests for row in found),
        cost=to_dollars(sum(row.cost for row in found)),
    )


def _key_facts(key: StoredKey, now: float) -> dict[str, Any]:
    facts: dict[str, Any] = {field.name: getattr(key.limits, field.name) for field in fields(key.limits)}
    facts |= {name: dollars_or_none(amount) for name, amount in facts.items() if name.startswith("budget")}
    for name in ("created_at", "expires_at", "revoked_at"):
        moment = getattr(key, name)
        facts[name] = None if moment is None else int(moment)
    facts |= {"id": key.id, "name": key.name, "hint": key.hint, "models": list(key.models)}
    return facts | {"object": "api_key", "status": key.status(now)}
