"""Limits for requests of the page without a key: requests per address and minute, and spending per day."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence
from dataclasses import replace

from starlette.datastructures import Headers
from starlette.types import Scope

from fluxvision.accounts.budget import Budget
from fluxvision.accounts.keys import find_credentials
from fluxvision.accounts.rate_limit import Rate
from fluxvision.core.errors import DeadlineExceeded, Error, InvalidRequest, TooMany
from fluxvision.core.money import floor_to_micros, format_amount, to_dollars
from fluxvision.core.settings import Settings
from fluxvision.core.types import Job, JobResult, Quote, ReceiptEntry, Scalar
from fluxvision.gateway.execution import PreparedJob
from fluxvision.gateway.gateway import Gateway

CLIENT = "x-fluxvision-client"
PAGE = "page"
VISITOR = "fluxvision.visitor"
DRY_WEIGHT = 1 / 6
PREFIX = 64
"""Bits of the network prefix of an IPv6 address that one household shares."""
TOLD = "max_cost"


def is_keyless_page_request(headers: Headers) -> bool:
    """Return whether a request comes from the page and has no key."""
    return is_page(headers) and find_credentials(headers.raw) is None


def is_page(headers: Headers) -> bool:
    """Return whether a request comes from the page."""
    return headers.get(CLIENT, "").strip().lower() == PAGE


def is_visitor(scope: Scope) -> bool:
    """Return whether the middleware admitted a request as one of the page without a key."""
    return bool(scope.get(VISITOR))


class PlaygroundLimits:
    """Limits the jobs of the page without a key by setting `max_cost` of each job."""

    def __init__(self, settings: Settings, gateway: Gateway, now: Callable[[], float]) -> None:
        """Limit the page's jobs at a gateway; `now` returns the Unix time."""
        self._gateway = gateway
        self._now = now
        self.open: bool = settings.playground
        self.rate: int = settings.playground_rate
        self.budget = Budget(floor_to_micros(settings.playground_budget))
        self._rate = Rate(settings.playground_rate)
        self._said: dict[str, Scalar | None] = {}

    def count(self, visitor: str, now: float, *, dry: bool) -> None:
        """Count a request of an address; raises `TooMany` above its rate."""
        wait = self._rate.take(visitor, DRY_WEIGHT if dry else 1.0, now)
        if wait > 0:
            message = f"This address asked for more than {self.rate} pictures in a minute; try again in a moment."
            raise TooMany(message, retry_after=wait)

    def prepare(self, job: Job) -> PreparedJob:
        """Prepare a job whose cost is within the caller's `max_cost` and the rest of today's budget.

        Unknown parameters are sent to providers and may change the bill, so a job with such parameters may only be
        free. Raises `InvalidRequest` when no provider is cheap enough.
        """
        left = 0 if job.extras else self.budget.left(self._now())
        said = job.values.get(TOLD)
        limit = to_dollars(left) if said is None else min(float(said), to_dollars(left))
        try:
            return self._gateway.prepare(replace(job, values={**job.values, TOLD: limit}))
        except InvalidRequest as error:
            if error.param != TOLD:
                raise
            per_day = self.budget.per_day
            rule = f"spends at most {format_amount(per_day)} a day" if per_day else "uses what is free"
            message = f"Without a key the page {rule}, and no provider is cheap enough; enter a key."
            raise InvalidRequest(message, param=TOLD) from None

    def quotes(self, free: PreparedJob, bounded: PreparedJob) -> tuple[Quote, Sequence[Quote]]:
        """Return the quote of the limited job, and those of the offers that need a key."""
        every, found = free.quote(), bounded.quote()
        near = {one.provider for one in (found, *found.others)}
        found = replace(found, receipt=_without_page_bound(found.receipt, free.job.values.get(TOLD)))
        return found, [one for one in (every, *every.others) if one.provider not in near]

    def reserve(self, job: Job) -> PreparedJob:
        """Prepare a limited job, and reserve the most that it can cost with all its attempts.

        Raises `InvalidRequest` when no provider is cheap enough for the rest of the budget.
        """
        prepared = self.prepare(job)
        found, now = prepared.quote(), self._now()
        self._said[job.id] = job.values.get(TOLD)
        worst = sum(one.total or 0 for one in (found, *found.others))
        limit = floor_to_micros(float(prepared.job.values[TOLD]))
        self.budget.reserve(job.id, min(worst, limit, self.budget.left(now)), now)
        return prepared

    def delivered(self, delivery: JobResult) -> JobResult:
        """Settle a finished job, and return it with the caller's own `max_cost` in the receipt."""
        job = delivery.job
        self.budget.settle(job.id, delivery.cost)
        if job.id not in self._said:
            return delivery
        return replace(delivery, receipt=_without_page_bound(delivery.receipt, self._said[job.id]))

    def ended(self, job: Job) -> None:
        """Release the reservation of a job that never started."""
        self.budget.settle(job.id, 0)
        self._said.pop(job.id, None)

    def failed(self, job: Job, error: BaseException, cost: int | None) -> None:
        """Settle a job that ended without a picture.

        A provider may have accepted a cancelled job a moment before, so its whole reservation counts.
        """
        told = isinstance(error, Error) and not isinstance(error, DeadlineExceeded)
        self.budget.settle(job.id, cost if told else None)


def _without_page_bound(receipt: Sequence[ReceiptEntry], said: Scalar | None) -> Sequence[ReceiptEntry]:
    """Return a receipt with the caller's own `max_cost` instead of the page's."""
    note = "Without a key the page's own bound holds as well."
    return [replace(line, sent=said, note=note) if line.parameter == TOLD else line for line in receipt]


def client_network(scope: Scope) -> str:
    """Return the address, or the network of an IPv6 address, whose requests are counted together."""
    host = (scope.get("client") or ("",))[0]
    try:
        found = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return str(host)
    if isinstance(found, ipaddress.IPv6Address):
        return str(found.ipv4_mapped or ipaddress.ip_network((found, PREFIX), strict=False))
    return str(found)
