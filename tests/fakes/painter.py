"""Providers of flat pictures: real ones, as small as can be."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import numpy as np

from fluxvision.catalog.catalog import CATALOG
from fluxvision.catalog.rules import Price
from fluxvision.core.images import RawImage
from fluxvision.core.types import ProviderResult

EMBEDDED = CATALOG[0].offers[-1]


class Painter:
    """Paints flat pictures of the size asked for.

    `faults` are raised by call number, `fault` by every call while it is set. `hold`, while it is an event that is not
    set, keeps calls waiting.
    """

    parallel = 2
    workers = 1
    small_workers = 0
    remote = False

    def __init__(self, title="Painter", faults=None, seconds=0.0, **facts) -> None:
        """Take what to raise by call number, the seconds that a call takes, and facts of a provider that differ."""
        self.title = title
        self.calls = []
        self.faults = faults or {}
        self.fault = None
        self.hold = None
        self.seconds = seconds
        self.said = {}
        self.cancelled = 0
        for name, value in facts.items():
            setattr(self, name, value)

    def check(self, call):
        """Refuse nothing."""

    async def run(self, call, callbacks, folder):
        """Write a flat picture."""
        number = len(self.calls)
        self.calls.append(call)
        try:
            await asyncio.sleep(self.seconds)
            if self.hold is not None:
                await self.hold.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        fault = self.fault or self.faults.get(number)
        if fault is not None:
            raise fault
        width, height = call.body["size"]
        path = folder / f"{self.title}-{number}.raw"
        np.full((height, width, 3), 40 + call.body.get("seed", 0) % 50, np.uint8).tofile(path)
        callbacks.progress(1, 1)
        said = {"seed": call.body.get("seed"), "details": {"engine": "flat"}, **self.said}
        return ProviderResult(RawImage(path, width, height, 3, 8), **said)

    async def ping(self):
        """Be ready."""
        return True

    async def aclose(self):
        """Hold nothing."""


def offer(provider, *, generative=True, price=0, **facts):
    """Return an offer of exact sizes at this provider; `price` is in micro-dollars per picture."""
    return replace(EMBEDDED, provider=provider, generative=generative, price=Price("image", price), **facts)


def model(*offers):
    """Return the default model with these offers."""
    return replace(CATALOG[0], offers=offers)
