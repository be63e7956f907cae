"""The service of jobs is opened once, when it is needed, and again after a failure."""

from __future__ import annotations

import asyncio

import pytest

from fluxvision.core.errors import ConfigError, Unavailable
from fluxvision.jobs import lazy_service
from fluxvision.jobs.lazy_service import LazyJobService
from fluxvision.jobs.request_types import EndedRequest


class Service:
    """Remembers what happened."""

    def __init__(self):
        """Begin with nothing."""
        self.happened = []

    async def start(self):
        """Be started."""
        self.happened.append("start")

    async def close(self):
        """Be closed."""
        self.happened.append("close")

    def note(self, ended):
        """Take a note."""
        self.happened.append(ended.id)


def ended(number):
    """Return a request that has ended."""
    return EndedRequest(f"req_{number}", "", "m", "completed", None, 0, 1.0, 2.0)


async def test_it_is_opened_once():
    """Callers at the same time get one started service."""
    made = []

    def create():
        made.append(Service())
        return made[-1]

    holder = LazyJobService(create)
    await holder.close()
    assert (made, holder.opened) == ([], None)
    first, second = await asyncio.gather(holder.get(), holder.get())
    assert first is second is holder.opened
    await holder.close()
    assert (len(made), first.happened) == (1, ["start", "close"])


async def test_early_notes_are_passed_on(monkeypatch):
    """Notes from before it was open reach it, except the oldest of too many."""
    monkeypatch.setattr(lazy_service, "MOST_EARLY", 2)
    holder = LazyJobService(Service)
    for number in range(3):
        holder.note(ended(number))
    service = await holder.get()
    holder.note(ended(3))
    assert service.happened == ["start", "req_1", "req_2", "req_3"]


async def test_a_database_that_cannot_be_opened_is_unavailable():
    """A caller gets a 503 with a time to wait, and the next one tries again."""
    faults = [ConfigError("database_url: the database cannot be used", param="database_url")]

    def create():
        if faults:
            raise faults.pop()
        return Service()

    holder = LazyJobService(create)
    with pytest.raises(Unavailable) as error:
        await holder.get()
    assert error.value.retry_after
    assert (await holder.get()).happened == ["start"]
