"""Who does a job: the offers that may, best first, and why the others are not asked. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from fluxvision.catalog.rules import Offer
from fluxvision.core.errors import InvalidRequest
from fluxvision.core.types import Excluded, Job
from fluxvision.gateway.candidates import Candidate, Translated
from fluxvision.gateway.circuit_breaker import Standing
from fluxvision.gateway.routing import ordered

DEGRADES = "It does not invent detail, and this request may not be degraded."
RESTS = "It failed lately and rests; it is asked again in a while."
SPENT = "Failed tries have cost something, and max_cost does not allow what it costs as well."


@dataclass(frozen=True, slots=True)
class Choice:
    """Who may do a job, best first, who may not, and who would be the best if all were well and could do it."""

    order: tuple[Candidate, ...]
    excluded: tuple[Excluded, ...]
    best: Offer

    def degraded(self, offer: Offer) -> bool:
        """Whether this offer's work stands in for detail that another would have invented."""
        return self.best.generative and not offer.generative

    def without(self, name: str) -> Choice:
        """Return the choice after a provider was passed over because failed tries have cost something."""
        return replace(self, excluded=(*self.excluded, Excluded(name, SPENT)))

    def unasked(self, offer: Offer, tried: Collection[str]) -> tuple[Excluded, ...]:
        """Return who was not asked where this offer did the work; of the order only whom it stands in for."""
        known = {*tried, *(one.provider for one in self.excluded)}
        better = [one.offer.provider for one in self.order if self.degraded(offer) and one.offer.generative]
        return *self.excluded, *(Excluded(name, RESTS) for name in better if name not in known)


def chosen(
    job: Job,
    offers: Sequence[Offer],
    able: Translated,
    policy: str,
    standings: Mapping[str, Standing],
    *,
    whole: bool,
) -> Choice:
    """Return who does a job, of the `offers` that were asked and the ones that are `able` to.

    Under `whole` or `strict` nobody stands in for those that invent detail. Where none of them can do it, raises what
    the best one refuses, naming its parameter. Who is too dear for the caller's own limit is no better choice.
    """
    if len(offers) == 1:
        return Choice(able.found, (), offers[0])
    by_name = {one.offer.provider: one for one in able.found}
    costs = {name: one.cost for name, one in by_name.items()}
    speeds = {name: Standing(seconds=one.seconds) for name, one in standings.items()}  # as if all were well
    best = ordered([offer for offer in offers if offer.provider not in able.dear], policy, costs, speeds)[0]
    order = ordered([one.offer for one in able.found], policy, costs, standings)
    excluded = able.excluded
    if best.generative and (whole or job.values.get("strict")):
        plain = [offer.provider for offer in order if not offer.generative]
        order = tuple(offer for offer in order if offer.generative)
        if not order:
            refusal = able.refused[best.provider]
            message = f"{refusal.message} {plain[0]}/{job.model} makes it without inventing detail."
            raise InvalidRequest(message, param=refusal.param)
        excluded += tuple(Excluded(name, DEGRADES) for name in plain)
    return Choice(tuple(by_name[offer.provider] for offer in order), excluded, best)
