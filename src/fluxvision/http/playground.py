"""Limits the page without a key: pictures per address and minute, and what may be spent per day."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence
from dataclasses import replace

from starlette.datastructures import Headers
from starlette.types import Scope

from fluxvision.accounts.budget import Budget
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
"""Bits of an IPv6 address that one household shares."""
TOLD = "max_cost"


def is_keyless_page_request(headers: Headers) -> bool:
    """Tell whether a request is one of the page that comes without a key."""
    return headers.get(CLIENT, "").strip().lower() == PAGE and "authorization" not in headers


def is_visitor(scope: Scope) -> bool:
    """Tell whether the gate let a request in as one of the page without a key."""
    return bool(scope.get(VISITOR))


class Playground:
    """Bounds what the page does without a key. `max_cost` of each job is the means: the gateway keeps to it."""

    def __init__(self, settings: Settings, gateway: Gateway, now: Callable[[], float]) -> None:
        """Bound the page's jobs at a gateway; `now` is the wall clock."""
        self._gateway = gateway
        self._now = now
        self.open: bool = settings.playground
        self.rate: int = settings.playground_rate
        self.budget = Budget(floor_to_micros(settings.playground_budget))
        self._rate = Rate(settings.playground_rate)
        self._said: dict[str, Scalar | None] = {}

    def count(self, visitor: str, now: float, *, dry: bool) -> None:
        """Count a request of an address; raises `TooMany` where it asks too often."""
        wait = self._rate.take(visitor, DRY_WEIGHT if dry else 1.0, now)
        if wait > 0:
            message = f"This address asked for more than {self.rate} pictures in a minute; try again in a moment."
            raise TooMany(message, retry_after=wait)

    def prepare(self, job: Job) -> PreparedJob:
        """Prepare a job that costs no more than its caller allows and than is left for today.

        Names that no public parameter has go on to providers as they are and may change the bill; with such names only
        what is free will do. Raises `InvalidRequest` where no provider makes it for that.
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
            message = f"Without a key the page {rule}, and nobody makes this within that; enter a key."
            raise InvalidRequest(message, param=TOLD) from None

    def quotes(self, free: PreparedJob, bounded: PreparedJob) -> tuple[Quote, Sequence[Quote]]:
        """Return the quote of the bounded job, and those of offers that only a key opens."""
        every, found = free.quote(), bounded.quote()
        near = {one.provider for one in (found, *found.others)}
        found = replace(found, receipt=_without_page_bound(found.receipt, free.job.values.get(TOLD)))
        return found, [one for one in (every, *every.others) if one.provider not in near]

    def reserve(self, job: Job) -> PreparedJob:
        """Prepare a job within the bounds, and reserve the most that it can cost with all its attempts.

        Raises `InvalidRequest` where no provider makes it for what is left.
        """
        prepared = self.prepare(job)
        found, now = prepared.quote(), self._now()
        self._said[job.id] = job.values.get(TOLD)
        worst = sum(one.total or 0 for one in (found, *found.others))
        limit = floor_to_micros(float(prepared.job.values[TOLD]))
        self.budget.reserve(job.id, min(worst, limit, self.budget.left(now)), now)
        return prepared

    def delivered(self, delivery: JobResult) -> JobResult:
        """Settle a job that was done, and return it with what its caller said of the cost in the receipt."""
        job = delivery.job
        self.budget.settle(job.id, delivery.cost)
        if job.id not in self._said:
            return delivery
        return replace(delivery, receipt=_without_page_bound(delivery.receipt, self._said[job.id]))

    def ended(self, job: Job) -> None:
        """Forget a job; what is still reserved for one that never began is free again."""
        self.budget.settle(job.id, 0)
        self._said.pop(job.id, None)

    def failed(self, job: Job, error: BaseException, cost: int | None) -> None:
        """Settle a job that ended without a picture.

        One that was broken off may have been taken by a provider a moment before; all that was reserved counts.
        """
        told = isinstance(error, Error) and not isinstance(error, DeadlineExceeded)
        self.budget.settle(job.id, cost if told else None)


def _without_page_bound(receipt: Sequence[ReceiptEntry], said: Scalar | None) -> Sequence[ReceiptEntry]:
    """Return a receipt in which the page's bound is not taken for the caller's word."""
    note = "Without a key the page's own bound holds as well."
    return [replace(line, sent=said, note=note) if line.parameter == TOLD else line for line in receipt]


def client_network(scope: Scope) -> str:
    """Return whose requests are counted together: an address, or the network of an IPv6 one."""
    host = (scope.get("client") or ("",))[0]
    try:
        found = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return str(host)
    if isinstance(found, ipaddress.IPv6Address):
        return str(found.ipv4_mapped or ipaddress.ip_network((found, PREFIX), strict=False))
    return str(found)
