"""PROVIDERS: one row per provider; each is one file that turns a Call into an Outcome."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from fluxvision.types import Call, Outcome, Watch


class Provider(Protocol):
    """What the gateway asks of a provider. `parallel` is how many calls it takes at once for one job."""

    parallel: int

    def check(self, call: Call) -> None:
        """Refuse, before anything waits or is paid, what `run` would refuse; raises `InvalidRequest`."""
        ...

    async def run(self, call: Call, watch: Watch, folder: Path) -> Outcome:
        """Make one picture; files are written into `folder` only. Raises a `fluxvision.errors.Error`."""
        ...

    async def ping(self) -> bool:
        """Return whether a call could be served now."""
        ...

    async def aclose(self) -> None:
        """Free everything."""
        ...


@dataclass(frozen=True, slots=True)
class Row:
    """A provider's name, its words, and where its class is: "module:Class"."""

    name: str
    title: str
    entry: str


PROVIDERS: tuple[Row, ...] = (Row("embedded", "This machine's CPU", "fluxvision.providers.embedded:Provider"),)
