"""What the HTTP edge asks of the rest of the house."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Protocol

from fluxvision.catalog.rules import Model
from fluxvision.core.types import Attempt, Caller, InputImage, Job, JobCallbacks, JobResult, Quote


class Gateway(Protocol):
    """The flow from a job to a delivery."""

    @property
    def models(self) -> tuple[Model, ...]:
        """The catalogue."""

    @property
    def providers(self) -> Collection[str]:
        """The names of the providers that are configured."""

    def full(self, caller: Caller) -> float | None:
        """Return the seconds after which a place may be free for a caller, None where there is one now."""

    def find(self, model: str) -> tuple[Model, str | None, str]:
        """Return the model, the pinned provider and the name as written; raises `ModelNotFound`."""

    def admit(
        self, model: str, fields: Mapping[str, Any], image: InputImage, mask: InputImage | None, request_id: str
    ) -> Job:
        """Return the checked job; raises `InvalidRequest` naming the parameter at fault."""

    def quote(self, job: Job) -> Quote:
        """Return what the job would cost; raises what `run` would raise before it starts."""

    async def vet(self, job: Job) -> None:
        """Raise what `run` would raise after a look into the mask, and `quote` does not see."""

    async def run(self, job: Job, watch: JobCallbacks, folder: Path, attempts: list[Attempt]) -> JobResult:
        """Do the job; result files lie in `folder`, and so do the previews that a watch of a stream is told of.

        Each try at a provider is added to `attempts` as it ends.
        """

    async def ping(self) -> Mapping[str, bool]:
        """Return which providers are ready."""

    async def check(self, folder: Path) -> None:
        """Raise `Unavailable`, in a few words, where this machine cannot make a picture; files lie in `folder`."""

    async def aclose(self) -> None:
        """Free everything."""


Probe = Callable[[Path, str, bytes | None], InputImage]
"""Read a picture file's header; raises `InvalidRequest` or `PayloadTooLarge` naming the parameter.

Takes the file's path, the parameter, and the file itself where it is in memory.
"""
