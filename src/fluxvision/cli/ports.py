"""What the command line asks of the rest of the house."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:  # help does not wait for them
    from fluxvision.catalog.rules import Model
    from fluxvision.core.settings import Settings
    from fluxvision.core.types import Attempt, InputImage, Job, JobCallbacks, JobResult, Quote


class Gateway(Protocol):
    """The flow from a picture to a delivery."""

    @property
    def models(self) -> tuple[Model, ...]:
        """The catalogue."""

    @property
    def providers(self) -> Collection[str]:
        """The names of the providers that are configured."""

    def admit(
        self, model: str, fields: Mapping[str, Any], image: InputImage, mask: InputImage | None, request_id: str
    ) -> Job:
        """Return the checked job; raises `ModelNotFound`, or `InvalidRequest` naming the parameter."""

    def quote(self, job: Job) -> Quote:
        """Return what the job would make and cost; raises what `run` would raise before it starts."""

    async def vet(self, job: Job) -> None:
        """Raise what `run` would raise after a look into the mask, and `quote` does not see."""

    async def run(self, job: Job, watch: JobCallbacks, folder: Path, attempts: list[Attempt]) -> JobResult:
        """Do the job; result files lie in `folder`. Cancelling the task ends the work before it returns.

        `attempts` is filled meanwhile and tells, however it ends, what was spent.
        """

    async def ping(self) -> Mapping[str, bool]:
        """Return which providers are ready."""

    async def aclose(self) -> None:
        """Free everything."""


@dataclass(frozen=True, slots=True)
class Tools:
    """The parts that only the composition root can build; each is loaded when it is first called.

    `create_gateway` is called where an event loop runs. `check` raises `ConfigError` for settings that must not be
    served; `serve` does the same, tells its listener the port, and then blocks until the server has ended. `fetch`
    downloads a network's weights and returns their folder.
    """

    create_gateway: Callable[[Settings], Gateway]
    check: Callable[[Settings], None]
    serve: Callable[[Settings, Callable[[int], None]], None]
    fetch: Callable[[str], Path]
