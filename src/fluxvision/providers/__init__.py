"""PROVIDERS: one row per provider; each is a file or package that turns a Call into an Outcome."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from fluxvision.core.types import Call, JobCallbacks, ProviderResult


class Provider(Protocol):
    """What the gateway asks of a provider.

    `title` is for people. `parallel` is how many calls it takes at once for one job, `workers` how many in all, and
    `small_workers` how many small ones beside these.
    `remote` tells that the work is done elsewhere: it has a time limit of its own, and may cost money.
    """

    title: str
    parallel: int
    workers: int
    small_workers: int
    remote: bool

    def check(self, call: Call) -> None:
        """Refuse, before anything waits or is paid, what `run` would refuse; raises `InvalidRequest`."""
        ...

    async def run(self, call: Call, watch: JobCallbacks, folder: Path) -> ProviderResult:
        """Make one picture; files are written into `folder` only. Raises a `fluxvision.core.errors.Error`.

        A cancelled task cancels the work, at a remote provider too.
        """
        ...

    async def ping(self) -> bool:
        """Return whether a call could be served now."""
        ...

    async def aclose(self) -> None:
        """Free everything."""
        ...


@dataclass(frozen=True, slots=True)
class Row:
    """A kind of provider, and where the function is that makes its providers of the settings: "module:function".

    The function takes `Settings` and returns providers by name; none when nothing is configured.
    """

    name: str
    title: str
    entry: str


PROVIDERS: tuple[Row, ...] = (
    Row("flux", "FLUX on this machine", "fluxvision.providers.flux:configured"),
    Row("fal", "fal.ai", "fluxvision.providers.fal:configured"),
    Row("openai", "OpenAI-compatible server", "fluxvision.providers.openai:configured"),
    Row("embedded", "This machine's CPU", "fluxvision.providers.embedded:configured"),
)
