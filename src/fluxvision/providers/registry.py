"""PROVIDERS, the table of provider kinds, and Provider, the protocol that runs a Call and returns a ProviderResult."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from fluxvision.core.callbacks import JobCallbacks
from fluxvision.core.types import Call, ProviderResult


class Provider(Protocol):
    """The protocol of all providers."""

    title: str
    """Its name for people."""
    parallel: int
    """Most concurrent calls for one job."""
    workers: int
    """Most concurrent jobs."""
    small_workers: int
    """Further small jobs that may run at the same time."""
    remote: bool
    """Whether another machine does the work, which then has a timeout and may cost money."""

    def check(self, call: Call) -> None:
        """Raise `InvalidRequest` for a call that `run` would refuse, before the job waits or costs anything."""
        ...

    async def run(self, call: Call, callbacks: JobCallbacks, folder: Path) -> ProviderResult:
        """Make one picture; files are written to `folder` only. Raises a `fluxvision.core.errors.Error`.

        Cancelling the task cancels the work, also at a remote provider.
        """
        ...

    async def ping(self) -> bool:
        """Return whether the provider could serve a call now."""
        ...

    async def aclose(self) -> None:
        """Free all resources."""
        ...


@dataclass(frozen=True, slots=True)
class Row:
    """A kind of provider.

    `entry` is the "module:function" that takes `Settings` and returns the configured providers by name, maybe none.
    """

    name: str
    title: str
    entry: str


PROVIDERS: tuple[Row, ...] = (
    Row("flux", "FLUX on this machine", "fluxvision.providers.flux:configured"),
    Row("fal", "fal.ai", "fluxvision.providers.fal:configured"),
    Row("openai", "OpenAI-compatible server", "fluxvision.providers.openai:configured"),
    Row("embedded", "This machine", "fluxvision.providers.embedded:configured"),
)
